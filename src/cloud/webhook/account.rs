//! Events of accounts, numbers and templates, as far as they say something that we act on or count.

use serde::Deserialize;
use serde_json::Value;

use super::raw::Word;
use super::status::{contact, milliseconds};
use super::{Contact, Skipped};
use crate::domain::ids::NumberId;
use crate::domain::person::Pii;
use crate::policy::facts::PeopleLimit;

/// Something of an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccountEvent {
    /// `account_update`: the account is forbidden something.
    Restricted(Vec<Restriction>),
    /// `account_update`: disabled for good.
    Disabled,
    /// `account_update`: will be disabled.
    DisableScheduled,
    /// `account_update`: may send again.
    Reinstated,
    /// `account_update`: deleted.
    Deleted,
    /// `account_update`: a violation of the policy, by its type.
    Violation(String),
    /// `account_update`: anything else, by its event.
    Update(String),
    /// `account_alerts`.
    Alert {
        /// CRITICAL, WARNING or INFORMATIONAL.
        severity: String,
        /// What it is about.
        kind: String,
    },
    /// `phone_number_quality_update`. It names the number by its phone only.
    NumberQuality {
        /// The phone as people read it.
        phone: Pii<String>,
        /// ONBOARDING, THROUGHPUT_UPGRADE, FLAGGED, …
        event: String,
    },
    /// `business_capability_update`: people a day of the portfolio; None: nothing is said of them.
    Capability {
        /// People a day.
        people_per_day: Option<PeopleLimit>,
    },
    /// `message_template_status_update`.
    Template {
        /// Its name.
        name: String,
        /// Its language.
        language: String,
        /// What happened.
        event: TemplateEvent,
    },
    /// `message_template_quality_update`.
    TemplateQuality {
        /// Its name.
        name: String,
        /// GREEN, YELLOW, RED, UNKNOWN.
        quality: String,
    },
    /// `template_category_update`: it costs and is limited otherwise from now on.
    TemplateCategory {
        /// Its name.
        name: String,
        /// The category that it will have, or has.
        category: String,
    },
    /// A field that nothing here reads, by its name: an app may be subscribed to more than we need.
    Other(String),
}

/// `user_preferences`: what a person decided about an account's messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Preference {
    /// The account as the body names it.
    pub account: String,
    /// The number, if it is named.
    pub number: Option<NumberId>,
    /// Who.
    pub from: Contact,
    /// About what: marketing_messages.
    pub category: String,
    /// stop, resume, signup.
    pub value: String,
    /// When, in wall milliseconds by Meta's clock.
    pub at_ms: Option<u64>,
}

/// What an account is forbidden.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Restriction {
    /// To write first.
    BusinessInitiated,
    /// To answer.
    CustomerInitiated,
    /// To use utility templates.
    UtilityTemplates,
    /// Anything else, by its name.
    Other(String),
}

/// What happened to a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TemplateEvent {
    /// It may be sent.
    Approved,
    /// It may not be sent.
    Rejected,
    /// Too many people disliked it: not for some hours.
    Paused,
    /// Not any more.
    Disabled,
    /// Deleted, or about to be.
    Deleted,
    /// Anything else, by its name.
    Other(String),
}

impl AccountEvent {
    /// The word in metrics.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Restricted(_) => "account_restricted",
            Self::Disabled => "account_disabled",
            Self::DisableScheduled => "account_disable_scheduled",
            Self::Reinstated => "account_reinstated",
            Self::Deleted => "account_deleted",
            Self::Violation(_) => "account_violation",
            Self::Update(_) => "account_update",
            Self::Alert { .. } => "account_alert",
            Self::NumberQuality { .. } => "number_quality",
            Self::Capability { .. } => "capability",
            Self::Template { .. } => "template",
            Self::TemplateQuality { .. } => "template_quality",
            Self::TemplateCategory { .. } => "template_category",
            Self::Other(_) => "other_field",
        }
    }
}

#[derive(Deserialize)]
struct RawUpdate<'a> {
    #[serde(borrow, default)]
    event: Word<'a>,
    #[serde(default)]
    restriction_info: Value,
    #[serde(default)]
    violation_info: Value,
    #[serde(default)]
    ban_info: Value,
}

#[derive(Deserialize)]
struct RawTemplate<'a> {
    #[serde(borrow, default)]
    event: Word<'a>,
    #[serde(borrow, default)]
    message_template_name: Word<'a>,
    #[serde(borrow, default)]
    message_template_language: Word<'a>,
    #[serde(borrow, default)]
    new_quality_score: Word<'a>,
    #[serde(borrow, default)]
    new_category: Word<'a>,
}

#[derive(Deserialize)]
struct RawOther<'a> {
    #[serde(borrow, default)]
    event: Word<'a>,
    #[serde(borrow, default)]
    alert_severity: Word<'a>,
    #[serde(borrow, default)]
    alert_type: Word<'a>,
    #[serde(borrow, default)]
    display_phone_number: Word<'a>,
    #[serde(borrow, default)]
    max_daily_conversations_per_business: Word<'a>,
}

#[derive(Deserialize)]
struct RawPreference<'a> {
    #[serde(borrow, default)]
    wa_id: Word<'a>,
    #[serde(borrow, default)]
    user_id: Word<'a>,
    #[serde(borrow, default)]
    category: Word<'a>,
    #[serde(borrow, default)]
    value: Word<'a>,
    #[serde(borrow, default)]
    timestamp: Word<'a>,
}

/// Reads the value of a change by its field.
pub(super) fn read(field: &str, text: &str) -> Result<AccountEvent, Skipped> {
    let malformed = |_| Skipped::Account;
    match field {
        "account_update" => update(&serde_json::from_str(text).map_err(malformed)?),
        "account_alerts" | "phone_number_quality_update" | "business_capability_update" => {
            Ok(other(field, serde_json::from_str(text).map_err(malformed)?))
        }
        "message_template_status_update" | "message_template_quality_update" | "template_category_update" => {
            template(field, serde_json::from_str(text).map_err(malformed)?)
        }
        other => Ok(AccountEvent::Other(other.to_owned())),
    }
}

fn update(raw: &RawUpdate<'_>) -> Result<AccountEvent, Skipped> {
    let event = raw.event.0.as_deref().ok_or(Skipped::Account)?;
    let word = |of: &Value, key: &str| of[key].as_str().unwrap_or_default().to_owned();
    Ok(match event {
        "ACCOUNT_RESTRICTION" => {
            let listed = raw.restriction_info.as_array().map(Vec::as_slice).unwrap_or_default();
            AccountEvent::Restricted(
                listed.iter().map(|one| restriction(&word(one, "restriction_type"))).collect(),
            )
        }
        "ACCOUNT_VIOLATION" => AccountEvent::Violation(word(&raw.violation_info, "violation_type")),
        "ACCOUNT_DELETED" => AccountEvent::Deleted,
        "DISABLED_UPDATE" => match raw.ban_info["waba_ban_state"].as_str() {
            Some("DISABLE") => AccountEvent::Disabled,
            Some("SCHEDULE_FOR_DISABLE") => AccountEvent::DisableScheduled,
            Some("REINSTATE") => AccountEvent::Reinstated,
            _ => return Err(Skipped::Account),
        },
        other => AccountEvent::Update(other.to_owned()),
    })
}

fn restriction(name: &str) -> Restriction {
    match name {
        "RESTRICTED_BIZ_INITIATED_MESSAGING" => Restriction::BusinessInitiated,
        "RESTRICTED_CUSTOMER_INITIATED_MESSAGING" => Restriction::CustomerInitiated,
        "RESTRICTED_UTILITY_TEMPLATES" => Restriction::UtilityTemplates,
        other => Restriction::Other(other.to_owned()),
    }
}

fn other(field: &str, raw: RawOther<'_>) -> AccountEvent {
    let text = |word: Word<'_>| word.owned().unwrap_or_default();
    match field {
        "account_alerts" => {
            AccountEvent::Alert { severity: text(raw.alert_severity), kind: text(raw.alert_type) }
        }
        "phone_number_quality_update" => AccountEvent::NumberQuality {
            phone: Pii::new(text(raw.display_phone_number)),
            event: text(raw.event),
        },
        _ => {
            let word = raw.max_daily_conversations_per_business.owned();
            AccountEvent::Capability { people_per_day: word.and_then(|word| PeopleLimit::parse(&word)) }
        }
    }
}

fn template(field: &str, raw: RawTemplate<'_>) -> Result<AccountEvent, Skipped> {
    let name = raw.message_template_name.owned().filter(|name| !name.is_empty()).ok_or(Skipped::Account)?;
    Ok(match field {
        "message_template_status_update" => AccountEvent::Template {
            name,
            language: raw.message_template_language.owned().unwrap_or_default(),
            event: match raw.event.0.as_deref().ok_or(Skipped::Account)? {
                "APPROVED" | "REINSTATED" | "UNARCHIVED" => TemplateEvent::Approved,
                "REJECTED" => TemplateEvent::Rejected,
                "PAUSED" => TemplateEvent::Paused,
                "DISABLED" => TemplateEvent::Disabled,
                "DELETED" | "PENDING_DELETION" | "ARCHIVED" => TemplateEvent::Deleted,
                other => TemplateEvent::Other(other.to_owned()),
            },
        },
        "message_template_quality_update" => {
            AccountEvent::TemplateQuality { name, quality: raw.new_quality_score.owned().unwrap_or_default() }
        }
        _ => AccountEvent::TemplateCategory { name, category: raw.new_category.owned().unwrap_or_default() },
    })
}

/// Reads what one person decided.
pub(super) fn preference(
    text: &str,
    account: &str,
    number: Option<&NumberId>,
) -> Result<Preference, Skipped> {
    let raw: RawPreference<'_> = serde_json::from_str(text).map_err(|_| Skipped::Account)?;
    Ok(Preference {
        account: account.to_owned(),
        number: number.cloned(),
        from: contact(raw.wa_id, raw.user_id),
        category: raw.category.owned().unwrap_or_default(),
        at_ms: milliseconds(&raw.timestamp),
        value: raw.value.owned().filter(|value| !value.is_empty()).ok_or(Skipped::Account)?,
    })
}
