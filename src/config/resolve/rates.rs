//! Rates of numbers and of whole accounts. An account's is divided among its numbers here, so that nobody has to ask anybody
//! for a place in it: every process keeps its numbers' parts, and together they keep the whole.

use super::Resolver;
use crate::config::error::ConfigError;
use crate::config::raw::{Entry, Origin, RawItem, RawValue};
use crate::config::{AccountConfig, CloudConfig, NumberConfig, value};

/// What a number without a limit counts among others.
const UNLIMITED_PER_S: f64 = 1_000.0;

impl Resolver<'_> {
    pub(super) fn rate(
        &self,
        item: &RawItem,
        name: &str,
        cloud: &CloudConfig,
    ) -> Result<Option<f64>, ConfigError> {
        let key = format!("{name}.rate");
        let (text, origin) = match item.entries.get("rate") {
            None => ("80/s".to_owned(), Origin::Default),
            Some(Entry { value: RawValue::Text(text), origin }) => (text.clone(), origin.clone()),
            Some(Entry { value, origin }) => {
                let problem =
                    format!("is {}: write messages a second in quotes, \"80/s\"", value.type_name());
                return Err(ConfigError::value(&key, origin, problem));
            }
        };
        let rate = value::rate(&text).map_err(|problem| ConfigError::value(&key, &origin, problem))?;
        if rate.is_none() && !cloud.is_loopback() {
            let problem =
                "\"unlimited\" is for the simulator only: Meta blocks numbers that ignore its limits";
            return Err(ConfigError::value(&key, &origin, problem));
        }
        self.show(&key, &text, &origin);
        Ok(rate)
    }

    /// `[[account]] rate`
    pub(super) fn account_rate(&self, item: &RawItem, name: &str) -> Result<Option<f64>, ConfigError> {
        let key = format!("{name}.rate");
        match item.entries.get("rate") {
            None => {
                self.show(&key, "unlimited", &Origin::Default);
                Ok(None)
            }
            Some(Entry { value: RawValue::Text(text), origin }) => {
                let rate =
                    value::account_rate(text).map_err(|problem| ConfigError::value(&key, origin, problem))?;
                self.show(&key, text, origin);
                Ok(rate)
            }
            Some(Entry { value, origin }) => {
                let problem =
                    format!("is {}: write messages a second in quotes, \"200/s\"", value.type_name());
                Err(ConfigError::value(&key, origin, problem))
            }
        }
    }
}

/// Gives each number its part of its account's rate, by the rates of the numbers. Parts are whole messages a second, since
/// a second holds no part of a message; where some number's part is less than one they are kept on average only.
pub(super) fn divide(accounts: &[AccountConfig], numbers: &mut [NumberConfig]) {
    for account in accounts {
        let Some(rate) = account.rate_per_s else { continue };
        let mut ours: Vec<&mut NumberConfig> =
            numbers.iter_mut().filter(|number| number.account == account.id).collect();
        // The same in every process, in whatever order its file has them.
        ours.sort_by(|one, other| one.id.cmp(&other.id));
        let weight = |number: &NumberConfig| number.rate_per_s.unwrap_or(UNLIMITED_PER_S);
        let sum: f64 = ours.iter().map(|number| weight(number)).sum();
        if sum <= rate && ours.iter().all(|number| number.rate_per_s.is_some()) {
            continue;
        }
        let (mut before, mut wholes) = (0.0, Vec::with_capacity(ours.len()));
        for number in &ours {
            let after = before + weight(number);
            wholes.push((rate * after / sum).floor() - (rate * before / sum).floor());
            before = after;
        }
        let whole = wholes.iter().all(|whole| *whole >= 1.0);
        for (number, part) in ours.into_iter().zip(wholes) {
            let part = if whole { part } else { rate * weight(number) / sum };
            number.rate_per_s = Some(number.rate_per_s.map_or(part, |own| own.min(part)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Secret;
    use crate::domain::calendar::OwnHours;
    use crate::domain::ids::NumberId;

    fn check(rate_per_s: Option<f64>, rates: &[Option<f64>], expect: &[Option<f64>]) {
        let account = AccountConfig {
            id: "1".to_owned(),
            portfolio: None,
            rate_per_s,
            token: Secret("t".into()),
            app_secret: None,
            calendar: OwnHours::default(),
        };
        let number = |(at, rate): (usize, &Option<f64>)| NumberConfig {
            id: NumberId::from(format!("{at}").as_str()),
            account: "1".to_owned(),
            rate_per_s: *rate,
        };
        let mut numbers: Vec<NumberConfig> = rates.iter().enumerate().map(number).collect();
        let other = NumberConfig { account: "2".to_owned(), ..numbers[0].clone() };
        numbers.push(other.clone());
        divide(&[account], &mut numbers);
        let got: Vec<Option<f64>> = numbers.iter().map(|number| number.rate_per_s).collect();
        assert_eq!(got[..rates.len()], *expect, "{rate_per_s:?} over {rates:?}");
        assert_eq!(got[rates.len()], other.rate_per_s, "another account's number");
    }

    #[test]
    fn an_accounts_rate_is_divided_by_the_rates_of_its_numbers() {
        check(None, &[Some(80.0), None], &[Some(80.0), None]);
        check(Some(200.0), &[Some(80.0), Some(80.0)], &[Some(80.0), Some(80.0)]);
        check(Some(100.0), &[Some(80.0), Some(80.0)], &[Some(50.0), Some(50.0)]);
        check(Some(100.0), &[Some(80.0); 3], &[Some(33.0), Some(33.0), Some(34.0)]);
        check(Some(300.0), &[Some(1_000.0), Some(20.0), Some(80.0)], &[Some(272.0), Some(6.0), Some(22.0)]);
        check(Some(1_000.0), &[None, None], &[Some(500.0), Some(500.0)]);
        check(Some(0.5), &[Some(80.0)], &[Some(0.5)]);
        check(Some(1.0), &[Some(80.0), Some(80.0)], &[Some(0.5), Some(0.5)]);
    }
}
