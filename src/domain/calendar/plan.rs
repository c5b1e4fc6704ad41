//! When a campaign will be done, given what is left in each state, the pace, the hours, and how many people may be written to
//! within a day. An estimate: it knows nothing of failures, contact caps or other campaigns.

use std::collections::VecDeque;

use jiff::{SignedDuration, Timestamp};

use super::super::area::CalendarClass;
use super::{Calendar, Rules};

/// How far ahead the end is looked for.
const YEAR: SignedDuration = SignedDuration::from_hours(366 * 24);

/// Changes that are gone through at most: a year of hours that open and close each day in every state, and of people who
/// leave the budget after each of them.
const CHANGES_MAX: usize = 2 * 2 * 27 * 366;

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

/// How fast messages may leave.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Speed {
    /// All numbers together; None is no limit.
    pub rate_per_s: Option<f64>,
    /// The budget of people, each message being for somebody else; None is no limit.
    pub people: Option<PeopleBudget>,
}

/// How many people may be written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeopleBudget {
    /// Within a day at most.
    pub people: u64,
    /// Written to within the day before; when each leaves is not known, so that they count as written to at its end.
    pub used: u64,
    /// How long a person counts.
    pub day: SignedDuration,
}

/// How `left` messages by class fare from an instant on. `until` is when they expire.
pub fn outlook(
    rules: &Rules,
    calendar: &Calendar,
    left: &[(CalendarClass, u64)],
    speed: Speed,
    (from, until): (Timestamp, Timestamp),
) -> Outlook {
    let rate_per_s = speed.rate_per_s.unwrap_or(f64::INFINITY);
    let mut room = Room::new(speed.people, from);
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
        room.leave(at);
        let open: f64 = states.iter().filter(|state| state.open).map(|state| state.left).sum();
        let all: f64 = states.iter().map(|state| state.left).sum();
        if all <= 0.0 {
            ahead.ends = Some(at);
            break;
        }
        let may = open.min(room.people);
        if may > 0.0 {
            ahead.begins.get_or_insert(at);
        }
        let hours = states.iter().filter_map(|state| state.next).map(|(next, _)| next);
        let change = hours.chain(room.next()).min();
        let seconds = change.map_or(f64::INFINITY, |change| change.duration_since(at).as_secs_f64());
        let sent = if may > 0.0 { (rate_per_s * seconds).min(may) } else { 0.0 };
        let before = until.duration_since(at).as_secs_f64();
        if late.is_none() && before < seconds {
            let in_time = if may > 0.0 && before > 0.0 { (rate_per_s * before).min(may) } else { 0.0 };
            late = Some(all - in_time);
        }
        if open >= all && sent >= open {
            let needed = SignedDuration::try_from_secs_f64(open / rate_per_s).ok();
            ahead.ends = needed.and_then(|needed| at.checked_add(needed).ok());
            break;
        }
        room.take(at, sent);
        for state in states.iter_mut().filter(|state| state.open) {
            state.left -= sent * state.left / open.max(f64::MIN_POSITIVE);
        }
        // Less than one message is a rest of the arithmetic.
        states.retain(|state| state.left >= 0.5);
        let Some(change) = change.filter(|change| change.duration_since(from) <= YEAR) else { break };
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

/// How many more people may be written to, and when there is room for more.
struct Room {
    people: f64,
    day: SignedDuration,
    leaving: VecDeque<(Timestamp, f64)>,
}

impl Room {
    #[allow(clippy::cast_precision_loss, reason = "an estimate")]
    fn new(budget: Option<PeopleBudget>, from: Timestamp) -> Self {
        let Some(PeopleBudget { people, used, day }) = budget else {
            return Self { people: f64::INFINITY, day: SignedDuration::MAX, leaving: VecDeque::new() };
        };
        let mut room = Self { people: people as f64, day, leaving: VecDeque::new() };
        room.take(from, used.min(people) as f64);
        room
    }

    /// So many are written to from then on. They leave as fast as they were written to, so that the first of them is what
    /// matters.
    fn take(&mut self, at: Timestamp, people: f64) {
        if people > 0.0
            && let Ok(leave) = at.checked_add(self.day)
        {
            self.people -= people;
            self.leaving.push_back((leave, people));
        }
    }

    fn leave(&mut self, now: Timestamp) {
        while let Some((_, people)) = self.leaving.pop_front_if(|(leave, _)| *leave <= now) {
            self.people += people;
        }
    }

    fn next(&self) -> Option<Timestamp> {
        self.leaving.front().map(|(leave, _)| *leave)
    }
}

struct Ahead {
    class: CalendarClass,
    left: f64,
    open: bool,
    next: Option<(Timestamp, bool)>,
}
