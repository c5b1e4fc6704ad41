//! Days and months, as files write them and as people read them.

use jiff::civil::Date;

use super::{FormatError, is_scientific};

/// How a file writes days. ISO (`aaaa-mm-dd`) can only be meant in one way and is read under every declaration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DateInput {
    /// `dd/mm/aaaa`, also with `-` or `.`.
    #[default]
    DayMonthYear,
    /// `mm/dd/aaaa`
    MonthDayYear,
    /// `aaaa-mm-dd`
    Iso,
    /// `aaaammdd`
    Compact,
}

/// How a file writes months. Whole ISO days are read under every declaration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MonthInput {
    /// `mm/aaaa`
    #[default]
    MonthYear,
    /// `aaaa-mm`
    Iso,
    /// `dezembro/2026`, `dez/26` is refused for its year.
    Name,
    /// A whole day, `dd/mm/aaaa`.
    DayMonthYear,
}

/// Why a text is no day or month.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DateError {
    /// `46357`
    #[error("is a spreadsheet's count of days, not a date; format the column as a date and export it again")]
    Serial,
    /// `1/12/2026`
    #[error(
        "has a day or month of one digit, as a spreadsheet writes it, so day and month may have changed places; export the \
         column with two digits each"
    )]
    OneDigit,
    /// `01/12/26`
    #[error("has a year of two digits")]
    ShortYear,
    /// Not written as declared.
    #[error("is not written as the campaign file declares it")]
    Shape,
    /// `31/02/2026`
    #[error("is no day of the calendar")]
    NoSuchDay,
    /// Before 1990 or after 2100.
    #[error("is not within the years 1990 to 2100")]
    Year,
    /// A time other than midnight.
    #[error("has a time of day behind the date")]
    Time,
}

const YEARS: std::ops::RangeInclusive<i16> = 1990..=2100;

const MONTHS: [&str; 12] = [
    "janeiro",
    "fevereiro",
    "março",
    "abril",
    "maio",
    "junho",
    "julho",
    "agosto",
    "setembro",
    "outubro",
    "novembro",
    "dezembro",
];

impl DateInput {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::DayMonthYear, Self::MonthDayYear, Self::Iso, Self::Compact];

    /// Its name in the campaign file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::DayMonthYear => "dd/mm/aaaa",
            Self::MonthDayYear => "mm/dd/aaaa",
            Self::Iso => "iso",
            Self::Compact => "aaaammdd",
        }
    }
}

impl MonthInput {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::MonthYear, Self::Iso, Self::Name, Self::DayMonthYear];

    /// Its name in the campaign file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::MonthYear => "mm/aaaa",
            Self::Iso => "iso",
            Self::Name => "mes/aaaa",
            Self::DayMonthYear => "dd/mm/aaaa",
        }
    }
}

impl DateError {
    /// The code in the rejects file and in counts; never changes.
    pub fn reason_code(self) -> &'static str {
        match self {
            Self::Serial => "date_serial",
            Self::OneDigit => "date_one_digit",
            Self::ShortYear => "date_short_year",
            Self::Shape => "date_shape",
            Self::NoSuchDay => "date_no_such_day",
            Self::Year => "date_year",
            Self::Time => "date_time",
        }
    }
}

/// The day that `text` names.
pub(super) fn date(text: &str, input: DateInput) -> Result<Date, FormatError> {
    day(text, input)
        .map_err(|error| if is_scientific(text) { FormatError::Scientific } else { FormatError::Date(error) })
}

/// The first day of the month that `text` names.
pub(super) fn month(text: &str, input: MonthInput) -> Result<Date, FormatError> {
    month_of(text, input)
        .map_err(|error| if is_scientific(text) { FormatError::Scientific } else { FormatError::Date(error) })
}

/// Writes `dd/mm/aaaa`.
pub(super) fn write(date: Date, out: &mut String) {
    two_digits(date.day(), out);
    out.push('/');
    two_digits(date.month(), out);
    out.push('/');
    year(date, out);
}

/// Writes "novembro de 2026".
pub(super) fn write_month(date: Date, out: &mut String) {
    out.push_str(MONTHS[usize::from(date.month().unsigned_abs()) - 1]);
    out.push_str(" de ");
    year(date, out);
}

fn year(date: Date, out: &mut String) {
    // Years are within 1990 and 2100.
    let two = |value: i16| i8::try_from(value % 100).unwrap_or(0);
    two_digits(two(date.year() / 100), out);
    two_digits(two(date.year()), out);
}

fn two_digits(value: i8, out: &mut String) {
    let value = value.unsigned_abs();
    out.push(char::from(b'0' + value / 10));
    out.push(char::from(b'0' + value % 10));
}

fn day(text: &str, input: DateInput) -> Result<Date, DateError> {
    if let Some((first, second, year)) = usual(text.as_bytes()) {
        match input {
            DateInput::DayMonthYear => return built(year, second, first),
            DateInput::MonthDayYear => return built(year, first, second),
            DateInput::Iso | DateInput::Compact => {}
        }
    }
    let text = without_midnight(text.trim_start_matches('\''))?;
    if let Some(date) = iso(text) {
        return date;
    }
    if input != DateInput::Compact && is_serial(text) {
        return Err(DateError::Serial);
    }
    if input == DateInput::Compact {
        if is_serial(text) {
            return Err(DateError::Serial);
        }
        if text.len() != 8 || !is_digits(text) {
            return Err(DateError::Shape);
        }
        return build(&text[..4], &text[4..6], &text[6..]);
    }
    if input == DateInput::Iso {
        return Err(DateError::Shape);
    }
    let (first, second, year) = split(text)?;
    match input {
        DateInput::MonthDayYear => build(year, first, second),
        _ => build(year, second, first),
    }
}

fn month_of(text: &str, input: MonthInput) -> Result<Date, DateError> {
    let text = without_midnight(text.trim_start_matches('\''))?;
    if let Some(date) = iso(text) {
        return date.and_then(|date| build_first(date.year(), date.month()));
    }
    if is_serial(text) {
        return Err(DateError::Serial);
    }
    let (month, year) = match input {
        MonthInput::DayMonthYear => {
            let date = day(text, DateInput::DayMonthYear)?;
            return build_first(date.year(), date.month());
        }
        MonthInput::MonthYear => text.split_once(['/', '-', '.']).ok_or(DateError::Shape)?,
        MonthInput::Iso => text.split_once('-').map(|(year, month)| (month, year)).ok_or(DateError::Shape)?,
        MonthInput::Name => return named(text),
    };
    if !is_digits(month) || !is_digits(year) {
        return Err(DateError::Shape);
    }
    match (month.len(), year.len()) {
        (1, _) => Err(DateError::OneDigit),
        (2, 2) => Err(DateError::ShortYear),
        (2, 4) => build(year, month, "01"),
        _ => Err(DateError::Shape),
    }
}

/// `dezembro/2026`, `dezembro de 2026`, `dez/2026`.
fn named(text: &str) -> Result<Date, DateError> {
    let at = text.find(|c: char| !c.is_alphabetic()).ok_or(DateError::Shape)?;
    let (name, rest) = text.split_at(at);
    let name = name.to_lowercase().replace("marco", "março");
    let found = MONTHS.iter().position(|month| {
        *month == name || (name.chars().count() == 3 && month.chars().take(3).eq(name.chars()))
    });
    let month = found.ok_or(DateError::Shape)?;
    let year = rest.trim_start_matches([' ', '/', '-', '.']);
    let year = year.strip_prefix("de ").unwrap_or(year).trim_start();
    if !is_digits(year) {
        return Err(DateError::Shape);
    }
    match year.len() {
        4 => build(year, &format!("{:02}", month + 1), "01"),
        2 => Err(DateError::ShortYear),
        _ => Err(DateError::Shape),
    }
}

/// `dd/mm/aaaa` or `mm/dd/aaaa`, as nearly every day is written. None: the rules have to look at it.
fn usual(text: &[u8]) -> Option<(i8, i8, i16)> {
    let &[a, b, mark @ (b'/' | b'-' | b'.'), c, d, again, e, f, g, h] = text else { return None };
    let digits = [a, b, c, d, e, f, g, h];
    if mark != again || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let two = |tens: u8, ones: u8| i8::try_from((tens - b'0') * 10 + (ones - b'0')).ok();
    Some((two(a, b)?, two(c, d)?, i16::from(two(e, f)?) * 100 + i16::from(two(g, h)?)))
}

/// Three numbers with the year last.
fn split(text: &str) -> Result<(&str, &str, &str), DateError> {
    let mark = text.chars().find(|c| matches!(c, '/' | '-' | '.')).ok_or(DateError::Shape)?;
    let mut parts = text.split(mark);
    let (Some(first), Some(second), Some(year), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(DateError::Shape);
    };
    if ![first, second, year].into_iter().all(is_digits) {
        return Err(DateError::Shape);
    }
    match (first.len(), second.len(), year.len()) {
        (2, 2, 4) => Ok((first, second, year)),
        (2, 2, 2) => Err(DateError::ShortYear),
        (1, 1 | 2, _) | (2, 1, _) => Err(DateError::OneDigit),
        _ => Err(DateError::Shape),
    }
}

/// A day as `aaaa-mm-dd`; None when it is not written so.
fn iso(text: &str) -> Option<Result<Date, DateError>> {
    let shape = text.len() == 10
        && text
            .bytes()
            .enumerate()
            .all(|(at, byte)| if matches!(at, 4 | 7) { byte == b'-' } else { byte.is_ascii_digit() });
    shape.then(|| build(&text[..4], &text[5..7], &text[8..]))
}

fn build(year: &str, month: &str, day: &str) -> Result<Date, DateError> {
    let year = year.parse().map_err(|_| DateError::Shape)?;
    let (month, day) =
        (month.parse().map_err(|_| DateError::Shape)?, day.parse().map_err(|_| DateError::Shape)?);
    built(year, month, day)
}

fn built(year: i16, month: i8, day: i8) -> Result<Date, DateError> {
    let date = Date::new(year, month, day).map_err(|_| DateError::NoSuchDay)?;
    if YEARS.contains(&year) { Ok(date) } else { Err(DateError::Year) }
}

fn build_first(year: i16, month: i8) -> Result<Date, DateError> {
    Date::new(year, month, 1).map_err(|_| DateError::NoSuchDay)
}

/// The text without a midnight behind it, as databases and spreadsheets add.
fn without_midnight(text: &str) -> Result<&str, DateError> {
    let Some((date, time)) = text.split_once([' ', 'T']) else {
        return Ok(text);
    };
    let time = time.trim_start();
    if !time.contains(':') {
        return Ok(text);
    }
    let midnight = time.bytes().all(|byte| matches!(byte, b'0' | b':' | b'.' | b'Z'));
    if midnight { Ok(date) } else { Err(DateError::Time) }
}

/// A count of days since 1900 within the years that are read, perhaps with a fraction.
fn is_serial(text: &str) -> bool {
    let (whole, fraction) = text.split_once(['.', ',']).unwrap_or((text, "0"));
    whole.len() == 5 && is_digits(whole) && is_digits(fraction)
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_usual_way_says_what_the_rules_say(text in "[0-9]{1,2}[/.-][0-9]{1,2}[/.-][0-9]{4}") {
            let rules = split(&text).ok().filter(|(first, _, _)| first.len() == 2);
            let parsed = rules.map(|(first, second, year)| {
                (first.parse().unwrap(), second.parse().unwrap(), year.parse().unwrap())
            });
            prop_assert_eq!(usual(text.as_bytes()), parsed, "{}", text);
        }
    }
}
