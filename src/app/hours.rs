//! The hours of campaigns as shards need them: per calendar class, whether it is open and until when, by this machine's
//! wall clock. It keeps what it worked out until that changes, so that looking every second costs nothing.
//!
//! `serve --clock-at` shifts the clock by which calendars are judged and nothing else: what comes out is in real wall time,
//! so that shards, records and retries know of no other.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::clock::{Mono, WallMs};
use crate::config::Config;
use crate::config::calendars::{self, CalendarsError};
use crate::domain::area::CalendarClass;
use crate::domain::calendar::{Calendar, OwnHours, Rules};
use crate::domain::campaign::Campaign;
use crate::domain::hours::WeekHours;
use crate::domain::ids::CampaignSeq;
use crate::intake::lanes::Lanes;
use crate::policy::shard::{ClassHours, LaneHours};
use crate::queue::campaigns::CampaignRecord;

/// A node whose wall clock is further than this from Redis' claims nothing.
pub const CLOCK_OFF_MAX: Duration = Duration::from_secs(2);

/// A window opens this much later than the law says, and closes this much earlier: clocks differ, and a request takes its
/// time to the person.
const OPEN_MARGIN: Duration = Duration::from_secs(2);
const CLOSE_MARGIN: Duration = Duration::from_secs(5);

const _: () = assert!(
    OPEN_MARGIN.as_secs() >= CLOCK_OFF_MAX.as_secs() && CLOSE_MARGIN.as_secs() > CLOCK_OFF_MAX.as_secs(),
    "a clock that is as far off as allowed must not send outside the hours"
);

/// How long before the end of a campaign's `hours` nothing new leaves: control looks once in a round.
pub const MARGIN_MS: u64 = 60_000;

/// The hours of one campaign.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hours {
    /// Of its lanes.
    pub lanes: LaneHours,
    /// Its fixed end.
    pub valid_until: Option<WallMs>,
}

/// The hours of every campaign, and what is known of this machine's clock.
#[derive(Debug)]
pub struct HoursBook {
    rules: Arc<Rules>,
    known: HashMap<CampaignSeq, Entry>,
    /// When the hours of a running campaign change next.
    pub(super) due: Option<WallMs>,
    /// The wall clock agrees with Redis'.
    pub(super) clock_right: bool,
    /// When that is looked at again.
    pub(super) clock_due: Mono,
}

#[derive(Debug)]
struct Entry {
    /// What the hours were worked out from.
    wishes: (OwnHours, OwnHours, Vec<u32>),
    since: WallMs,
    /// When they change.
    until: Option<WallMs>,
    hours: Hours,
}

impl HoursBook {
    /// A book that knows no campaign.
    ///
    /// # Errors
    /// When the table of calendars cannot be read.
    pub fn new() -> Result<Self, CalendarsError> {
        Ok(Self {
            rules: calendars::builtin()?,
            known: HashMap::new(),
            due: None,
            clock_right: true,
            clock_due: Mono::default(),
        })
    }

    /// The hours of a campaign now.
    pub fn of(
        &mut self,
        record: &CampaignRecord,
        campaign: &Campaign,
        config: &Config,
        now: WallMs,
    ) -> Hours {
        let creditor = config.creditor_hours(&campaign.account);
        let wishes = (creditor, campaign.calendar.clone(), record.slices.clone());
        let fresh = |entry: &&Entry| {
            entry.wishes == wishes && entry.since <= now && entry.until.is_none_or(|until| now < until)
        };
        if let Some(entry) = self.known.get(&record.seq).filter(fresh) {
            return entry.hours.clone();
        }
        let (hours, until) = self.work_out(record, campaign, config, now);
        self.known.insert(record.seq, Entry { wishes, since: now, until, hours: hours.clone() });
        hours
    }

    /// When the hours of a campaign change, as far as is known.
    pub fn until(&self, seq: CampaignSeq) -> Option<WallMs> {
        self.known.get(&seq).and_then(|entry| entry.until)
    }

    /// Forgets a campaign that is over.
    pub fn forget(&mut self, seq: CampaignSeq) {
        self.known.remove(&seq);
    }

    fn work_out(
        &self,
        record: &CampaignRecord,
        campaign: &Campaign,
        config: &Config,
        now: WallMs,
    ) -> (Hours, Option<WallMs>) {
        let shift = config.calendar.clock_shift_ms;
        let end = campaign.valid_until.map(|end| to_wall(end, shift));
        let ahead = end.filter(|end| *end > now);
        if !config.calendar.enforce || (end.is_some() && ahead.is_none()) {
            // What is past its end is expired at any hour: nothing of it leaves.
            return (Hours { lanes: LaneHours::default(), valid_until: end }, ahead);
        }
        let Some(lanes) = Lanes::frozen(record.expected, &record.slices) else {
            return (Hours { lanes: LaneHours::new(Vec::new(), Vec::new()), valid_until: end }, ahead);
        };
        let calendar =
            Calendar::new(&self.rules, &config.creditor_hours(&campaign.account), &campaign.calendar);
        let classes: Vec<ClassHours> = CalendarClass::all()
            .map(|class| class_hours(&self.rules, &calendar, class, to_civil(now, shift), shift))
            .collect();
        let change = classes.iter().filter_map(|class| class.until).chain(ahead).min();
        let lanes = LaneHours::new(lanes.starts().to_vec(), classes);
        (Hours { lanes, valid_until: end }, change)
    }
}

/// What a class does now, its windows made narrower by the margins.
fn class_hours(
    rules: &Rules,
    calendar: &Calendar,
    class: CalendarClass,
    now: Timestamp,
    shift: i64,
) -> ClassHours {
    let opening = |at: Timestamp| at.checked_add(OPEN_MARGIN).unwrap_or(at);
    let closed = |until: Option<Timestamp>| ClassHours {
        open: false,
        until: until.map(|until| to_wall(opening(until), shift)),
    };
    let Ok(earlier) = now.checked_sub(OPEN_MARGIN) else { return closed(None) };
    let next = |at| rules.next_change(calendar, class, at).map(|(at, _)| at);
    if !rules.open_at(calendar, class, earlier) {
        return closed(next(earlier));
    }
    let Some(end) = next(earlier) else { return ClassHours { open: true, until: None } };
    match end.checked_sub(CLOSE_MARGIN) {
        Ok(last) if now < last => ClassHours { open: true, until: Some(to_wall(last, shift)) },
        _ => closed(next(end)),
    }
}

/// Whether a campaign's own `hours` allow messages at `now`, and still a minute from now.
pub fn within(hours: &WeekHours, now: WallMs) -> bool {
    hours.open(now.0) && hours.open(now.0.saturating_add(MARGIN_MS))
}

/// The instant by which calendars are judged.
pub fn to_civil(now: WallMs, shift_ms: i64) -> Timestamp {
    let ms = i64::try_from(now.0).unwrap_or(i64::MAX).saturating_add(shift_ms);
    Timestamp::from_millisecond(ms).unwrap_or(Timestamp::MAX)
}

fn to_wall(civil: Timestamp, shift_ms: i64) -> WallMs {
    WallMs(u64::try_from(civil.as_millisecond().saturating_sub(shift_ms)).unwrap_or(0))
}

/// How far a wall clock that was read before and after Redis' own is off it, at least.
pub fn off_by(before: WallMs, redis_ms: u64, after: WallMs) -> Duration {
    let off = if redis_ms < before.0 { before.0 - redis_ms } else { redis_ms.saturating_sub(after.0) };
    Duration::from_millis(off)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wall(text: &str) -> WallMs {
        to_wall(text.parse().unwrap(), 0)
    }

    fn check(uf: &str, now: &str, open: bool, until: &str) {
        let rules = calendars::builtin().unwrap();
        let calendar = Calendar::new(&rules, &OwnHours::default(), &OwnHours::default());
        let class = CalendarClass::all().find(|class| class.uf() == uf).unwrap();
        let hours = class_hours(&rules, &calendar, class, now.parse().unwrap(), 0);
        assert_eq!(hours, ClassHours { open, until: Some(wall(until)) }, "{uf} at {now}");
    }

    #[test]
    fn windows_are_narrower_than_the_law_by_the_margins() {
        check("SP", "2026-11-23T10:59:59-00:00", false, "2026-11-23T11:00:02Z");
        check("SP", "2026-11-23T11:00:01Z", false, "2026-11-23T11:00:02Z");
        check("SP", "2026-11-23T11:00:02Z", true, "2026-11-23T20:59:55Z");
        check("SP", "2026-11-23T20:59:54Z", true, "2026-11-23T20:59:55Z");
        check("SP", "2026-11-23T20:59:55Z", false, "2026-11-24T11:00:02Z");
        check("SP", "2026-11-27T21:00:00Z", false, "2026-11-30T11:00:02Z");
        check("AM", "2026-11-23T12:30:00Z", false, "2026-11-23T13:00:02Z");
        check("AM", "2026-11-23T13:30:00Z", true, "2026-11-23T21:59:55Z");
    }

    #[test]
    fn a_shift_moves_the_calendar_and_not_the_clock() {
        let now = wall("2026-11-22T23:00:00Z");
        let civil: Timestamp = "2026-11-23T15:00:00Z".parse().unwrap();
        let shift = civil.as_millisecond() - i64::try_from(now.0).unwrap();
        assert_eq!(to_civil(now, shift), civil);
        assert_eq!(to_wall(civil, shift), now);
    }

    #[test]
    fn a_clock_is_off_by_what_the_way_to_redis_cannot_explain() {
        let off = |before, redis, after| off_by(WallMs(before), redis, WallMs(after)).as_millis();
        assert_eq!((off(1_000, 1_050, 1_100), off(1_000, 1_000, 1_000)), (0, 0));
        assert_eq!((off(5_000, 1_000, 5_100), off(1_000, 9_000, 1_100)), (4_000, 7_900));
    }
}
