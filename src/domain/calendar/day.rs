//! Days of the year that are holidays: fixed ones, and those that move with Easter.

use jiff::ToSpan as _;
use jiff::civil::Date;

/// Minutes of a day.
pub const DAY_MINUTES: u16 = 24 * 60;

/// A day of every year.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Day {
    /// The same date every year.
    Fixed {
        /// 1 to 12.
        month: i8,
        /// 1 to 31.
        day: i8,
    },
    /// So many days after Easter Sunday.
    Easter {
        /// Negative before it.
        days: i16,
    },
}

/// A day, or its first part, on which nothing is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holiday {
    /// What it is called.
    pub name: String,
    /// When it is.
    pub day: Day,
    /// The minute of the day at which it ends: 1,440 but for half days.
    pub until: u16,
    /// The first year in which it is kept.
    pub since: i16,
    /// The law that makes it one.
    pub law: String,
    /// Where that is written.
    pub source: String,
}

impl Day {
    /// Whether a date is this day.
    pub fn is(self, date: Date) -> bool {
        match self {
            Self::Fixed { month, day } => (date.month(), date.day()) == (month, day),
            Self::Easter { days } => {
                let sunday = easter(date.year());
                sunday.and_then(|sunday| sunday.checked_add(i32::from(days).days()).ok()) == Some(date)
            }
        }
    }
}

impl Holiday {
    /// The minute until which it keeps a date closed; None when it is another day.
    pub fn closes(&self, date: Date) -> Option<u16> {
        (date.year() >= self.since && self.day.is(date)).then_some(self.until)
    }
}

/// Easter Sunday of the Gregorian calendar, by the anonymous algorithm (Meeus, Astronomical Algorithms, chapter 8).
pub fn easter(year: i16) -> Option<Date> {
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

    #[test]
    fn easter_is_when_the_almanacs_say() {
        for text in ["2024-03-31", "2025-04-20", "2026-04-05", "2027-03-28", "2038-04-25", "2285-03-22"] {
            let sunday: Date = text.parse().unwrap();
            assert_eq!(easter(sunday.year()), Some(sunday));
        }
    }

    #[test]
    fn carnival_of_2027_is_in_february() {
        let is = |days, text: &str| Day::Easter { days }.is(text.parse().unwrap());
        assert!(is(-48, "2027-02-08") && is(-47, "2027-02-09") && is(-46, "2027-02-10"));
        assert!(is(-2, "2027-03-26") && is(60, "2027-05-27"));
        assert!(!is(-47, "2027-02-08"));
    }

    #[test]
    fn a_holiday_is_kept_from_its_first_year_on() {
        let day = Day::Fixed { month: 11, day: 20 };
        let (name, law, source) = (String::new(), String::new(), String::new());
        let holiday = Holiday { name, day, until: DAY_MINUTES, since: 2024, law, source };
        assert_eq!(holiday.closes("2023-11-20".parse().unwrap()), None);
        assert_eq!(holiday.closes("2024-11-20".parse().unwrap()), Some(1440));
        assert_eq!(holiday.closes("2024-11-21".parse().unwrap()), None);
    }
}
