//! What an operator set on a campaign after it was created: some keys of its file, said anew.
//!
//! Each is read by the code that reads the file, so that a value means the same in both places.

use std::collections::BTreeMap;

use serde::Deserialize;
use toml::{Spanned, Value};

use super::raw::{RawCampaign, Words};
use super::{CampaignFileError, Fault, Problem, did_you_mean, validate};
use crate::domain::campaign::Campaign;

/// Keys that can be set, with their values as they were typed.
pub type Settings = BTreeMap<String, String>;

/// The keys that can be set on a campaign.
pub const KEYS: [&str; 8] =
    ["cap", "hours", "numbers", "pace_share", "priority", "stop_if", "validity", "weight"];

/// Longest value.
const VALUE_MAX_BYTES: usize = 64 * 1024;

/// The keys as TOML: the types of the campaign file.
#[derive(Debug, Deserialize)]
struct RawSettings {
    cap: Option<Words>,
    hours: Option<Words>,
    numbers: Option<Spanned<Vec<Words>>>,
    pace_share: Option<Words>,
    priority: Option<Words>,
    stop_if: Option<Spanned<Value>>,
    validity: Option<Words>,
    weight: Option<Spanned<i64>>,
}

/// Validates the text of a campaign file with what was set since; `file_name` only appears in errors.
pub fn parse_set(text: &str, settings: &Settings, file_name: &str) -> Result<Campaign, CampaignFileError> {
    // The file must be good by itself: a setting that is taken away again must not leave a broken campaign.
    if !settings.is_empty() {
        validate(text, &Settings::new(), file_name)?;
    }
    validate(text, settings, file_name)
}

/// One `KEY=VALUE` of the command line, as it is to be stored; None: back to what the file says.
pub fn setting(words: &str) -> Result<(String, Option<String>), CampaignFileError> {
    let problem = |field: &str, message: String, hint: Option<String>| {
        CampaignFileError::Invalid(Box::new(Problem {
            file: "campaign set".to_owned(),
            line: None,
            field: field.to_owned(),
            message,
            hint,
        }))
    };
    let Some((key, value)) = words.split_once('=') else {
        return Err(problem(
            "",
            "KEY=VALUE has no `=`".to_owned(),
            Some("write it like priority=high".to_owned()),
        ));
    };
    let (key, value) = (key.trim(), value.trim());
    let key = if key == "pool" { "numbers" } else { key };
    if !KEYS.contains(&key) {
        let message = format!("is none of {}", KEYS.join(", "));
        return Err(problem(key, message, did_you_mean(key, KEYS)));
    }
    if value.is_empty() || value.len() > VALUE_MAX_BYTES {
        let hint = Some(format!("write {key}=default for what the campaign file says"));
        return Err(problem(key, "has no value".to_owned(), hint));
    }
    Ok((key.to_owned(), (value != "default").then(|| value.to_owned())))
}

/// Puts one setting where the file's own value was.
pub(super) fn apply(raw: &mut RawCampaign, key: &str, value: &str) -> Result<(), Fault> {
    let fault = |message: &str| Fault::new(None, key, message);
    let all_numbers = key == "numbers" && value == "all";
    if all_numbers {
        raw.numbers = None;
        return Ok(());
    }
    let read = as_toml(key, value).ok_or_else(|| fault("is of another type than in a campaign file"))?;
    match key {
        "cap" => raw.cap = read.cap,
        "hours" => raw.hours = read.hours,
        "numbers" => raw.numbers = read.numbers,
        "pace_share" => raw.pace_share = read.pace_share,
        "priority" => raw.priority = read.priority,
        "stop_if" => raw.stop_if = read.stop_if,
        "validity" => raw.validity = read.validity,
        "weight" => raw.weight = read.weight,
        _ => return Err(fault("is no key that can be set")),
    }
    Ok(())
}

/// A value as it stands in a campaign file, or as people type it: without quotes and brackets.
fn as_toml(key: &str, value: &str) -> Option<RawSettings> {
    let read = |value: &str| toml::from_str::<RawSettings>(&format!("{key} = {value}\n")).ok();
    let quoted = |text: &str| Value::String(text.trim().to_owned()).to_string();
    let typed = match key {
        "numbers" => format!("[{}]", value.split(',').map(quoted).collect::<Vec<_>>().join(", ")),
        "weight" => value.to_owned(),
        "stop_if" if value == "off" => "false".to_owned(),
        "stop_if" => match value.split_once(',') {
            Some((after, failed)) => format!("{{ after = {}, failed = {} }}", after.trim(), quoted(failed)),
            None => format!("{{ failed = {} }}", quoted(value)),
        },
        _ => quoted(value),
    };
    let plain = !value.contains('\n');
    plain.then(|| read(value).or_else(|| read(&typed))).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::campaign::{Priority, StopIf};
    use crate::domain::contact::CapChoice;
    use crate::domain::ids::NumberId;

    const FILE: &str = include_str!("../../../config/campaigns/vence-hoje.toml");

    fn set(pairs: &[&str]) -> Result<Campaign, CampaignFileError> {
        let mut settings = Settings::new();
        for pair in pairs {
            match setting(pair)? {
                (key, Some(value)) => settings.insert(key, value),
                (key, None) => settings.remove(&key),
            };
        }
        parse_set(FILE, &settings, "vence-hoje.toml")
    }

    #[test]
    fn what_is_set_stands_before_what_the_file_says() {
        let campaign = set(&[
            "priority=urgent",
            "validity=2h",
            "pool=101, 102",
            "hours=mon-fri 09:00-18:00",
            "pace_share=50%",
            "stop_if=100,2.5%",
            "cap=suppress",
        ])
        .unwrap();
        assert_eq!(campaign.priority, Priority::Urgent);
        assert_eq!(campaign.validity.as_secs(), 7200);
        assert_eq!(campaign.cap, CapChoice::Suppress);
        assert_eq!(campaign.numbers, [NumberId::from("101"), NumberId::from("102")]);
        assert_eq!(campaign.hours.unwrap().to_string(), "mon-fri 09:00-18:00");
        assert_eq!(campaign.pace_share_per_mille, Some(500));
        assert_eq!(campaign.stop_if, Some(StopIf { after: 100, failed_per_mille: 25 }));
        assert_eq!(set(&["stop_if=off"]).unwrap().stop_if, None);
        assert_eq!(set(&["stop_if={ after = 9, failed = \"1%\" }"]).unwrap().stop_if.unwrap().after, 9);
        assert_eq!(set(&["numbers=[\"7\"]"]).unwrap().numbers, [NumberId::from("7")]);
        assert!(set(&["numbers=all"]).unwrap().numbers.is_empty());
        let file = parse_set(FILE, &Settings::new(), "f").unwrap();
        assert_eq!(set(&["priority=urgent", "priority=default"]).unwrap(), file);
        assert_eq!(file.stop_if, Some(StopIf::default()));
    }

    fn check(pair: &str, expect: &str) {
        let error = set(&[pair]).unwrap_err().to_string();
        assert!(error.starts_with("campaign set: ") && error.contains(expect), "{pair}: {error}");
    }

    #[test]
    fn what_cannot_be_set_is_named() {
        check("priority", "has no `=`");
        check("prioritty=high", "did you mean `priority`?");
        check("priority=hihg", "is none of urgent");
        check("priority=", "priority=default");
        check("cap=ignore", "is none of defer, suppress");
        check("validity=1y", "no duration");
        check("numbers=x", "no id of Meta's");
        check("hours=always", "no list of hours");
        check("pace_share=0%", "no share");
        check("stop_if=5", "stop_if");
        check("priority=high\nid = 3", "is of another type");
    }
}
