//! `[calendar]` and the hours of an `[[account]]`: what the creditor says of its own hours.

use std::collections::BTreeSet;

use jiff::civil::Date;

use super::CalendarConfig;
use super::calendars;
use super::error::ConfigError;
use super::raw::{Entry, Origin, RawItem, RawValue};
use super::resolve::Resolver;
use crate::config::CloudConfig;
use crate::domain::calendar::{OptionalDays, OwnHours, Week};

/// Days of their own that a creditor may close.
const CLOSED_MAX: usize = 366;

impl Resolver<'_> {
    pub(super) fn calendar(&self, cloud: &CloudConfig) -> Result<CalendarConfig, ConfigError> {
        let entry = |key: &str| self.raw.entries.get(format!("calendar.{key}").as_str());
        let mut hours = self.own_hours("calendar", entry)?;
        hours.municipality = self.municipality(entry("municipality"))?;
        let enforce = self.boolean("calendar.enforce", true)?;
        if !enforce && !cloud.is_loopback() {
            let origin = entry("enforce").map_or(Origin::Default, |entry| entry.origin.clone());
            let problem = "false is for the simulator only: cloud.url must lead to this machine. Hours may be wider \
                 with calendar.hours, within the law of each state";
            return Err(ConfigError::value("calendar.enforce", &origin, problem));
        }
        Ok(CalendarConfig { hours, enforce, clock_shift_ms: 0 })
    }

    pub(super) fn account_hours(&self, item: &RawItem, name: &str) -> Result<OwnHours, ConfigError> {
        self.own_hours(name, |key| item.entries.get(key))
    }

    fn own_hours<'a>(
        &self,
        section: &str,
        entry: impl Fn(&str) -> Option<&'a Entry>,
    ) -> Result<OwnHours, ConfigError> {
        Ok(OwnHours {
            hours: self.said(section, "hours", entry("hours"), Week::parse)?,
            optional_days: self.said(section, "optional_days", entry("optional_days"), |text| {
                OptionalDays::parse(text)
                    .ok_or_else(|| format!("{text:?} is neither \"open\" nor \"closed\""))
            })?,
            closed: self.said(section, "closed", entry("closed"), closed_days)?.unwrap_or_default(),
            municipality: None,
        })
    }

    fn said<T>(
        &self,
        section: &str,
        key: &str,
        entry: Option<&Entry>,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Result<Option<T>, ConfigError> {
        let Some(Entry { value, origin }) = entry else { return Ok(None) };
        let key = format!("{section}.{key}");
        let RawValue::Text(text) = value else {
            let problem = format!("is {}, but must be a text in quotes", value.type_name());
            return Err(ConfigError::value(&key, origin, problem));
        };
        let parsed = parse(text).map_err(|problem| ConfigError::value(&key, origin, problem))?;
        self.show(&key, text, origin);
        Ok(Some(parsed))
    }

    fn municipality(&self, entry: Option<&Entry>) -> Result<Option<u32>, ConfigError> {
        let key = "calendar.municipality";
        let Some(Entry { value, origin }) = entry else { return Ok(None) };
        let code = match value {
            RawValue::Integer(code) => u32::try_from(*code).ok(),
            RawValue::Text(text) => text.parse().ok(),
            _ => None,
        };
        let rules = calendars::builtin();
        let code = code.filter(|code| rules.is_ok_and(|rules| rules.municipalities.contains_key(code)));
        let code = code.ok_or_else(|| {
            let problem = "must be the IBGE code of a municipality of config/calendars.toml, such as 3550308; \
                 write the days of others in calendar.closed";
            ConfigError::value(key, origin, problem)
        })?;
        self.show(key, &code.to_string(), origin);
        Ok(Some(code))
    }
}

/// `2026-12-26, 2027-01-02`.
fn closed_days(text: &str) -> Result<BTreeSet<Date>, String> {
    let day = |part: &str| {
        let parsed: Option<Date> = part.trim().parse().ok().filter(|_| part.trim().len() == 10);
        parsed.ok_or_else(|| format!("{:?} is no date: write \"2026-12-26, 2027-01-02\"", part.trim()))
    };
    let days = text.split(',').map(day).collect::<Result<BTreeSet<_>, _>>()?;
    if days.len() > CLOSED_MAX { Err(format!("{} days, at most {CLOSED_MAX}", days.len())) } else { Ok(days) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_read_as_a_list() {
        let days = closed_days("2027-01-02, 2026-12-26").unwrap();
        assert_eq!(days.iter().map(ToString::to_string).collect::<Vec<_>>(), ["2026-12-26", "2027-01-02"]);
        for text in ["", "2026-12-26,", "26/12/2026", "2026-13-01", "2026-12-26T10:00"] {
            assert!(closed_days(text).unwrap_err().contains("is no date"), "{text}");
        }
    }
}
