//! `[cap]`: how often a person may be written to.

use std::time::Duration;

use super::Resolver;
use crate::config::error::ConfigError;
use crate::config::raw::{Entry, Origin, RawValue};
use crate::config::value;
use crate::domain::contact::ContactRules;

/// Contacts in a day or a week at most: beyond it a cap is none.
const MOST: u16 = 100;

const WEEK: Duration = Duration::from_secs(7 * 86_400);

impl Resolver<'_> {
    pub(super) fn cap(&self) -> Result<ContactRules, ConfigError> {
        let (per_day, origin) = self.contacts("cap.per_day", ContactRules::DEFAULT.per_day)?;
        let (per_week, of_week) = self.contacts("cap.per_week", ContactRules::DEFAULT.per_week)?;
        if let (Some(day), Some(week)) = (per_day, per_week)
            && day > week
        {
            let origin = if matches!(origin, Origin::Default) { of_week } else { origin };
            let problem = format!("{day} a day is more than the {week} of cap.per_week: raise that, too");
            return Err(ConfigError::value("cap.per_day", &origin, problem));
        }
        let gap = self.text("cap.gap", "0h", |text| value::age(text, Duration::ZERO, WEEK))?.0;
        Ok(ContactRules { per_day, per_week, gap, ..ContactRules::DEFAULT })
    }

    /// A whole number, or `"unlimited"`.
    fn contacts(&self, key: &str, default: Option<u16>) -> Result<(Option<u16>, Origin), ConfigError> {
        let (words, origin) = match self.raw.entries.get(key) {
            None => (default.map(|most| most.to_string()), Origin::Default),
            Some(Entry { value: RawValue::Integer(most), origin }) => {
                (Some(most.to_string()), origin.clone())
            }
            Some(Entry { value: RawValue::Text(text), origin }) => (Some(text.clone()), origin.clone()),
            Some(Entry { origin, .. }) => (None, origin.clone()),
        };
        let words = words.unwrap_or_default();
        let most = match words.as_str() {
            "unlimited" => None,
            _ => Some(words.parse().ok().filter(|most| (1..=MOST).contains(most)).ok_or_else(|| {
                let problem = format!("must be a whole number from 1 to {MOST}, or \"unlimited\"");
                ConfigError::value(key, &origin, problem)
            })?),
        };
        self.show(key, &words, &origin);
        Ok((most, origin))
    }
}
