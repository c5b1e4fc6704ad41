//! Statuses and inbound messages: one update at a time, with every field but the vital ones optional.

use serde::Deserialize;

use super::raw::Word;
use super::{Contact, Content, Inbound, Reference, Skipped, Status};
use crate::domain::ids::NumberId;
use crate::domain::person::Pii;
use crate::domain::receipt::ReceiptKind;

/// A timestamp from here on counts milliseconds: in seconds it would lie in the year 5138.
const MILLISECONDS_FROM: u64 = 100_000_000_000;

#[derive(Deserialize)]
struct RawStatus<'a> {
    #[serde(borrow, default)]
    id: Word<'a>,
    #[serde(borrow, default)]
    status: Word<'a>,
    #[serde(borrow, default)]
    timestamp: Word<'a>,
    #[serde(borrow, default)]
    recipient_id: Word<'a>,
    #[serde(borrow, default)]
    recipient_user_id: Word<'a>,
    #[serde(borrow, default)]
    biz_opaque_callback_data: Word<'a>,
    #[serde(default)]
    errors: Loose<Vec<RawError>>,
    #[serde(default)]
    pricing: Loose<RawPricing>,
}

#[derive(Deserialize)]
struct RawError {
    code: i64,
}

#[derive(Default, Deserialize)]
struct RawPricing {
    billable: Option<bool>,
    category: Option<String>,
}

#[derive(Deserialize)]
struct RawInbound<'a> {
    #[serde(borrow, default)]
    id: Word<'a>,
    #[serde(borrow, default)]
    from: Word<'a>,
    #[serde(borrow, default, alias = "user_id")]
    from_user_id: Word<'a>,
    #[serde(borrow, default)]
    timestamp: Word<'a>,
    #[serde(borrow, default, rename = "type")]
    kind: Word<'a>,
    #[serde(default)]
    context: Loose<RawContext>,
    #[serde(default)]
    text: Loose<RawText>,
    #[serde(default)]
    button: Loose<RawButton>,
    #[serde(default)]
    interactive: Loose<RawInteractive>,
    #[serde(default)]
    system: Loose<RawSystem>,
    #[serde(default, alias = "audio", alias = "document", alias = "sticker", alias = "video")]
    image: Loose<RawMedia>,
}

#[derive(Deserialize)]
struct RawContext {
    id: Option<String>,
}

#[derive(Deserialize)]
struct RawText {
    body: String,
}

#[derive(Deserialize)]
struct RawButton {
    payload: Option<String>,
    text: Option<String>,
}

#[derive(Deserialize)]
struct RawInteractive {
    #[serde(alias = "list_reply")]
    button_reply: Option<RawChoice>,
    nfm_reply: Option<RawFlow>,
}

#[derive(Deserialize)]
struct RawChoice {
    id: String,
    title: Option<String>,
}

#[derive(Deserialize)]
struct RawFlow {
    response_json: String,
}

#[derive(Deserialize)]
struct RawSystem {
    #[serde(rename = "type")]
    kind: Option<String>,
    #[serde(alias = "new_wa_id")]
    wa_id: Option<String>,
    user_id: Option<String>,
}

#[derive(Deserialize)]
struct RawMedia {
    id: Option<String>,
}

/// A part that is none when it has not the form that it should: the rest of the update is worth more.
#[derive(Debug)]
struct Loose<T>(Option<T>);

/// Reads a status of the number that its change names.
pub(super) fn status(text: &str, number: Option<&NumberId>) -> Result<Status, Skipped> {
    let raw: RawStatus<'_> = serde_json::from_str(text).map_err(|_| Skipped::Status)?;
    let kind = match raw.status.0.as_deref() {
        Some("sent") => ReceiptKind::Sent,
        Some("delivered") => ReceiptKind::Delivered,
        Some("read" | "played") => ReceiptKind::Read,
        Some("failed") => ReceiptKind::Failed,
        Some(_) => return Err(Skipped::StatusWord),
        None => return Err(Skipped::Status),
    };
    let wamid = raw.id.owned().filter(|id| !id.is_empty()).ok_or(Skipped::Status)?;
    let reference = match raw.biz_opaque_callback_data.0.as_deref() {
        None | Some("") => Reference::None,
        Some(text) => text.parse().map_or(Reference::Foreign, Reference::Wire),
    };
    let pricing = raw.pricing.0.unwrap_or_default();
    Ok(Status {
        wamid,
        kind,
        at_ms: milliseconds(&raw.timestamp),
        number: number.cloned(),
        to: contact(raw.recipient_id, raw.recipient_user_id),
        reference,
        code: raw.errors.0.and_then(|errors| errors.first().map(|error| error.code)),
        category: pricing.category,
        billable: pricing.billable,
    })
}

/// Reads an inbound message.
pub(super) fn inbound(text: &str, account: &str, number: Option<&NumberId>) -> Result<Inbound, Skipped> {
    let raw: RawInbound<'_> = serde_json::from_str(text).map_err(|_| Skipped::Message)?;
    let kind = raw.kind.0.as_deref().unwrap_or("unknown");
    let content = match kind {
        "text" => raw.text.0.map(|text| Content::Text(Pii::new(text.body))),
        "button" => raw.button.0.map(|button| Content::Button {
            payload: button.payload.map(Pii::new),
            text: button.text.map(Pii::new),
        }),
        "interactive" => raw.interactive.0.and_then(interactive),
        "system" => raw.system.0.map(system),
        "audio" | "document" | "image" | "sticker" | "video" => {
            raw.image.0.map(|media| Content::Media { kind: kind.to_owned(), id: media.id })
        }
        _ => None,
    };
    let content = content.unwrap_or_else(|| Content::Other(kind.to_owned()));
    Ok(Inbound {
        wamid: raw.id.owned().filter(|id| !id.is_empty()).ok_or(Skipped::Message)?,
        at_ms: milliseconds(&raw.timestamp),
        account: account.to_owned(),
        number: number.cloned(),
        from: contact(raw.from, raw.from_user_id),
        answers: raw.context.0.and_then(|context| context.id),
        content,
    })
}

/// The code of an error that stands alone.
pub(super) fn code(text: &str) -> Option<i64> {
    serde_json::from_str::<RawError>(text).ok().map(|error| error.code)
}

fn system(raw: RawSystem) -> Content {
    let filled = |text: Option<String>| text.filter(|text| !text.is_empty()).map(Pii::new);
    let now = Contact { phone: filled(raw.wa_id), user_id: filled(raw.user_id) };
    Content::System { kind: raw.kind.unwrap_or_default(), now }
}

fn interactive(raw: RawInteractive) -> Option<Content> {
    let choice = raw
        .button_reply
        .map(|choice| Content::Choice { id: Pii::new(choice.id), title: choice.title.map(Pii::new) });
    choice.or_else(|| raw.nfm_reply.map(|flow| Content::Flow(Pii::new(flow.response_json))))
}

/// A person by whatever names them.
pub(super) fn contact(phone: Word<'_>, user_id: Word<'_>) -> Contact {
    let filled = |word: Word<'_>| word.owned().filter(|text| !text.is_empty()).map(Pii::new);
    Contact { phone: filled(phone), user_id: filled(user_id) }
}

/// A timestamp in seconds or milliseconds, as a text or a number.
pub(super) fn milliseconds(word: &Word<'_>) -> Option<u64> {
    let number: u64 = word.number()?;
    Some(if number < MILLISECONDS_FROM { number * 1_000 } else { number })
}

impl<T> Default for Loose<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Loose<T> {
    fn deserialize<D: serde::de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <&'de serde_json::value::RawValue>::deserialize(deserializer)?;
        Ok(Self(serde_json::from_str(raw.get()).ok()))
    }
}
