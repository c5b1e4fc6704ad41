//! Hours of the week in which a campaign may send, in the time of Brasília: `mon-fri 09:00-18:00, sat 10:00-14:00`.
//!
//! They only narrow what the engine allows anyway. Brasília keeps UTC-3 all year since 2019, so no table of time zones
//! is needed. Input comes from a campaign's file or from `campaign set`.
//!
//! A key beside `[calendar] hours`, because it is another clock: this one is the operator's ("everything stops at six") and only
//! narrows, the calendar's is the recipient's and may be wider than the product's hours. To read one as the other would move or
//! widen the hours of campaigns under way.

use std::fmt;

use super::calendar::Week;

/// Minutes of a day.
const DAY_MIN: u64 = 24 * 60;

/// How far Brasília is behind UTC.
pub const BRASILIA_BEHIND_MIN: u64 = 3 * 60;

/// Windows at most: two for each day.
const WINDOWS_MAX: usize = 14;

const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

const MINUTE_MS: u64 = 60_000;

/// Windows of a week.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WeekHours {
    windows: Vec<Window>,
}

/// From one minute of a day to another, on some days.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Window {
    days: (usize, usize),
    from_min: u64,
    to_min: u64,
}

impl WeekHours {
    /// Reads `mon-fri 09:00-18:00, sat 10:00-14:00`. The error says what is wrong, without the text.
    pub fn parse(text: &str) -> Result<Self, String> {
        let windows: Vec<Window> =
            text.split(',').map(|part| window(part.trim())).collect::<Result<_, _>>()?;
        if windows.len() > WINDOWS_MAX {
            return Err(format!("holds {} windows, more than {WINDOWS_MAX}", windows.len()));
        }
        Ok(Self { windows })
    }

    /// The same hours as a week of days, for calendars.
    pub fn week(&self) -> Week {
        let mut text = Vec::new();
        for (day, name) in DAYS.iter().enumerate() {
            let on = self.windows.iter().filter(|window| window.on(day));
            text.extend(on.map(|window| format!("{name} {}", window.clock())));
        }
        // Every part was a window already; at worst nothing is open.
        Week::parse(&text.join(", ")).unwrap_or_default()
    }

    /// Whether messages may leave at this wall time.
    pub fn open(&self, now_ms: u64) -> bool {
        let (day, minute) = brasilia(now_ms / MINUTE_MS);
        self.windows.iter().any(|window| window.holds(day, minute))
    }

    /// The next wall time from `now_ms` on at which they are open.
    pub fn next_open_ms(&self, now_ms: u64) -> u64 {
        if self.open(now_ms) {
            return now_ms;
        }
        let now_min = now_ms / MINUTE_MS;
        let (_, minute) = brasilia(now_min);
        let midnight = now_min - minute;
        // Today, the six days after it, and today's weekday again.
        let starts = (0..=7).flat_map(|days| {
            let at = midnight + days * DAY_MIN;
            let (day, _) = brasilia(at);
            self.windows.iter().filter(move |window| window.on(day)).map(move |window| at + window.from_min)
        });
        starts.filter(|at| *at > now_min).min().map_or(now_ms, |at| at * MINUTE_MS)
    }
}

impl fmt::Display for WeekHours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, window) in self.windows.iter().enumerate() {
            if at > 0 {
                f.write_str(", ")?;
            }
            let (first, last) = window.days;
            f.write_str(DAYS[first])?;
            if first != last {
                write!(f, "-{}", DAYS[last])?;
            }
            write!(f, " {}", window.clock())?;
        }
        Ok(())
    }
}

impl Window {
    fn clock(self) -> String {
        let clock = |minute: u64| format!("{:02}:{:02}", minute / 60, minute % 60);
        format!("{}-{}", clock(self.from_min), clock(self.to_min))
    }

    fn on(self, day: usize) -> bool {
        let (first, last) = self.days;
        if first <= last { (first..=last).contains(&day) } else { day >= first || day <= last }
    }

    fn holds(self, day: usize, minute: u64) -> bool {
        self.on(day) && (self.from_min..self.to_min).contains(&minute)
    }
}

/// Day of the week (0 is Monday) and minute of the day in Brasília.
fn brasilia(utc_min: u64) -> (usize, u64) {
    let local = utc_min.saturating_sub(BRASILIA_BEHIND_MIN);
    // 1 January 1970 was a Thursday.
    (usize::try_from((local / DAY_MIN + 3) % 7).unwrap_or(0), local % DAY_MIN)
}

fn window(text: &str) -> Result<Window, String> {
    let shape = || "is no list of hours; write it like \"mon-fri 09:00-18:00, sat 10:00-14:00\"".to_owned();
    let (days, times) = text.split_once(char::is_whitespace).ok_or_else(shape)?;
    let (first, last) = days.split_once('-').unwrap_or((days, days));
    let day = |name: &str| {
        DAYS.iter()
            .position(|day| name.eq_ignore_ascii_case(day))
            .ok_or_else(|| format!("names a day that is none of {}", DAYS.join(", ")))
    };
    let (from, to) = times.trim().split_once('-').ok_or_else(shape)?;
    let minute = |text: &str| {
        let (hour, minute) = text.trim().split_once(':')?;
        let two = |text: &str| text.parse::<u64>().ok().filter(|_| text.len() == 2);
        let (hour, minute) = (two(hour)?, two(minute)?);
        (hour * 60 + minute <= DAY_MIN && minute < 60).then_some(hour * 60 + minute)
    };
    let (from_min, to_min) = (minute(from).ok_or_else(shape)?, minute(to).ok_or_else(shape)?);
    if from_min >= to_min {
        return Err("ends before it begins; a window lies within one day".to_owned());
    }
    Ok(Window { days: (day(first)?, day(last)?), from_min, to_min })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Monday 2026-11-23 00:00 in Brasília.
    const MONDAY_MS: u64 = 1795402800000;
    const HOUR_MS: u64 = 60 * MINUTE_MS;

    fn check(text: &str, hours_from_monday: u64, expect: bool) {
        let hours = WeekHours::parse(text).unwrap();
        assert_eq!(
            hours.open(MONDAY_MS + hours_from_monday * HOUR_MS),
            expect,
            "{text} +{hours_from_monday}h"
        );
    }

    #[test]
    fn hours_are_those_of_brasilia() {
        for (hour, expect) in
            [(0, false), (8, false), (9, true), (17, true), (18, false), (24 + 9, true), (5 * 24 + 9, false)]
        {
            check("mon-fri 09:00-18:00", hour, expect);
        }
        check("mon-fri 09:00-18:00, sat 10:00-14:00", 5 * 24 + 10, true);
        check("sat-mon 00:00-24:00", 0, true);
        check("sat-mon 00:00-24:00", 24, false);
        check("SUN 23:00-24:00", 6 * 24 + 23, true);
    }

    #[test]
    fn the_next_opening_is_found_over_the_weekend() {
        let hours = WeekHours::parse("mon-fri 09:00-18:00").unwrap();
        let next = |from_h: u64| (hours.next_open_ms(MONDAY_MS + from_h * HOUR_MS) - MONDAY_MS) / HOUR_MS;
        assert_eq!(
            [next(0), next(10), next(18), next(4 * 24 + 18), next(6 * 24)],
            [9, 10, 33, 7 * 24 + 9, 7 * 24 + 9]
        );
        let one = WeekHours::parse("mon 09:00-10:00").unwrap();
        assert_eq!(one.next_open_ms(MONDAY_MS + 10 * HOUR_MS), MONDAY_MS + (7 * 24 + 9) * HOUR_MS);
    }

    #[test]
    fn a_week_of_days_has_the_same_hours() {
        let week = |text: &str| WeekHours::parse(text).unwrap().week().to_string();
        assert_eq!(week("mon-fri 09:00-18:00, sat 10:00-14:00"), "mon-fri 09:00-18:00, sat 10:00-14:00");
        assert_eq!(week("sat-mon 00:00-24:00"), "mon 00:00-24:00, sat-sun 00:00-24:00");
    }

    #[test]
    fn what_is_no_window_is_refused() {
        for text in [
            "",
            "09:00-18:00",
            "mon 9-18",
            "mon 9:00-18:00",
            "mon 18:00-09:00",
            "mon 09:00-24:01",
            "seg 09:00-18:00",
            "mon 09:00-09:00",
            "mon 09:60-10:00",
        ] {
            assert!(WeekHours::parse(text).is_err(), "{text}");
        }
        let text = "mon-fri 09:00-18:00, sat 10:00-14:00";
        assert_eq!(WeekHours::parse(text).unwrap().to_string(), text);
    }
}
