//! What delivered messages cost: a table with a date and a source, `config/prices.toml` unless another is named.
//!
//! An estimate for a manager, never used to decide anything.

use std::path::Path;

use serde::Deserialize;

use super::super::super::exit::{CliError, Exit};

/// The table that is part of the program.
const BUILTIN: &str = include_str!("../../../../config/prices.toml");

/// Largest file that is read.
const FILE_MAX_BYTES: u64 = 64 * 1024;

/// Prices of one market.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prices {
    /// The country of the debtors.
    pub market: String,
    /// Currency of all of them.
    pub currency: String,
    /// As of when, `2026-08-10`.
    pub date: String,
    /// Where they come from.
    pub source: String,
    /// What else is to be known.
    pub note: Option<String>,
    prices: Vec<(String, u64)>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPrices {
    market: String,
    currency: String,
    date: String,
    source: String,
    note: Option<String>,
    price: Vec<RawPrice>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPrice {
    category: String,
    cents_per_1000: u64,
}

impl Prices {
    /// The table at `path`, or the one that is part of the program.
    pub fn read(path: Option<&Path>) -> Result<Self, CliError> {
        let Some(path) = path else {
            return Self::parse(BUILTIN).map_err(|what| CliError::new(Exit::Failed, "prices_invalid", what));
        };
        let wrong = |what: String| CliError::usage("prices_invalid", what).in_file(path.display());
        let size =
            std::fs::metadata(path).map_err(|error| wrong(format!("cannot read the prices: {error}")))?.len();
        if size > FILE_MAX_BYTES {
            return Err(wrong(format!("the prices are larger than {FILE_MAX_BYTES} bytes")));
        }
        let text = std::fs::read_to_string(path)
            .map_err(|error| wrong(format!("cannot read the prices: {error}")))?;
        Self::parse(&text).map_err(wrong)
    }

    fn parse(text: &str) -> Result<Self, String> {
        let raw: RawPrices = toml::from_str(text).map_err(|error| format!("prices: {}", error.message()))?;
        let prices = raw.price.into_iter().map(|price| (price.category, price.cents_per_1000)).collect();
        let RawPrices { market, currency, date, source, note, .. } = raw;
        let date: jiff::civil::Date =
            date.parse().map_err(|_| "prices: date is none; write it like 2026-08-10".to_owned())?;
        Ok(Self { market, currency, date: date.to_string(), source, note, prices })
    }

    /// What so many messages of a category cost, in cents; None: the table has no such category.
    pub fn cost_cents(&self, category: &str, messages: u64) -> Option<u64> {
        let (_, per_1000) = self.prices.iter().find(|(name, _)| name.eq_ignore_ascii_case(category))?;
        let cents = u128::from(*per_1000) * u128::from(messages);
        u64::try_from(cents.div_ceil(1000)).ok()
    }

    /// All categories of the table.
    pub fn categories(&self) -> impl Iterator<Item = &str> {
        self.prices.iter().map(|(category, _)| category.as_str())
    }
}

/// Cents as an amount: `1,234.56`.
pub fn amount(cents: u64) -> String {
    format!("{}.{:02}", super::super::super::output::count(cents / 100), cents % 100)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_a_date_a_source_and_every_category() {
        let prices = Prices::read(None).unwrap();
        assert!(prices.date.len() == 10 && !prices.source.is_empty());
        assert_eq!(prices.cost_cents("utility", 1_000), Some(680));
        assert_eq!(prices.cost_cents("MARKETING", 3), Some(19));
        assert_eq!(prices.cost_cents("SERVICE", 3), None);
        assert_eq!(amount(123_456_789), "1,234,567.89");
        assert!(Prices::parse("market = 1").is_err());
    }
}
