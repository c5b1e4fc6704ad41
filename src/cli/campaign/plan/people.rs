//! How many people the portfolio of a campaign may write to, and how many days its rows take because of it.

use std::time::Duration;

use jiff::SignedDuration;
use serde_json::{Value, json};

use super::super::super::output::{Output, Paint, count};
use crate::app;
use crate::app::store::Store;
use crate::config::Config;
use crate::domain::calendar::PeopleBudget;
use crate::domain::campaign::Campaign;
use crate::queue::QueueError;
use crate::queue::budget::{self, Standing};

/// The budget of a campaign's portfolio.
#[derive(Clone, Debug)]
pub struct People {
    portfolio: String,
    /// People a day at most.
    per_day: u64,
    /// Written to within the last day; None: Redis does not tell.
    used: Option<u64>,
    /// How long a person counts.
    day: Duration,
}

impl People {
    /// What Redis says of it; None: the campaign's people are not counted, or may be any number.
    pub async fn ask(
        store: &mut Store,
        campaign: &Campaign,
        config: &Config,
    ) -> Result<Option<Self>, QueueError> {
        let budgets = app::budget::read(&mut store.connection, config).await?;
        let Some(budget) = budgets.get(&campaign.account) else { return Ok(None) };
        let Standing { used, people, .. } = budget::look(&mut store.connection, budget).await?;
        let portfolio = budget.portfolio.to_string();
        Ok(people.map(|per_day| Self { portfolio, per_day, used: Some(used), day: day(config) }))
    }

    /// What the configuration alone says.
    pub fn configured(campaign: &Campaign, config: &Config) -> Option<Self> {
        let account = config.accounts.iter().find(|account| account.id == campaign.account)?;
        let portfolio = account.portfolio.as_ref()?;
        let known = config.portfolios.iter().find(|known| known.id == *portfolio)?;
        let (portfolio, per_day) = (portfolio.to_string(), known.people_per_day?);
        Some(Self { portfolio, per_day, used: None, day: day(config) })
    }

    /// As what a finishing time accounts for.
    pub fn budget(&self) -> PeopleBudget {
        let day = SignedDuration::try_from(self.day).unwrap_or(SignedDuration::MAX);
        PeopleBudget { people: self.per_day, used: self.used.unwrap_or(0), day }
    }

    /// Days that so many rows take at least, if each is for somebody else; people of an earlier day make room as they were
    /// written to. None: they never all go.
    fn days(&self, new: u64) -> Option<u64> {
        let left = self.per_day.saturating_sub(self.used.unwrap_or(0));
        if new <= left {
            return Some(1);
        }
        (self.per_day > 0).then(|| 1 + (new - left).div_ceil(self.per_day))
    }

    /// As one object.
    pub fn json(&self, new: u64) -> Value {
        json!({ "portfolio": self.portfolio, "people_per_day": self.per_day, "used": self.used, "days": self.days(new) })
    }

    /// In words.
    pub fn line(&self, new: u64, out: &Output) -> String {
        let used = self.used.map(|used| format!(", {} within the last day", count(used))).unwrap_or_default();
        let text =
            format!("people: portfolio {} may write to {} a day{used}", self.portfolio, count(self.per_day));
        match self.days(new) {
            Some(1) => text,
            Some(days) => out.paint(
                Paint::Yellow,
                &format!("{text}: these rows take {days} days at least, unless they repeat people"),
            ),
            None => out.paint(Paint::Red, &format!("{text}: these rows never go")),
        }
    }
}

/// How long a person counts: a day, and the margin.
fn day(config: &Config) -> Duration {
    config.budget.window + config.budget.margin
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_take_as_many_days_as_their_people_need() {
        let day = Duration::from_secs(86_460);
        let days = |per_day, used, new| People { portfolio: "p".to_owned(), per_day, used, day }.days(new);
        assert_eq!(days(2_000, None, 2_000), Some(1));
        assert_eq!(days(2_000, None, 2_001), Some(2));
        assert_eq!(days(2_000, Some(1_500), 500), Some(1));
        assert_eq!(days(2_000, Some(1_500), 2_501), Some(3));
        assert_eq!(days(250, Some(400), 1), Some(2));
        assert_eq!(days(0, Some(0), 1), None);
        assert_eq!(days(0, None, 0), Some(1));
    }
}
