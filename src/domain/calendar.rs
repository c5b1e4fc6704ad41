//! When people may be written to: the law of their state, holidays, and what the creditor and the campaign want.
//!
//! [`Rules`] is the law and the holidays (`config/calendars.toml`, read by `config::calendars`), the same for everybody;
//! [`Calendar`] is what one campaign wants within them. The law only narrows and nothing exceeds it. All hours are the
//! recipient's own; where an area code spans two time zones, the hour must be allowed in both. Nothing here reads a
//! clock: instants come as arguments.

mod day;
mod plan;
mod week;

use std::collections::{BTreeMap, BTreeSet};

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::{TimeZone, TimeZoneDatabase};
use jiff::{SignedDuration, Timestamp, ToSpan as _};

pub use self::day::{DAY_MINUTES, Day, Holiday, easter};
pub use self::plan::{Outlook, PeopleBudget, Speed, outlook};
pub use self::week::{Week, Window, minute_of};
use super::area::CalendarClass;

/// The zone of times that are written without one.
pub const HOME_ZONE: &str = "America/Sao_Paulo";

/// How far ahead a change is looked for: every calendar that ever opens does so within a year.
const LOOK_AHEAD_DAYS: i16 = 400;

/// Days that are looked at together.
const STRIDE_DAYS: i16 = 8;

/// The law of a state: the widest hours that anybody may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateLaw {
    /// The hours; on holidays there are none.
    pub week: Week,
    /// The law, or how the hours come about without one.
    pub law: String,
    /// Where that is written.
    pub source: String,
    /// Whether the law itself was looked up.
    pub verified: bool,
}

/// A municipality with holidays of its own: used only where a calendar names it, since no area code tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Municipality {
    /// Its name.
    pub name: String,
    /// Its state.
    pub uf: String,
    /// Its holidays.
    pub holidays: Vec<Holiday>,
}

/// The law of every state, the holidays, and the hours of a creditor who says nothing.
#[derive(Clone, Debug)]
pub struct Rules {
    /// Hours where neither the creditor nor the campaign says any.
    pub product: Week,
    /// By calendar class.
    states: Vec<State>,
    /// National holidays.
    pub national: Vec<Holiday>,
    /// Days on which nobody is obliged to rest, kept free unless the creditor opens them.
    pub optional: Vec<Holiday>,
    /// By IBGE code.
    pub municipalities: BTreeMap<u32, Municipality>,
}

#[derive(Clone, Debug)]
struct State {
    law: StateLaw,
    holidays: Vec<Holiday>,
    zones: Vec<TimeZone>,
}

/// What to do on optional days.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OptionalDays {
    /// Send as on other days.
    Open,
    /// Send nothing.
    Closed,
}

/// What a creditor, or a campaign, says of its own hours; None: nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OwnHours {
    /// Its hours, recipient-local.
    pub hours: Option<Week>,
    /// What it does on optional days.
    pub optional_days: Option<OptionalDays>,
    /// Days on which it sends nothing.
    pub closed: BTreeSet<Date>,
    /// IBGE code of the municipality whose holidays it keeps.
    pub municipality: Option<u32>,
}

/// What one campaign wants, resolved: every part must be open.
#[derive(Clone, Debug, PartialEq)]
pub struct Calendar {
    weeks: Vec<Week>,
    fixed: Vec<(Week, TimeZone)>,
    optional_open: bool,
    closed: BTreeSet<Date>,
    municipalities: Vec<u32>,
}

impl OptionalDays {
    /// Both, by name.
    pub const ALL: [Self; 2] = [Self::Open, Self::Closed];

    /// Its name in files.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Closed => "closed",
        }
    }

    /// The one of this name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.as_str() == text)
    }
}

impl Calendar {
    /// The calendar of a campaign. What the creditor says takes the place of the product's hours and may be wider; what
    /// the campaign says narrows what the creditor says, or takes its place where the creditor says nothing.
    pub fn new(rules: &Rules, creditor: &OwnHours, campaign: &OwnHours) -> Self {
        let both = [creditor, campaign];
        let mut weeks: Vec<Week> = both.into_iter().filter_map(|own| own.hours.clone()).collect();
        if weeks.is_empty() {
            weeks.push(rules.product.clone());
        }
        let wishes = || both.into_iter().filter_map(|own| own.optional_days);
        Self {
            weeks,
            fixed: Vec::new(),
            optional_open: wishes().next().is_some() && wishes().all(|wish| wish == OptionalDays::Open),
            closed: both.into_iter().flat_map(|own| own.closed.iter().copied()).collect(),
            municipalities: both.into_iter().filter_map(|own| own.municipality).collect(),
        }
    }

    /// Its own hours: all of them must be open.
    pub fn weeks(&self) -> impl Iterator<Item = &Week> {
        self.weeks.iter()
    }

    /// Hours of one zone that narrow it, wherever the recipient lives.
    pub fn fixed(&self) -> impl Iterator<Item = &Week> {
        self.fixed.iter().map(|(week, _)| week)
    }

    /// Narrows it to hours of one zone, wherever the recipient lives.
    #[must_use]
    pub fn narrowed(mut self, week: Week, zone: TimeZone) -> Self {
        self.fixed.push((week, zone));
        self
    }
}

impl Rules {
    /// Puts the rules together: one law and one list of holidays per class. None when a class or a time zone is missing.
    pub fn new(
        product: Week,
        laws: Vec<(StateLaw, Vec<Holiday>)>,
        national: Vec<Holiday>,
        optional: Vec<Holiday>,
        municipalities: BTreeMap<u32, Municipality>,
    ) -> Option<Self> {
        if laws.len() != CalendarClass::all().len() {
            return None;
        }
        let states = CalendarClass::all().zip(laws).map(|(class, (law, holidays))| {
            let zones = class.zones().iter().map(|name| zone(name)).collect::<Option<Vec<_>>>()?;
            Some(State { law, holidays, zones })
        });
        Some(Self { product, states: states.collect::<Option<_>>()?, national, optional, municipalities })
    }

    /// The law of a class' state.
    pub fn law(&self, class: CalendarClass) -> &StateLaw {
        &self.state(class).law
    }

    /// The holidays of a class' state.
    pub fn state_holidays(&self, class: CalendarClass) -> &[Holiday] {
        &self.state(class).holidays
    }

    /// The hours of an ordinary week in which people of a class may be written to, in their own time: the law's and the
    /// calendar's together. Holidays, and hours of one zone, narrow them further.
    pub fn week(&self, calendar: &Calendar, class: CalendarClass) -> Week {
        calendar.weeks.iter().fold(self.law(class).week.clone(), |week, own| week.and(own))
    }

    /// How many rules there are, for those who check the file.
    pub fn count(&self) -> usize {
        let states: usize = self.states.iter().map(|state| 1 + state.holidays.len()).sum();
        let towns: usize = self.municipalities.values().map(|town| town.holidays.len()).sum();
        states + towns + self.national.len() + self.optional.len()
    }

    /// Whether people of a class may be written to at an instant.
    pub fn open_at(&self, calendar: &Calendar, class: CalendarClass, at: Timestamp) -> bool {
        let fits = |week: &Week, local: DateTime| week.contains(local.weekday(), minute(local));
        let fixed = || calendar.fixed.iter().all(|(week, zone)| fits(week, zone.to_datetime(at)));
        let allowed = |zone: &TimeZone| {
            let local = zone.to_datetime(at);
            fits(&self.state(class).law.week, local)
                && calendar.weeks.iter().all(|week| fits(week, local))
                && minute(local) >= self.closed_until(calendar, class, local.date())
        };
        self.state(class).zones.iter().all(allowed) && fixed()
    }

    /// The next instant at which that changes, and what it is from then on. None when it does not within a year.
    pub fn next_change(
        &self,
        calendar: &Calendar,
        class: CalendarClass,
        at: Timestamp,
    ) -> Option<(Timestamp, bool)> {
        let open = self.open_at(calendar, class, at);
        for offset in (-1..LOOK_AHEAD_DAYS).step_by(usize::from(STRIDE_DAYS.unsigned_abs() - 2)) {
            let edges = self.edges(calendar, class, at, offset);
            // Days of two zones do not begin together: what may be out of order is left to the next days.
            let end =
                at.checked_add(SignedDuration::from_hours(24 * i64::from(offset + STRIDE_DAYS - 2))).ok()?;
            let mut ahead = edges.range(at..end.max(at)).filter(|edge| **edge > at);
            let change = ahead.find(|edge| self.open_at(calendar, class, **edge) != open);
            if let Some(change) = change {
                return Some((*change, !open));
            }
        }
        None
    }

    /// The spans between two instants in which people of a class may be written to.
    pub fn spans(
        &self,
        calendar: &Calendar,
        class: CalendarClass,
        from: Timestamp,
        until: Timestamp,
    ) -> Vec<(Timestamp, Timestamp)> {
        let (mut spans, mut at, mut open) = (Vec::new(), from, self.open_at(calendar, class, from));
        while at < until {
            let (next, then) = self.next_change(calendar, class, at).unwrap_or((until, !open));
            if open {
                spans.push((at, next.min(until)));
            }
            (at, open) = (next, then);
        }
        spans
    }

    /// The states in which a calendar never opens.
    pub fn never_open(&self, calendar: &Calendar, at: Timestamp) -> Vec<CalendarClass> {
        let never = |class: &CalendarClass| {
            !self.open_at(calendar, *class, at) && self.next_change(calendar, *class, at).is_none()
        };
        CalendarClass::all().filter(never).collect()
    }

    /// The minute of a local day until which holidays keep it closed: 0 on ordinary days.
    fn closed_until(&self, calendar: &Calendar, class: CalendarClass, date: Date) -> u16 {
        if calendar.closed.contains(&date) {
            return DAY_MINUTES;
        }
        self.holidays(calendar, class).filter_map(|holiday| holiday.closes(date)).max().unwrap_or(0)
    }

    fn holidays<'a>(
        &'a self,
        calendar: &'a Calendar,
        class: CalendarClass,
    ) -> impl Iterator<Item = &'a Holiday> {
        let optional = if calendar.optional_open { &[] } else { &self.optional[..] };
        let towns = calendar.municipalities.iter().filter_map(|code| self.municipalities.get(code));
        self.national
            .iter()
            .chain(&self.state(class).holidays)
            .chain(optional)
            .chain(towns.flat_map(|town| &town.holidays))
    }

    /// Every instant of some days around an instant at which something may open or close.
    fn edges(
        &self,
        calendar: &Calendar,
        class: CalendarClass,
        at: Timestamp,
        offset: i16,
    ) -> BTreeSet<Timestamp> {
        let mut edges = BTreeSet::new();
        let mut add = |zone: &TimeZone, date: Date, minutes: &mut dyn Iterator<Item = u16>| {
            edges.extend(minutes.filter_map(|minute| instant(zone, date, minute)));
        };
        for days in offset..offset + STRIDE_DAYS {
            let day_of =
                |zone: &TimeZone| zone.to_datetime(at).date().checked_add(i32::from(days).days()).ok();
            for zone in &self.state(class).zones {
                let Some(date) = day_of(zone) else { continue };
                let weeks = calendar.weeks.iter().chain([&self.state(class).law.week]);
                let windows = weeks.flat_map(|week| week.edges(date.weekday()));
                let closed = self.closed_until(calendar, class, date) % DAY_MINUTES;
                add(zone, date, &mut windows.chain([0, closed]));
            }
            for (week, zone) in &calendar.fixed {
                let Some(date) = day_of(zone) else { continue };
                add(zone, date, &mut week.edges(date.weekday()).chain([0]));
            }
        }
        edges
    }

    fn state(&self, class: CalendarClass) -> &State {
        &self.states[usize::from(class.index())]
    }
}

/// A time zone of the bundled database, so that every machine says the same.
pub fn zone(name: &str) -> Option<TimeZone> {
    TimeZoneDatabase::bundled().get(name).ok()
}

/// An instant as people write it: `2026-12-01T18:00:00-03:00`, or without an offset as the time of São Paulo.
///
/// # Errors
/// In words, when it is neither.
pub fn parse_instant(text: &str) -> Result<Timestamp, String> {
    let text = text.trim();
    if let Ok(instant) = text.parse::<Timestamp>() {
        return Ok(instant);
    }
    // A date alone would be read as midnight, which nobody means by "until the first of December".
    let local = text.contains([':']).then(|| text.parse::<DateTime>().ok()).flatten();
    let home = zone(HOME_ZONE)
        .zip(local)
        .and_then(|(zone, local)| zone.to_ambiguous_timestamp(local).compatible().ok());
    home.ok_or_else(|| {
        format!(
            "{text:?} is no instant: write \"2026-12-01T18:00:00-03:00\", or \"2026-12-01T18:00\" for the time of São Paulo"
        )
    })
}

fn minute(local: DateTime) -> u16 {
    u16::from(local.hour().unsigned_abs()) * 60 + u16::from(local.minute().unsigned_abs())
}

/// The instant of a minute of a local day; the end of the day is the beginning of the next.
fn instant(zone: &TimeZone, date: Date, minute: u16) -> Option<Timestamp> {
    let (date, minute) = if minute == DAY_MINUTES { (date.tomorrow().ok()?, 0) } else { (date, minute) };
    let time = Time::new(i8::try_from(minute / 60).ok()?, i8::try_from(minute % 60).ok()?, 0, 0).ok()?;
    zone.to_ambiguous_timestamp(date.to_datetime(time)).compatible().ok()
}
