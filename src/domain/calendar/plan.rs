//! When a campaign will be done, given what is left in each state, the pace, and the hours. An estimate: it knows nothing
//! of failures, limits or other campaigns.

use jiff::{SignedDuration, Timestamp};

use super::super::area::CalendarClass;
use super::{Calendar, Rules};

/// Changes of hours that are gone through at most: a year of two a day in every state and more.
const CHANGES_MAX: usize = 20_000;

/// What is ahead of a campaign.
#[derive(Clone, Debug, PartialEq)]
pub struct Outlook {
    /// When the first message may leave.
    pub begins: Option<Timestamp>,
    /// When the last will have left; None: not within a year.
    pub ends: Option<Timestamp>,
    /// Messages of states whose hours never come.
    pub never: u64,
    /// Messages that will not have left when they are no longer to be sent, those of `never` among them.
    pub late: u64,
}

/// How `left` messages by class fare from an instant on, all numbers together sending `rate_per_s`; None is no limit.
/// `until` is when they expire.
pub fn outlook(
    rules: &Rules,
    calendar: &Calendar,
    left: &[(CalendarClass, u64)],
    rate_per_s: Option<f64>,
    (from, until): (Timestamp, Timestamp),
) -> Outlook {
    let rate_per_s = rate_per_s.unwrap_or(f64::INFINITY);
    let mut ahead = Outlook { begins: None, ends: None, never: 0, late: 0 };
    let mut late = None;
    let mut at = from;
    let mut states = Vec::new();
    for (class, messages) in left.iter().filter(|(_, messages)| *messages > 0) {
        let open = rules.open_at(calendar, *class, at);
        let next = rules.next_change(calendar, *class, at);
        if !open && next.is_none() {
            ahead.never += messages;
            continue;
        }
        #[allow(clippy::cast_precision_loss, reason = "an estimate")]
        states.push(Ahead { class: *class, left: *messages as f64, open, next });
    }
    for _ in 0..CHANGES_MAX {
        let open: f64 = states.iter().filter(|state| state.open).map(|state| state.left).sum();
        let all: f64 = states.iter().map(|state| state.left).sum();
        if all <= 0.0 {
            ahead.ends = Some(at);
            break;
        }
        if open > 0.0 {
            ahead.begins.get_or_insert(at);
        }
        let change = states.iter().filter_map(|state| state.next).map(|(next, _)| next).min();
        let seconds = change.map_or(f64::INFINITY, |change| change.duration_since(at).as_secs_f64());
        let sent = if open > 0.0 { (rate_per_s * seconds).min(open) } else { 0.0 };
        let before = until.duration_since(at).as_secs_f64();
        if late.is_none() && before < seconds {
            let in_time = if open > 0.0 && before > 0.0 { (rate_per_s * before).min(open) } else { 0.0 };
            late = Some(all - in_time);
        }
        if open >= all && sent >= open {
            let needed = SignedDuration::try_from_secs_f64(open / rate_per_s).ok();
            ahead.ends = needed.and_then(|needed| at.checked_add(needed).ok());
            break;
        }
        for state in states.iter_mut().filter(|state| state.open) {
            state.left -= sent * state.left / open.max(f64::MIN_POSITIVE);
        }
        // Less than one message is a rest of the arithmetic.
        states.retain(|state| state.left >= 0.5);
        let Some(change) = change else { break };
        at = change;
        for state in states.iter_mut().filter(|state| state.next.is_some_and(|(next, _)| next <= at)) {
            state.open = rules.open_at(calendar, state.class, at);
            state.next = rules.next_change(calendar, state.class, at);
        }
    }
    // What is left when nothing changes any more, or when the search ends, leaves in no time.
    let rest = || if ahead.ends.is_none() { states.iter().map(|state| state.left).sum() } else { 0.0 };
    ahead.late = ahead.never + whole(late.unwrap_or_else(rest));
    ahead
}

/// Messages of an estimate.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an estimate, never negative")]
fn whole(messages: f64) -> u64 {
    messages.max(0.0).round() as u64
}

struct Ahead {
    class: CalendarClass,
    left: f64,
    open: bool,
    next: Option<(Timestamp, bool)>,
}
