//! `[[portfolio]]` and `[budget]`: how many people may be written to, and how they are counted.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::{Resolver, duplicate, item_origin, item_text};
use crate::config::error::ConfigError;
use crate::config::raw::{Entry, Origin, RawItem, RawValue};
use crate::config::{BudgetConfig, CloudConfig, PortfolioConfig, value};

/// Meta's highest limit below none.
const PEOPLE_MAX: u64 = 100_000;

/// Without a limit.
const UNLIMITED: &str = "unlimited";

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(86_400);

impl Resolver<'_> {
    pub(super) fn portfolios(&self) -> Result<Vec<PortfolioConfig>, ConfigError> {
        let (mut ids, mut portfolios) = (BTreeSet::new(), Vec::new());
        for (item, name) in self.items("portfolio") {
            let id = item_text(item, &name, "id", value::portfolio_id)?;
            self.show(&format!("{name}.id"), &id, &item_origin(item, "id"));
            if !ids.insert(id.clone()) {
                return Err(duplicate(item, &name, "id", "portfolio"));
            }
            let people_per_day = self.people_per_day(item, &name)?;
            portfolios.push(PortfolioConfig { id: id.into(), people_per_day });
        }
        Ok(portfolios)
    }

    fn people_per_day(&self, item: &RawItem, name: &str) -> Result<Option<u64>, ConfigError> {
        let key = format!("{name}.people_per_day");
        let (people, origin) = match item.entries.get("people_per_day") {
            None => (None, &Origin::Default),
            Some(Entry { value: RawValue::Text(text), origin }) if text == UNLIMITED => (None, origin),
            Some(Entry { value: RawValue::Integer(number), origin }) => {
                let people = u64::try_from(*number).ok().filter(|people| (1..=PEOPLE_MAX).contains(people));
                let problem = format!("is {number}: it must be 1 to {PEOPLE_MAX}, or \"{UNLIMITED}\"");
                (Some(people.ok_or_else(|| ConfigError::value(&key, origin, problem))?), origin)
            }
            Some(Entry { origin, .. }) => {
                let problem =
                    format!("must be a number of people without quotes, such as 2000, or \"{UNLIMITED}\"");
                return Err(ConfigError::value(&key, origin, problem));
            }
        };
        self.show(&key, &people.map_or_else(|| UNLIMITED.to_owned(), |people| people.to_string()), origin);
        Ok(people)
    }

    /// The portfolio that an account names.
    pub(super) fn account_portfolio(
        &self,
        item: &RawItem,
        name: &str,
        portfolios: &[PortfolioConfig],
    ) -> Result<Option<Arc<str>>, ConfigError> {
        if !item.entries.contains_key("portfolio") {
            return Ok(None);
        }
        let id = item_text(item, name, "portfolio", value::portfolio_id)?;
        let (key, origin) = (format!("{name}.portfolio"), item_origin(item, "portfolio"));
        let known = portfolios.iter().find(|portfolio| *portfolio.id == *id);
        let known = known.ok_or_else(|| {
            let problem = format!("there is no [[portfolio]] with id {id:?}: add it, or correct the id");
            ConfigError::value(&key, &origin, problem)
        })?;
        self.show(&key, &id, &origin);
        Ok(Some(known.id.clone()))
    }

    pub(super) fn budget(&self, cloud: &CloudConfig) -> Result<BudgetConfig, ConfigError> {
        let at_least = |key: &str, default: &str, usual: Duration, (min, max): (Duration, Duration)| {
            let (span, origin) = self.text(key, default, |text| value::duration(text, min, max))?;
            if span < usual && !cloud.is_loopback() {
                let problem = "less is for the simulator only: Meta counts people for 24 hours";
                return Err(ConfigError::value(key, &origin, problem));
            }
            Ok(span)
        };
        Ok(BudgetConfig {
            window: at_least("budget.window", "24h", DAY, (SECOND, 2 * DAY))?,
            margin: at_least("budget.margin", "60s", MINUTE, (SECOND, DAY))?,
        })
    }
}
