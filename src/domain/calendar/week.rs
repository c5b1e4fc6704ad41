//! Hours of a week as people write them: `mon-fri 08:00-20:00, sat 08:00-14:00`.

use std::fmt;

use jiff::civil::Weekday;

use super::day::DAY_MINUTES;

/// Windows of one day at most.
const WINDOWS_MAX: usize = 24;

const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

/// A part of a day, in minutes from midnight: from the first to before the second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Window {
    /// First minute.
    pub from: u16,
    /// First minute after it, 1,440 at most.
    pub to: u16,
}

/// Windows of every day of a week, from Monday on; sorted, apart from each other. A day without one is closed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Week([Vec<Window>; 7]);

impl Week {
    /// Every minute of every day.
    pub fn always() -> Self {
        Self(std::array::from_fn(|_| vec![Window { from: 0, to: DAY_MINUTES }]))
    }

    /// Reads `mon-fri 08:00-20:00, sat 08:00-14:00`: days, then hours, in parts divided by commas.
    ///
    /// # Errors
    /// In words, with the part that cannot be read.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut week = Self::default();
        for part in text.split(',').map(str::trim) {
            let wrong = |why: &str| {
                format!(
                    "{part:?} {why}: write days and hours such as \"mon-fri 08:00-20:00, sat 08:00-14:00\""
                )
            };
            let (days, hours) =
                part.split_once(char::is_whitespace).ok_or_else(|| wrong("is not days and hours"))?;
            let days = days_of(days).ok_or_else(|| wrong("does not begin with days (mon to sun)"))?;
            let window =
                window_of(hours.trim()).ok_or_else(|| wrong("does not end with hours of one day"))?;
            for day in days {
                let windows = &mut week.0[day];
                windows.push(window);
                if windows.len() > WINDOWS_MAX {
                    return Err(wrong("is one of too many for a day"));
                }
            }
        }
        week.0.iter_mut().for_each(merge);
        Ok(week)
    }

    /// What is in both.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        let day = |at: usize| {
            let pairs = self.0[at].iter().flat_map(|one| other.0[at].iter().map(move |two| (one, two)));
            let both =
                pairs.map(|(one, two)| Window { from: one.from.max(two.from), to: one.to.min(two.to) });
            both.filter(|window| window.from < window.to).collect()
        };
        Self(std::array::from_fn(day))
    }

    /// Whether a minute of a weekday is in it.
    pub fn contains(&self, weekday: Weekday, minute: u16) -> bool {
        self.on(weekday).iter().any(|window| (window.from..window.to).contains(&minute))
    }

    /// The windows of a weekday.
    pub fn on(&self, weekday: Weekday) -> &[Window] {
        &self.0[usize::from(weekday.to_monday_zero_offset().unsigned_abs())]
    }

    /// The minutes of a weekday at which a window begins or ends.
    pub fn edges(&self, weekday: Weekday) -> impl Iterator<Item = u16> {
        self.on(weekday).iter().flat_map(|window| [window.from, window.to])
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}:{:02}-{:02}:{:02}", self.from / 60, self.from % 60, self.to / 60, self.to % 60)
    }
}

impl fmt::Display for Week {
    /// As [`Week::parse`] reads it; days of equal hours together.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (mut day, mut first) = (0, true);
        while day < 7 {
            let last = (day..7).take_while(|other| self.0[*other] == self.0[day]).last().unwrap_or(day);
            for window in &self.0[day] {
                let comma = if std::mem::take(&mut first) { "" } else { ", " };
                match last - day {
                    0 => write!(f, "{comma}{} {window}", DAYS[day])?,
                    _ => write!(f, "{comma}{}-{} {window}", DAYS[day], DAYS[last])?,
                }
            }
            day = last + 1;
        }
        if first { f.write_str("never") } else { Ok(()) }
    }
}

/// `mon`, `mon-fri`: the days from the first to the last, not over the end of the week.
fn days_of(text: &str) -> Option<std::ops::RangeInclusive<usize>> {
    let text = text.to_ascii_lowercase();
    let day = |name: &str| DAYS.iter().position(|known| *known == name);
    let (first, last) = text.split_once('-').unwrap_or((&text, &text));
    let (first, last) = (day(first)?, day(last)?);
    (first <= last).then_some(first..=last)
}

/// `08:00-20:00`.
fn window_of(text: &str) -> Option<Window> {
    let (from, to) = text.split_once('-')?;
    let window = Window { from: minute_of(from)?, to: minute_of(to)? };
    (window.from < window.to).then_some(window)
}

/// The minute of the day that `08:00` names, up to `24:00`.
pub fn minute_of(text: &str) -> Option<u16> {
    let (hours, minutes) = text.split_once(':')?;
    let digits = |part: &str, most: usize| {
        (1..=most).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit())
    };
    if !digits(hours, 2) || !digits(minutes, 2) || minutes.len() != 2 {
        return None;
    }
    let (hours, minutes): (u16, u16) = (hours.parse().ok()?, minutes.parse().ok()?);
    let minute = hours * 60 + minutes;
    (minutes < 60 && minute <= DAY_MINUTES).then_some(minute)
}

/// Sorts windows and joins those that touch.
fn merge(windows: &mut Vec<Window>) {
    windows.sort_unstable();
    windows.dedup_by(|next, kept| {
        let touch = next.from <= kept.to;
        if touch {
            kept.to = kept.to.max(next.to);
        }
        touch
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expect: &str) {
        assert_eq!(Week::parse(text).unwrap().to_string(), expect, "{text}");
    }

    #[test]
    fn hours_are_read_as_people_write_them() {
        check("mon-fri 08:00-20:00, sat 08:00-14:00", "mon-fri 08:00-20:00, sat 08:00-14:00");
        check(" Mon-Fri  8:00-12:00 , mon-fri 14:00-18:30", "mon-fri 08:00-12:00, mon-fri 14:00-18:30");
        check("mon-sun 00:00-24:00", "mon-sun 00:00-24:00");
        check("tue 10:00-12:00, tue 11:00-13:00", "tue 10:00-13:00");
        assert_eq!(Week::parse("mon-sun 00:00-24:00"), Ok(Week::always()));
    }

    #[test]
    fn two_weeks_leave_what_is_in_both() {
        let law = Week::parse("mon-fri 08:00-20:00, sat 08:00-14:00").unwrap();
        let and = |text: &str| law.and(&Week::parse(text).unwrap()).to_string();
        assert_eq!(and("mon-sun 09:00-18:00"), "mon-fri 09:00-18:00, sat 09:00-14:00");
        assert_eq!(and("mon 07:00-09:00, mon 19:00-22:00"), "mon 08:00-09:00, mon 19:00-20:00");
        assert_eq!(and("sun 08:00-20:00"), "never");
        assert_eq!(law.and(&Week::always()), law);
    }

    #[test]
    fn what_is_no_week_is_refused_with_its_part() {
        for (text, expect) in [
            ("", "is not days and hours"),
            ("mon-fri", "is not days and hours"),
            ("08:00-20:00", "is not days and hours"),
            ("seg-sex 08:00-20:00", "does not begin with days"),
            ("fri-mon 08:00-20:00", "does not begin with days"),
            ("mon 20:00-08:00", "does not end with hours"),
            ("mon 08:00-08:00", "does not end with hours"),
            ("mon 08-20", "does not end with hours"),
            ("mon 08:00-24:01", "does not end with hours"),
            ("mon 08:60-20:00", "does not end with hours"),
            ("mon +8:00-20:00", "does not end with hours"),
            ("mon 08:00-20:00,", "is not days and hours"),
        ] {
            let error = Week::parse(text).unwrap_err();
            assert!(error.contains(expect), "{text}: {error}");
        }
    }

    #[test]
    fn the_last_minute_is_out() {
        let week = Week::parse("sat 08:00-14:00").unwrap();
        let at = |minute| week.contains(Weekday::Saturday, minute);
        assert_eq!((at(479), at(480), at(839), at(840)), (false, true, true, false));
        assert!(!week.contains(Weekday::Friday, 480) && !week.contains(Weekday::Sunday, 480));
    }
}
