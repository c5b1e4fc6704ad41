//! What a reply of the Cloud API means: one total function from a reply to a [`Verdict`], driven by the error
//! table in `config/errors.toml`. Replies and webhooks go through the same function (a webhook has HTTP status 0).
//!
//! It keys on Meta's `code`, never on the HTTP status, as Meta asks; the status only speaks where the table does
//! not list the code or there is no Graph error at all. It does not count, wait or retry.

mod raw;
pub mod table;

use std::time::Duration;

use table::{Row, own};

pub use table::{ErrorTable, ErrorTableError};

/// A reply as far as it matters here. `cloud::wire` makes it from bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// HTTP status.
    pub http_status: u16,
    /// What the body said.
    pub body: ReplyBody,
    /// `Retry-After` in seconds, unclamped.
    pub retry_after: Option<Duration>,
}

/// What the body of a reply said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReplyBody {
    /// A `messages[0].id` was there.
    Accepted {
        /// `message_status` was `held_for_quality_assessment` or `paused`.
        held: bool,
    },
    /// A Graph error was there (with whatever HTTP status).
    Error {
        /// `error.code`
        code: i64,
        /// `error.is_transient`
        is_transient: Option<bool>,
    },
    /// Anything else: empty, not JSON, no wamid.
    Unreadable,
}

/// What a reply means for the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Meta took it.
    Accepted,
    /// Meta took it and holds it back for now.
    Held,
    /// Refused by a limit: costs no attempt.
    Throttled,
    /// Probably not sent, not certainly: in doubt, with a wait.
    Doubtful,
    /// Certainly not sent, worth another attempt.
    Transient,
    /// Certainly not sent, and never will be.
    Permanent,
    /// Certainly not sent; something wider than the message must stop until a person looks.
    Halt,
    /// Nobody knows.
    Unknown,
}

/// Who slows or stops because of a verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scope {
    /// Only this message or person.
    Person,
    /// This number to this person.
    Pair,
    /// The sending number.
    Number,
    /// The template.
    Template,
    /// The WhatsApp Business Account.
    Account,
    /// The business portfolio.
    Portfolio,
    /// The app: everything.
    App,
}

/// A verdict: what it means, for whom, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// What it means for the message.
    pub kind: Kind,
    /// Who slows or stops.
    pub scope: Scope,
    /// Number of the row in the error table; 0 for an accepted message. Stored in the record.
    pub reason: u8,
    /// Meta's code, where there was one.
    pub code: Option<i64>,
    /// The trouble is Meta's or the line's, not the message's own: it closes the number with backoff and
    /// probes, and costs no attempt.
    pub not_own: bool,
    /// The number sent faster than Meta takes it: its pace is lowered.
    pub slows: bool,
    /// A message that was refused so is tried so often in all at most, if its campaign does not allow less.
    pub attempts: Option<u8>,
    /// How long the scope (or the message) should wait, clamped to the table's bounds; None: the usual backoff.
    pub wait: Option<Duration>,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 8] = [
        Self::Accepted,
        Self::Held,
        Self::Throttled,
        Self::Doubtful,
        Self::Transient,
        Self::Permanent,
        Self::Halt,
        Self::Unknown,
    ];

    /// The name in the error table, in metrics and in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Held => "held",
            Self::Throttled => "throttled",
            Self::Doubtful => "doubtful",
            Self::Transient => "transient",
            Self::Permanent => "permanent",
            Self::Halt => "halt",
            Self::Unknown => "unknown",
        }
    }
}

impl Scope {
    /// The name in the error table and in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Person => "person",
            Self::Pair => "pair",
            Self::Number => "number",
            Self::Template => "template",
            Self::Account => "account",
            Self::Portfolio => "portfolio",
            Self::App => "app",
        }
    }
}

/// What became of a message without a reply of Meta.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Local {
    /// Not one byte of the request left: no connection, or it broke before.
    NeverBegun,
    /// No reply in time.
    Timeout,
    /// The connection broke after the request had begun to leave.
    ResetAfterBegin,
    /// The process died between claim and reply.
    OwnerLost,
    /// Older than the campaign's validity.
    Expired,
    /// Every allowed attempt was refused for the moment.
    AttemptsUsedUp,
    /// The campaign was cancelled.
    Cancelled,
    /// Claimed as often as the record can count.
    GenerationLimit,
}

impl ErrorTable {
    /// What a reply means. Total: every reply has a verdict.
    pub fn classify(&self, reply: &Reply) -> Verdict {
        match reply.body {
            ReplyBody::Accepted { held } => Verdict {
                kind: if held { Kind::Held } else { Kind::Accepted },
                scope: Scope::Person,
                reason: 0,
                code: None,
                not_own: false,
                slows: false,
                attempts: None,
                wait: None,
            },
            ReplyBody::Error { code, is_transient } => {
                let row = self.code(code).unwrap_or_else(|| self.unlisted(reply.http_status, is_transient));
                // An unlisted code with a 5xx is Meta's trouble; a listed one says itself whose it is.
                let theirs = row.reason == own::UNKNOWN_CODE_DOUBTFUL && reply.http_status >= 500;
                let verdict = self.verdict(row, Some(code), reply.retry_after);
                Verdict { not_own: verdict.not_own || theirs, ..verdict }
            }
            ReplyBody::Unreadable => {
                let reason = match reply.http_status {
                    200..=299 => own::SUCCESS_WITHOUT_ID,
                    429 => own::TOO_MANY_REQUESTS,
                    // A proxy that gave up waiting may have passed the request on.
                    408 => own::TIMEOUT,
                    300..=499 => own::REFUSED_WITHOUT_BODY,
                    _ => own::SERVER_ERROR_WITHOUT_BODY,
                };
                self.verdict(self.own(reason), None, reply.retry_after)
            }
        }
    }

    /// What an outcome without a reply means.
    pub fn local(&self, outcome: Local) -> Verdict {
        let reason = match outcome {
            Local::NeverBegun => own::NEVER_BEGUN,
            Local::Timeout => own::TIMEOUT,
            Local::ResetAfterBegin => own::RESET_AFTER_BEGIN,
            Local::OwnerLost => own::OWNER_LOST,
            Local::Expired => own::EXPIRED,
            Local::AttemptsUsedUp => own::ATTEMPTS_USED_UP,
            Local::Cancelled => own::CANCELLED,
            Local::GenerationLimit => own::GENERATION_LIMIT,
        };
        self.verdict(self.own(reason), None, None)
    }

    /// The row for a Graph error whose code no row lists.
    fn unlisted(&self, http_status: u16, is_transient: Option<bool>) -> &Row {
        let reason = match http_status {
            429 => own::TOO_MANY_REQUESTS,
            _ if is_transient == Some(true) => own::UNKNOWN_CODE_DOUBTFUL,
            // 0 is a webhook: it reports that the message failed, so there is nothing to doubt.
            0 | 400..=499 => own::UNKNOWN_CODE,
            _ => own::UNKNOWN_CODE_DOUBTFUL,
        };
        self.own(reason)
    }

    fn verdict(&self, row: &Row, code: Option<i64>, hint: Option<Duration>) -> Verdict {
        let waits = matches!(row.kind, Kind::Throttled | Kind::Doubtful | Kind::Transient);
        let wait = match (row.wait, hint) {
            (Some(bounds), hint) => Some(hint.unwrap_or(bounds.min).clamp(bounds.min, bounds.max)),
            // The pair's backoff is its own answer: Meta's hint speaks of the number.
            (None, Some(hint)) if waits && !row.pair_backoff => {
                let bounds = self.limits().retry_after;
                Some(hint.clamp(bounds.min, bounds.max))
            }
            (None, _) => None,
        };
        Verdict {
            kind: row.kind,
            scope: row.scope,
            reason: row.reason,
            code,
            not_own: row.not_own,
            slows: row.slows,
            attempts: row.attempts,
            wait,
        }
    }
}

#[cfg(test)]
mod tests;
