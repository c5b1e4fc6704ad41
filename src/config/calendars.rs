//! From `config/calendars.toml` to the rules of [`domain::calendar`](crate::domain::calendar). Refuses unknown keys, and says
//! line and field of what is wrong. It decides nothing about hours; the text is compiled in.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use jiff::civil::Date;
use serde::Deserialize;
use toml::Spanned;

use crate::domain::area::CalendarClass;
use crate::domain::calendar::{DAY_MINUTES, Day, Holiday, Municipality, Rules, StateLaw, Week, minute_of};

/// The table as it is compiled in.
const BUILTIN: &str = include_str!("../../config/calendars.toml");

/// Furthest days from Easter that make sense.
const EASTER_DAYS_MAX: i16 = 100;

/// Longest text of a rule.
const TEXT_MAX_CHARS: usize = 200;

/// What is wrong with a table of calendars.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("calendars.toml, line {line}: {field}: {problem}")]
pub struct CalendarsError {
    /// The line, from 1.
    pub line: usize,
    /// The field, or the table.
    pub field: String,
    /// What is wrong, and what is allowed.
    pub problem: String,
}

type Words = Spanned<String>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTable {
    product: RawProduct,
    unverified: RawUnverified,
    #[serde(default)]
    state: Vec<RawState>,
    #[serde(default)]
    national: Vec<Spanned<RawHoliday>>,
    #[serde(default)]
    optional: Vec<Spanned<RawHoliday>>,
    #[serde(default)]
    state_holiday: Vec<Spanned<RawHoliday>>,
    #[serde(default)]
    municipality: Vec<RawMunicipality>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawProduct {
    hours: Words,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawUnverified {
    hours: Words,
    law: Words,
    source: Words,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawState {
    uf: Words,
    hours: Words,
    law: Words,
    source: Words,
    verified: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawHoliday {
    uf: Option<Words>,
    name: Words,
    on: Option<Words>,
    easter: Option<Spanned<i16>>,
    until: Option<Words>,
    since: Option<i16>,
    law: Words,
    source: Words,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawMunicipality {
    code: Spanned<u32>,
    name: Words,
    uf: Words,
    #[serde(default)]
    holiday: Vec<Spanned<RawHoliday>>,
}

/// A problem before it knows its line: `at` is a byte of the text.
struct Fault {
    at: usize,
    field: &'static str,
    problem: String,
}

/// The rules that are compiled in; read once.
///
/// # Errors
/// When they cannot be read, which every start says.
pub fn builtin() -> Result<Arc<Rules>, CalendarsError> {
    static RULES: OnceLock<Result<Arc<Rules>, CalendarsError>> = OnceLock::new();
    RULES.get_or_init(|| parse(BUILTIN).map(Arc::new)).clone()
}

/// Reads and validates a table.
///
/// # Errors
/// Names the line and the field of the first thing that is wrong.
pub fn parse(text: &str) -> Result<Rules, CalendarsError> {
    let line = |at: usize| text.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1;
    let raw: RawTable = toml::from_str(text).map_err(|error| CalendarsError {
        line: line(error.span().map_or(0, |span| span.start)),
        field: "table".to_owned(),
        problem: error.message().trim().replace('\n', "; "),
    })?;
    rules(&raw).map_err(|fault| CalendarsError {
        line: line(fault.at),
        field: fault.field.to_owned(),
        problem: fault.problem,
    })
}

fn rules(raw: &RawTable) -> Result<Rules, Fault> {
    let fallback = StateLaw {
        week: week(&raw.unverified.hours)?,
        law: words(&raw.unverified.law, "law")?,
        source: words(&raw.unverified.source, "source")?,
        verified: false,
    };
    let mut laws: Vec<(Option<StateLaw>, Vec<Holiday>)> =
        CalendarClass::all().map(|_| (None, Vec::new())).collect();
    for state in &raw.state {
        let place = &mut laws[class(&state.uf)?].0;
        let law = StateLaw {
            week: week(&state.hours)?,
            law: words(&state.law, "law")?,
            source: words(&state.source, "source")?,
            verified: state.verified,
        };
        if place.replace(law).is_some() {
            return Err(fault(&state.uf, "uf", "has an entry already: one per state"));
        }
    }
    for raw in &raw.state_holiday {
        let uf = raw.get_ref().uf.as_ref();
        let uf = uf.ok_or_else(|| fault(raw, "uf", "is missing: write the state, such as \"SP\""))?;
        let class = class(uf)?;
        laws[class].1.push(holiday(raw)?);
    }
    let laws = laws.into_iter().map(|(law, days)| (law.unwrap_or_else(|| fallback.clone()), days)).collect();
    let towns = raw.municipality.iter().map(town).collect::<Result<Vec<_>, _>>()?;
    let mut municipalities = BTreeMap::new();
    for (raw, (code, town)) in raw.municipality.iter().zip(towns) {
        if municipalities.insert(code, town).is_some() {
            return Err(fault(&raw.code, "code", "has an entry already: one per municipality"));
        }
    }
    let product = week(&raw.product.hours)?;
    let (national, optional) = (general(&raw.national)?, general(&raw.optional)?);
    let missing =
        || Fault { at: 0, field: "table", problem: "a time zone is not in the bundled database".to_owned() };
    Rules::new(product, laws, national, optional, municipalities).ok_or_else(missing)
}

/// Holidays of everybody.
fn general(raw: &[Spanned<RawHoliday>]) -> Result<Vec<Holiday>, Fault> {
    if let Some(uf) = raw.iter().find_map(|raw| raw.get_ref().uf.as_ref()) {
        return Err(fault(uf, "uf", "does not belong here: write [[state_holiday]]"));
    }
    raw.iter().map(holiday).collect()
}

fn town(raw: &RawMunicipality) -> Result<(u32, Municipality), Fault> {
    let code = *raw.code.get_ref();
    if !(1_000_000..=9_999_999).contains(&code) {
        return Err(fault(&raw.code, "code", "must be the seven digits of the IBGE"));
    }
    class(&raw.uf)?;
    let holidays = general(&raw.holiday)?;
    let (name, uf) = (words(&raw.name, "name")?, raw.uf.get_ref().clone());
    Ok((code, Municipality { name, uf, holidays }))
}

fn holiday(raw: &Spanned<RawHoliday>) -> Result<Holiday, Fault> {
    let one = raw.get_ref();
    let day = match (&one.on, &one.easter) {
        (Some(on), None) => fixed(on)?,
        (None, Some(days)) if days.get_ref().abs() <= EASTER_DAYS_MAX => {
            Day::Easter { days: *days.get_ref() }
        }
        (None, Some(days)) => {
            return Err(fault(
                days,
                "easter",
                "must be days from Easter Sunday, at most 100 before or after",
            ));
        }
        _ => return Err(fault(raw, "on", "write either on = \"12-25\" or easter = -2")),
    };
    let until = match &one.until {
        None => DAY_MINUTES,
        Some(until) => minute_of(until.get_ref())
            .filter(|minute| *minute > 0)
            .ok_or_else(|| fault(until, "until", "must be an hour of the day such as \"14:00\""))?,
    };
    Ok(Holiday {
        name: words(&one.name, "name")?,
        day,
        until,
        since: one.since.unwrap_or(i16::MIN),
        law: words(&one.law, "law")?,
        source: words(&one.source, "source")?,
    })
}

/// `12-25`; 29 February is a day, too.
fn fixed(on: &Words) -> Result<Day, Fault> {
    let date: Option<Date> = format!("2028-{}", on.get_ref()).parse().ok();
    let date = date.filter(|_| on.get_ref().len() == 5);
    let date = date.ok_or_else(|| fault(on, "on", "must be month and day such as \"12-25\""))?;
    Ok(Day::Fixed { month: date.month(), day: date.day() })
}

fn week(hours: &Words) -> Result<Week, Fault> {
    Week::parse(hours.get_ref()).map_err(|problem| fault(hours, "hours", problem))
}

fn class(uf: &Words) -> Result<usize, Fault> {
    let found = CalendarClass::all().position(|class| class.uf() == uf.get_ref());
    found.ok_or_else(|| fault(uf, "uf", "must be one of the 27 states, such as \"SP\""))
}

fn words(text: &Words, field: &'static str) -> Result<String, Fault> {
    if (1..=TEXT_MAX_CHARS).contains(&text.get_ref().trim().chars().count()) {
        return Ok(text.get_ref().clone());
    }
    Err(fault(text, field, "must be a text of 1 to 200 characters"))
}

fn fault<T>(at: &Spanned<T>, field: &'static str, problem: impl Into<String>) -> Fault {
    Fault { at: at.span().start, field, problem: problem.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Changes the table that is compiled in, and says what is found.
    fn check(from: &str, to: &str, expect: &str) {
        assert!(BUILTIN.contains(from), "{from}");
        let at = BUILTIN.find(from).unwrap();
        let line = BUILTIN[..at].matches('\n').count() + 1;
        let error = parse(&BUILTIN.replacen(from, to, 1)).unwrap_err();
        assert!(error.to_string().contains(expect), "{error}, wanted {expect}");
        assert!(error.line.abs_diff(line) <= 1, "{error}, wanted line {line}");
    }

    #[test]
    fn the_table_that_is_compiled_in_is_valid() {
        let rules = builtin().unwrap();
        assert_eq!((rules.national.len(), rules.optional.len()), (10, 6));
        let verified: Vec<&str> =
            CalendarClass::all().filter(|class| rules.law(*class).verified).map(CalendarClass::uf).collect();
        assert_eq!(verified, ["AL", "ES", "RJ", "SP"]);
        assert!(rules.count() > 80, "{}", rules.count());
    }

    #[test]
    fn what_is_wrong_is_named_with_line_and_field() {
        check("uf = \"SP\"\nhours", "uf = \"XX\"\nhours", "uf: must be one of the 27 states");
        check("uf = \"SP\"\nhours", "uf = \"RJ\"\nhours", "uf: has an entry already");
        check(
            "hours = \"mon-fri 09:00-19:00\"",
            "hours = \"seg 09:00-19:00\"",
            "hours: \"seg 09:00-19:00\" does not",
        );
        check("on = \"04-21\"", "on = \"04-31\"", "on: must be month and day");
        check("on = \"04-21\"", "on = \"21-04\"", "on: must be month and day");
        check("easter = -2\n", "easter = -200\n", "easter: must be days from Easter");
        check("until = \"14:00\"", "until = \"25:00\"", "until: must be an hour");
        check("law = \"Lei 14.759/2023\"", "law = \"\"", "law: must be a text");
        check("code = 3550308", "code = 11", "code: must be the seven digits");
        check("since = 2024", "since = 2024\ncolour = 1", "unknown field `colour`");
        check("verified = true", "verified = 1", "table: invalid type");
    }
}
