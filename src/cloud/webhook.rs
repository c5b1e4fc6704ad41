//! Webhooks of the Cloud API: from the bytes of a body to typed events.
//!
//! Tolerant on purpose: every update is read by itself, and one that is malformed, of an unknown kind or beyond the
//! bound is counted by kind and fails none of its neighbours. Nothing here checks the signature (`http::webhooks` does,
//! before) or decides what an event means. Phones, names and texts of people are wrapped, so that no log shows them.

mod account;
mod raw;
mod status;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use crate::domain::ids::{NumberId, WireId};
use crate::domain::person::Pii;
use crate::domain::receipt::ReceiptKind;

pub use account::{AccountEvent, Preference, Restriction, TemplateEvent};

/// Bytes of a body at most (Meta's own bound).
pub const BODY_MAX_BYTES: usize = 3 << 20;

/// Updates of a body that are read at most: Meta promises no more than 1,000, so this leaves room for a changed mind.
pub const UPDATES_MAX: usize = 20_000;

/// Everything that a body says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Parsed {
    /// In the order of the body.
    pub events: Vec<Event>,
    /// Updates that could not be read, by kind; see [`Skipped`].
    pub skipped: BTreeMap<Skipped, u64>,
}

/// Why an update was not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Skipped {
    /// The whole body is no JSON object with entries.
    Body,
    /// An entry or a change of it has not the form that it should.
    Envelope,
    /// A status.
    Status,
    /// A status whose word nobody knows.
    StatusWord,
    /// An inbound message.
    Message,
    /// An event of an account.
    Account,
    /// Beyond [`UPDATES_MAX`].
    TooMany,
}

/// One update.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// What became of a message.
    Status(Status),
    /// A message of a person to us.
    Message(Box<Inbound>),
    /// What a person decided in WhatsApp's own settings.
    Preference(Box<Preference>),
    /// Something of an account, a number or a template.
    Account {
        /// The account as the body names it.
        account: String,
        /// When the body was made, in wall milliseconds by Meta's clock.
        at_ms: Option<u64>,
        /// What happened.
        event: Box<AccountEvent>,
    },
    /// An error that concerns no single message.
    Error {
        /// The account as the body names it.
        account: String,
        /// When the body was made, in wall milliseconds by Meta's clock.
        at_ms: Option<u64>,
        /// The number, if it is named.
        number: Option<NumberId>,
        /// Meta's code.
        code: i64,
    },
}

/// A status of a message.
#[derive(Clone, Debug, PartialEq)]
pub struct Status {
    /// Meta's id of the message.
    pub wamid: String,
    /// What happened.
    pub kind: ReceiptKind,
    /// When, in wall milliseconds by Meta's clock; None: it did not say.
    pub at_ms: Option<u64>,
    /// The number that sent it, if it is named.
    pub number: Option<NumberId>,
    /// Whom it went to.
    pub to: Contact,
    /// Whose message it was.
    pub reference: Reference,
    /// Meta's code of the first error, for a failed one.
    pub code: Option<i64>,
    /// Category by which it is charged.
    pub category: Option<String>,
    /// Whether it is charged.
    pub billable: Option<bool>,
}

/// Whose message a status speaks of, from `biz_opaque_callback_data`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reference {
    /// One with an id of this product.
    Wire(WireId),
    /// One that somebody else sent.
    Foreign,
    /// One without an id.
    None,
}

/// A person as Meta names them: by phone, by an id within the business, or both.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contact {
    /// `wa_id`, absent for who hides it.
    pub phone: Option<Pii<String>>,
    /// Business-scoped user id.
    pub user_id: Option<Pii<String>>,
}

/// A message of a person.
#[derive(Clone, Debug, PartialEq)]
pub struct Inbound {
    /// Meta's id of it.
    pub wamid: String,
    /// When, in wall milliseconds by Meta's clock.
    pub at_ms: Option<u64>,
    /// The account as the body names it.
    pub account: String,
    /// The number that it came to.
    pub number: Option<NumberId>,
    /// Who wrote.
    pub from: Contact,
    /// Meta's id of the message that it answers.
    pub answers: Option<String>,
    /// What it holds.
    pub content: Content,
}

/// What an inbound message holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Content {
    /// A text.
    Text(Pii<String>),
    /// A quick reply of a template.
    Button {
        /// The payload given at sending.
        payload: Option<Pii<String>>,
        /// The label.
        text: Option<Pii<String>>,
    },
    /// A choice of a list or of buttons.
    Choice {
        /// Its id.
        id: Pii<String>,
        /// Its title.
        title: Option<Pii<String>>,
    },
    /// The answer of a flow, JSON in a text.
    Flow(Pii<String>),
    /// A file.
    Media {
        /// image, document, audio, …
        kind: String,
        /// Meta's id of it.
        id: Option<String>,
    },
    /// Something of WhatsApp itself: a changed number, a changed identity.
    System {
        /// Its type: user_changed_number, user_changed_user_id, ...
        kind: String,
        /// How the person is named from now on.
        now: Contact,
    },
    /// Anything else, by its type.
    Other(String),
}

impl Skipped {
    /// The word in metrics and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Body => "body",
            Self::Envelope => "envelope",
            Self::Status => "status",
            Self::StatusWord => "status_word",
            Self::Message => "message",
            Self::Account => "account",
            Self::TooMany => "too_many",
        }
    }
}

impl Event {
    /// The word in metrics.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Status(status) => status.kind.as_str(),
            Self::Message(_) => "message",
            Self::Preference(_) => "preference",
            Self::Account { event, .. } => event.kind(),
            Self::Error { .. } => "error",
        }
    }
}

impl Content {
    /// The word in the journal; it holds nothing that the person wrote.
    pub fn kind(&self) -> &str {
        match self {
            Self::Text(_) => "text",
            Self::Button { .. } => "button",
            Self::Choice { .. } => "choice",
            Self::Flow(_) => "flow",
            Self::Media { kind, .. } | Self::System { kind, .. } | Self::Other(kind) => kind,
        }
    }
}

impl Parsed {
    /// Reads a body. Total: whatever comes, it ends with what could be read.
    pub fn read(body: &[u8]) -> Self {
        raw::read(body)
    }

    fn skip(&mut self, why: Skipped) {
        *self.skipped.entry(why).or_default() += 1;
    }
}
