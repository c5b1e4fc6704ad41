//! `[calendar]` and `valid_until` of a campaign file.

use std::collections::BTreeSet;

use jiff::Timestamp;
use jiff::civil::Date;
use toml::Spanned;

use super::raw::{RawCalendar, Words};
use super::{Fault, did_you_mean};
use crate::config::calendars;
use crate::domain::calendar::{self, OptionalDays, OwnHours, Week};

/// Days of its own that a campaign may close.
const CLOSED_MAX: usize = 366;

pub(super) fn own_hours(raw: &RawCalendar) -> Result<OwnHours, Fault> {
    Ok(OwnHours {
        hours: raw.hours.as_ref().map(hours).transpose()?,
        optional_days: raw.optional_days.as_ref().map(optional_days).transpose()?,
        closed: closed(raw.closed.as_ref())?,
        municipality: raw.municipality.as_ref().map(municipality).transpose()?,
    })
}

/// The fixed end of a campaign.
pub(super) fn valid_until(words: &Words) -> Result<Timestamp, Fault> {
    let at = Some(words.span().start);
    calendar::parse_instant(words.get_ref()).map_err(|problem| Fault::new(at, "valid_until", problem))
}

fn hours(words: &Words) -> Result<Week, Fault> {
    let at = Some(words.span().start);
    Week::parse(words.get_ref()).map_err(|problem| Fault::new(at, "calendar.hours", problem))
}

fn optional_days(words: &Words) -> Result<OptionalDays, Fault> {
    OptionalDays::parse(words.get_ref()).ok_or_else(|| {
        let names = OptionalDays::ALL.map(OptionalDays::as_str);
        let message = format!("`{}` is none of {}", words.get_ref(), names.join(", "));
        Fault::new(Some(words.span().start), "calendar.optional_days", message)
            .maybe_hint(did_you_mean(words.get_ref(), names))
    })
}

fn closed(raw: Option<&Spanned<Vec<Words>>>) -> Result<BTreeSet<Date>, Fault> {
    let Some(raw) = raw else { return Ok(BTreeSet::new()) };
    let days = raw.get_ref();
    if days.len() > CLOSED_MAX {
        let message = format!("holds {} days, more than {CLOSED_MAX}", days.len());
        return Err(Fault::new(Some(raw.span().start), "calendar.closed", message));
    }
    let day = |words: &Words| {
        let parsed: Option<Date> = words.get_ref().parse().ok().filter(|_| words.get_ref().len() == 10);
        parsed.ok_or_else(|| {
            let message = format!("`{}` is no date", words.get_ref());
            Fault::new(Some(words.span().start), "calendar.closed", message)
                .hint("write [\"2026-12-26\", \"2027-01-02\"]")
        })
    };
    days.iter().map(day).collect()
}

fn municipality(raw: &Spanned<i64>) -> Result<u32, Fault> {
    let rules = calendars::builtin();
    let known = |code: &u32| rules.is_ok_and(|rules| rules.municipalities.contains_key(code));
    u32::try_from(*raw.get_ref()).ok().filter(known).ok_or_else(|| {
        let message = format!("{} is no IBGE code of config/calendars.toml", raw.get_ref());
        Fault::new(Some(raw.span().start), "calendar.municipality", message)
            .hint("write the municipality's holidays in `closed`")
    })
}
