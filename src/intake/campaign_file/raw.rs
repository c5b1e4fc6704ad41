//! The campaign file as TOML has it: names, types and places, nothing validated.
//!
//! Refuses unknown keys and wrong types. Values keep their place in the text so that later refusals name a line.

use serde::Deserialize;
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
    pub(super) template: RawTemplate,
    pub(super) columns: RawColumns,
    #[serde(default)]
    pub(super) retry: RawRetry,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawTemplate {
    pub(super) name: Words,
    pub(super) language: Words,
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
    pub(super) filename: Option<Words>,
    pub(super) image: Option<Words>,
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
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawColumns {
    pub(super) phone: Words,
    pub(super) r#ref: Option<Words>,
    pub(super) debtor: Option<Words>,
    #[serde(default)]
    pub(super) variables: std::collections::BTreeMap<Words, Words>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawRetry {
    pub(super) max_attempts: Option<Spanned<i64>>,
    pub(super) base: Option<Words>,
    pub(super) max: Option<Words>,
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
