//! The campaign file as TOML has it: names, types and places, nothing validated.
//!
//! Refuses unknown keys and wrong types. Values keep their place in the text so that later refusals name a line.

use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use toml::Spanned;

use super::{Fault, did_you_mean};

pub(super) type Words = Spanned<String>;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawCampaign {
    pub(super) id: Words,
    pub(super) account: Words,
    pub(super) numbers: Option<Spanned<Vec<Words>>>,
    pub(super) priority: Option<Words>,
    pub(super) dedup: Option<Words>,
    pub(super) expected: Option<Spanned<i64>>,
    pub(super) validity: Option<Words>,
    pub(super) valid_until: Option<Words>,
    #[serde(default)]
    pub(super) calendar: RawCalendar,
    pub(super) stop_if: Option<Spanned<toml::Value>>,
    pub(super) hours: Option<Words>,
    pub(super) pace_share: Option<Words>,
    pub(super) weight: Option<Spanned<i64>>,
    pub(super) cap: Option<Words>,
    pub(super) template: RawTemplate,
    pub(super) columns: RawColumns,
    #[serde(default)]
    pub(super) retry: RawRetry,
    #[serde(default)]
    pub(super) doubt: RawDoubt,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawTemplate {
    pub(super) name: Words,
    pub(super) language: Words,
    pub(super) category: Option<Words>,
    pub(super) header: Option<Spanned<RawHeader>>,
    pub(super) body: Words,
    #[serde(default)]
    pub(super) buttons: Vec<Spanned<RawButton>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawHeader {
    pub(super) text: Option<Words>,
    pub(super) document: Option<Words>,
    pub(super) document_file: Option<Words>,
    pub(super) filename: Option<Words>,
    pub(super) image: Option<Words>,
    pub(super) image_file: Option<Words>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawButton {
    pub(super) r#type: Words,
    pub(super) payload: Option<Words>,
    pub(super) suffix: Option<Words>,
    pub(super) code: Option<Words>,
    pub(super) pix: Option<Words>,
    pub(super) boleto: Option<Words>,
    pub(super) link: Option<Words>,
    pub(super) check: Option<Spanned<RawCheck>>,
}

/// Variables that a payment code must agree with.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawCheck {
    pub(super) value: Option<Words>,
    pub(super) due: Option<Words>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawColumns {
    pub(super) phone: Words,
    pub(super) r#ref: Option<Words>,
    pub(super) debtor: Option<Words>,
    #[serde(default)]
    pub(super) variables: std::collections::BTreeMap<Words, Spanned<RawVariable>>,
}

/// A column's name, or a table with it and its format.
#[derive(Debug)]
pub(super) struct RawVariable {
    pub(super) column: String,
    pub(super) format: Option<Words>,
    pub(super) input: Option<Words>,
    pub(super) length: Option<Spanned<i64>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawVariableTable {
    column: String,
    format: Option<Words>,
    input: Option<Words>,
    length: Option<Spanned<i64>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawCalendar {
    pub(super) hours: Option<Words>,
    pub(super) optional_days: Option<Words>,
    pub(super) closed: Option<Spanned<Vec<Words>>>,
    pub(super) municipality: Option<Spanned<i64>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawRetry {
    pub(super) max_attempts: Option<Spanned<i64>>,
    pub(super) base: Option<Words>,
    pub(super) max: Option<Words>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawDoubt {
    pub(super) policy: Option<Words>,
    pub(super) wait: Option<Words>,
}

impl<'de> Deserialize<'de> for RawVariable {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = RawVariable;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a column's name, or a table with its name and format")
            }

            fn visit_str<E: Error>(self, column: &str) -> Result<RawVariable, E> {
                Ok(RawVariable { column: column.to_owned(), format: None, input: None, length: None })
            }

            fn visit_map<M: MapAccess<'de>>(self, map: M) -> Result<RawVariable, M::Error> {
                let RawVariableTable { column, format, input, length } =
                    RawVariableTable::deserialize(MapAccessDeserializer::new(map))?;
                Ok(RawVariable { column, format, input, length })
            }
        }
        deserializer.deserialize_any(Either)
    }
}

pub(super) fn read(text: &str) -> Result<RawCampaign, Fault> {
    toml::from_str(text).map_err(|error| {
        let at = error.span().map(|span| span.start);
        // toml's own message is written for people and quotes only keys of the file.
        let message = error.message().trim().replace('\n', "; ");
        let mut quoted = message.split('`').skip(1).step_by(2);
        let hint = match (message.starts_with("unknown field"), quoted.next()) {
            (true, Some(key)) => did_you_mean(key, quoted),
            _ => None,
        };
        Fault::new(at, "", message.clone()).maybe_hint(hint)
    })
}
