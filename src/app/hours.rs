//! The hours in which a real Cloud API may be used until calendars exist: Monday to Friday 13:00-20:00 UTC, on no
//! national holiday. That lies within the hours of every Brazilian state and time zone.

use jiff::civil::{Date, Weekday};
use jiff::{Timestamp, ToSpan};

use crate::clock::WallMs;

/// How long before the end nothing new leaves: control looks once in a round, and a request takes its time.
const MARGIN_MS: u64 = 60_000;

/// Whether messages may leave at `now`, and still a minute from now.
pub fn open(now: WallMs) -> bool {
    allowed(now) && allowed(WallMs(now.0.saturating_add(MARGIN_MS)))
}

fn allowed(now: WallMs) -> bool {
    let Ok(timestamp) = i64::try_from(now.0).map_or_else(|_| Ok(Timestamp::MAX), Timestamp::from_millisecond)
    else {
        return false;
    };
    let utc = timestamp.to_zoned(jiff::tz::TimeZone::UTC);
    let workday = !matches!(utc.weekday(), Weekday::Saturday | Weekday::Sunday);
    workday && (13..20).contains(&utc.hour()) && !national_holiday(utc.date())
}

/// The ten national holidays: nine fixed ones (20 November since Lei 14.759/2023) and Good Friday.
fn national_holiday(date: Date) -> bool {
    const FIXED: [(i8, i8); 9] =
        [(1, 1), (4, 21), (5, 1), (9, 7), (10, 12), (11, 2), (11, 15), (11, 20), (12, 25)];
    let good_friday = easter(date.year()).and_then(|easter| easter.checked_sub(2.days()).ok());
    FIXED.contains(&(date.month(), date.day())) || good_friday == Some(date)
}

/// Easter Sunday of the Gregorian calendar, by the anonymous algorithm (Meeus, Astronomical Algorithms, chapter 8).
fn easter(year: i16) -> Option<Date> {
    let year = i32::from(year);
    let (a, b, c) = (year % 19, year / 100, year % 100);
    let (d, e) = (b / 4, b % 4);
    let g = (8 * b + 13) / 25;
    let h = (19 * a + b - d - g + 15) % 30;
    let (i, k) = (c / 4, c % 4);
    let l = (32 + 2 * e + 2 * i - h - k) % 7;
    let m = (a + 11 * h + 19 * l) / 433;
    let month = (h + l - 7 * m + 90) / 25;
    let day = (h + l - 7 * m + 33 * month + 19) % 32;
    Date::new(i16::try_from(year).ok()?, i8::try_from(month).ok()?, i8::try_from(day).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(when: &str, expect: bool) {
        let timestamp: Timestamp = when.parse().unwrap();
        assert_eq!(open(WallMs(u64::try_from(timestamp.as_millisecond()).unwrap())), expect, "{when}");
    }

    #[test]
    fn only_working_hours_of_all_of_brazil() {
        check("2026-11-24T12:59:59Z", false);
        check("2026-11-24T13:00:00Z", true);
        check("2026-11-24T19:58:59Z", true);
        check("2026-11-24T19:59:00Z", false);
        check("2026-11-24T20:00:00Z", false);
        check("2026-11-21T15:00:00Z", false);
        check("2026-11-22T15:00:00Z", false);
        check("2026-11-20T15:00:00Z", false);
        check("2026-12-25T15:00:00Z", false);
    }

    #[test]
    fn good_friday_moves() {
        for (easter_sunday, friday) in
            [("2026-04-05", "2026-04-03"), ("2027-03-28", "2027-03-26"), ("2038-04-25", "2038-04-23")]
        {
            let sunday: Date = easter_sunday.parse().unwrap();
            assert_eq!(easter(sunday.year()), Some(sunday));
            check(&format!("{friday}T15:00:00Z"), false);
        }
        check("2027-03-25T15:00:00Z", true);
    }
}
