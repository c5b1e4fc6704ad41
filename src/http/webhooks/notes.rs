//! What webhooks say beside receipts, as the journal keeps it: that a person wrote and how, never what; and what happened
//! to accounts, numbers and templates. Pure.

use crate::cloud::webhook::{AccountEvent, Inbound, Preference, TemplateEvent};
use crate::domain::ids::NumberId;
use crate::policy::facts::PeopleLimit;

/// Something that was heard.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Noted {
    /// When it happened, in wall ms by Meta's clock; None: it did not say.
    pub at_ms: Option<u64>,
    /// When it was heard, in wall ms by ours.
    pub heard_at_ms: u64,
    /// The word in metrics: message, preference, account_restricted, ...
    pub kind: &'static str,
    /// The account.
    pub account: String,
    /// The number or the template that it concerns, if it names one.
    pub subject: String,
    /// What it says of it, in Meta's words.
    pub detail: String,
    /// Meta's id of a message.
    pub wamid: String,
}

/// What a person told us: whoever acts on it gets it before Meta is told that we have it, and perhaps twice.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Said {
    /// In a message.
    Message(Box<Inbound>),
    /// In WhatsApp's own settings.
    Preference(Box<Preference>),
}

impl Said {
    /// The account that it was said to.
    pub(super) fn account(&self) -> &str {
        match self {
            Self::Message(message) => &message.account,
            Self::Preference(preference) => &preference.account,
        }
    }

    /// What the journal keeps of it.
    pub(super) fn note(&self, heard_at_ms: u64) -> Noted {
        let account = self.account().to_owned();
        match self {
            Self::Message(message) => Noted {
                at_ms: message.at_ms,
                kind: "message",
                subject: number(message.number.as_ref()),
                detail: match &message.answers {
                    Some(wamid) => format!("{} in answer to {wamid}", message.content.kind()),
                    None => message.content.kind().to_owned(),
                },
                wamid: message.wamid.clone(),
                heard_at_ms,
                account,
            },
            Self::Preference(preference) => Noted {
                at_ms: preference.at_ms,
                kind: "preference",
                subject: number(preference.number.as_ref()),
                detail: format!("{} {}", preference.category, preference.value),
                wamid: String::new(),
                heard_at_ms,
                account,
            },
        }
    }
}

/// What the journal keeps of an event of an account.
pub(super) fn of_account(account: &str, event: &AccountEvent, at_ms: Option<u64>, heard_at_ms: u64) -> Noted {
    let (subject, detail) = said(event);
    let (account, kind) = (account.to_owned(), event.kind());
    Noted { at_ms, heard_at_ms, kind, account, subject, detail, wamid: String::new() }
}

/// What the journal keeps of an error that concerns no single message.
pub(super) fn of_error(
    (account, of): (&str, Option<&NumberId>),
    code: i64,
    at_ms: Option<u64>,
    heard_at_ms: u64,
) -> Noted {
    let (subject, detail) = (number(of), format!("code {code}"));
    let account = account.to_owned();
    Noted { at_ms, heard_at_ms, kind: "error", account, subject, detail, wamid: String::new() }
}

/// What an event is about, and what it says.
fn said(event: &AccountEvent) -> (String, String) {
    let nobody = String::new;
    match event {
        AccountEvent::Restricted(all) => {
            (nobody(), all.iter().map(|one| format!("{one:?}")).collect::<Vec<_>>().join(", "))
        }
        AccountEvent::Disabled
        | AccountEvent::DisableScheduled
        | AccountEvent::Reinstated
        | AccountEvent::Deleted => (nobody(), nobody()),
        AccountEvent::Violation(what) | AccountEvent::Update(what) | AccountEvent::Other(what) => {
            (nobody(), what.clone())
        }
        AccountEvent::Alert { severity, kind } => (nobody(), format!("{severity} {kind}")),
        AccountEvent::NumberQuality { phone, event } => (last_digits(phone.expose()), event.clone()),
        AccountEvent::Capability { people_per_day } => {
            let people = match people_per_day {
                None => nobody(),
                Some(PeopleLimit::Unlimited) => "any number of people".to_owned(),
                Some(PeopleLimit::AtMost(people)) => format!("{people} people a day"),
            };
            (nobody(), people)
        }
        AccountEvent::Template { name, language, event } => {
            let event = match event {
                TemplateEvent::Other(word) => word.clone(),
                known => format!("{known:?}"),
            };
            (name.clone(), format!("{event} in {language}"))
        }
        AccountEvent::TemplateQuality { name, quality } => (name.clone(), quality.clone()),
        AccountEvent::TemplateCategory { name, category } => (name.clone(), category.clone()),
    }
}

/// Enough to know which of our own numbers it is.
fn last_digits(phone: &str) -> String {
    let digits: Vec<char> = phone.chars().filter(char::is_ascii_digit).collect();
    let last: String = digits[digits.len().saturating_sub(4)..].iter().collect();
    format!("the number that ends with {last}")
}

fn number(number: Option<&NumberId>) -> String {
    number.map(ToString::to_string).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cloud::webhook::{Event, Parsed, Restriction};
    use serde_json::{Value, json};

    fn notes(field: &str, value: &Value) -> Vec<String> {
        let body = json!({"entry": [{"id": "100", "changes": [{"field": field, "value": value}]}]});
        let note = |event| match event {
            Event::Message(message) => Said::Message(message).note(7),
            Event::Preference(preference) => Said::Preference(preference).note(7),
            Event::Account { account, at_ms, event } => of_account(&account, &event, at_ms, 7),
            Event::Error { account, at_ms, number, code } => {
                of_error((&account, number.as_ref()), code, at_ms, 7)
            }
            Event::Status(status) => panic!("{status:?}"),
        };
        let parsed = Parsed::read(body.to_string().as_bytes());
        parsed
            .events
            .into_iter()
            .map(note)
            .map(|note| {
                assert_eq!((note.account.as_str(), note.heard_at_ms), ("100", 7));
                format!("{}|{}|{}|{}", note.kind, note.subject, note.detail, note.wamid)
            })
            .collect()
    }

    #[test]
    fn that_somebody_wrote_is_kept_and_never_what_or_who() {
        let message = |id: &str, more: Value| {
            let mut all = json!({"id": id, "from": "5511987654321"});
            all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            all
        };
        let value = json!({"metadata": {"phone_number_id": "201"}, "errors": [{"code": 131_052}], "messages": [
            message("w1", json!({"type": "text", "text": {"body": "SAIR, sou Ana"}, "context": {"id": "w0"}})),
            message("w2", json!({"type": "button", "button": {"payload": "SAIR", "text": "Sair"}})),
            message("w3", json!({"type": "image", "image": {"id": "m"}})),
        ]});
        let expect = [
            "message|201|text in answer to w0|w1",
            "message|201|button|w2",
            "message|201|image|w3",
            "error|201|code 131052|",
        ];
        assert_eq!(notes("messages", &value), expect);
        let stop = json!({"user_preferences": [{"wa_id": "551198", "category": "marketing_messages", "value": "stop"}]});
        assert_eq!(notes("user_preferences", &stop), ["preference||marketing_messages stop|"]);
    }

    #[test]
    fn events_are_kept_with_what_they_concern() {
        let template =
            json!({"event": "FLAGGED", "message_template_name": "n", "message_template_language": "pt_BR"});
        assert_eq!(notes("message_template_status_update", &template), ["template|n|FLAGGED in pt_BR|"]);
        let number = json!({"display_phone_number": "+55 11 4000-1234", "event": "THROUGHPUT_UPGRADE"});
        let expect = ["number_quality|the number that ends with 1234|THROUGHPUT_UPGRADE|"];
        assert_eq!(notes("phone_number_quality_update", &number), expect);
        assert_eq!(notes("calls", &json!({"x": 1})), ["other_field||calls|"]);
        let both = AccountEvent::Restricted(vec![
            Restriction::BusinessInitiated,
            Restriction::Other("X".to_owned()),
        ]);
        assert_eq!(said(&both).1, "BusinessInitiated, Other(\"X\")");
    }
}
