//! The fault plan: which fault strikes which share of the requests, from when to when; and what the simulator
//! holds to be valid. Read from TOML; unknown keys, and keys that do not belong to a kind, are refused.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use super::webhook::WebhookPlan;

mod raw;

/// Faults of a plan at most: a number remembers in one word which of them concern it.
pub const FAULTS_MAX: usize = 64;

/// Everything a plan says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FaultPlan {
    /// In the order of the file: of several that would strike, the first does.
    pub faults: Vec<Fault>,
    /// What is valid.
    pub validity: Validity,
    /// Messages a second of single numbers, in place of the common rate; 0 is unlimited.
    pub rates: BTreeMap<String, u32>,
    /// When receipts are told, and what goes wrong with them.
    pub webhooks: WebhookPlan,
}

/// One fault.
#[derive(Clone, Debug, PartialEq)]
pub struct Fault {
    /// What happens.
    pub kind: FaultKind,
    /// To which share of the requests, 0 to 1.
    pub share: f64,
    /// From when on, counted from the first message request.
    pub from: Duration,
    /// Until when; None: for ever.
    pub to: Option<Duration>,
    /// Which numbers; None: all.
    pub numbers: Option<Vec<String>>,
    /// Which requests.
    pub on: Target,
}

/// Which requests a fault concerns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// `POST …/messages`
    #[default]
    Messages,
    /// `GET /{phone_number_id}`
    Probes,
    /// Both.
    All,
}

/// What a fault does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// Refused with a Graph error, not taken.
    Error {
        /// Graph code.
        code: i64,
        /// None: the code's usual one.
        http_status: Option<u16>,
    },
    /// Taken, and answered with a Graph error all the same.
    ErrorAfterTaking {
        /// Graph code.
        code: i64,
        /// None: the code's usual one.
        http_status: Option<u16>,
    },
    /// The connection is reset (over HTTP/2: the stream, with a word that says nothing), the message is not taken.
    ResetBefore,
    /// Not taken. Over HTTP/2 its stream is refused, with a word that it was not looked at; else as `reset_before`.
    RefusedStream,
    /// Not taken. Over HTTP/2 the connection says that it goes away, and that this request is past its last one; else as
    /// `reset_before`.
    GoAway,
    /// The message is taken, the connection is reset; over HTTP/2 its stream is.
    ResetAfter,
    /// Taken and never answered, or only after a time.
    Stall {
        /// None: never.
        after: Option<Duration>,
    },
    /// Taken, and answered with a 5xx without a body.
    Http5xxEmpty {
        /// HTTP status.
        status: u16,
    },
    /// Not taken, answered with a 5xx and a Graph error.
    Http5xxBefore {
        /// HTTP status.
        status: u16,
        /// Graph code.
        code: i64,
    },
    /// Taken and held for quality assessment.
    Held,
    /// Taken, answered 200 without a message id.
    SuccessWithoutWamid,
    /// Refused with 130429 though the number is under its limit.
    Throttle,
    /// Nothing listens, and every open connection is reset.
    Outage,
}

/// What the simulator holds to be valid; None: anything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Validity {
    /// Access tokens. For the simulator only: never put a real one here.
    pub tokens: Option<Vec<String>>,
    /// Templates.
    pub templates: Option<Vec<KnownTemplate>>,
    /// Phone number ids.
    pub numbers: Option<Vec<String>>,
}

/// A template that exists.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KnownTemplate {
    /// Its name.
    pub name: String,
    /// Its language code.
    pub language: String,
    /// How many parameters its body has; None: any number.
    pub body_params: Option<usize>,
}

/// Why a plan cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// The file cannot be read.
    #[error("cannot read the fault plan {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is no plan.
    #[error("the fault plan is not valid: {0}")]
    Syntax(#[from] toml::de::Error),
    /// A fault contradicts itself.
    #[error("fault {position} ({kind}) of the plan: {what}")]
    Fault {
        /// Its place in the file, from 1.
        position: usize,
        /// Its kind as the file names it.
        kind: &'static str,
        /// What is wrong and what would be right.
        what: String,
    },
    /// The receipts contradict themselves or a bound.
    #[error("[webhooks] of the plan: {0}")]
    Webhooks(String),
    /// Too much of something.
    #[error("the plan has {count} faults, at most {FAULTS_MAX} are possible")]
    TooMany {
        /// How many there are.
        count: usize,
    },
}

impl FaultPlan {
    /// Reads a plan from TOML text.
    ///
    /// # Errors
    /// When the text is no valid plan; the message names the line or the fault.
    pub fn parse(text: &str) -> Result<Self, PlanError> {
        raw::parse(text)
    }

    /// Reads a plan from a file.
    ///
    /// # Errors
    /// When the file cannot be read or is no valid plan.
    pub fn read(path: &Path) -> Result<Self, PlanError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| PlanError::Read { path: path.to_owned(), source })?;
        Self::parse(&text)
    }

    /// The plan with every time divided by `scale`.
    #[must_use]
    pub fn scaled(mut self, scale: u32) -> Self {
        let scale = scale.max(1);
        for fault in &mut self.faults {
            fault.from /= scale;
            fault.to = fault.to.map(|to| to / scale);
            if let FaultKind::Stall { after: Some(after) } = &mut fault.kind {
                *after /= scale;
            }
        }
        self
    }
}

impl Fault {
    /// Whether the fault's time has come and is not over.
    pub fn is_on(&self, elapsed: Duration) -> bool {
        self.from <= elapsed && self.to.is_none_or(|to| elapsed < to)
    }

    /// Whether the fault concerns a number.
    pub fn concerns(&self, number: &str) -> bool {
        let list = self.numbers.as_ref();
        list.is_none_or(|numbers| numbers.iter().any(|known| known == number))
    }

    /// The fault as the ledger and error messages name it: kind and code.
    pub fn label(&self) -> String {
        match self.kind {
            FaultKind::Error { code, .. }
            | FaultKind::ErrorAfterTaking { code, .. }
            | FaultKind::Http5xxBefore { code, .. } => format!("{} {code}", self.kind.name()),
            kind => kind.name().to_owned(),
        }
    }
}

impl FaultKind {
    /// The kind as a plan names it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Error { .. } => "error",
            Self::ErrorAfterTaking { .. } => "error_after_taking",
            Self::ResetBefore => "reset_before",
            Self::RefusedStream => "refused_stream",
            Self::GoAway => "go_away",
            Self::ResetAfter => "reset_after",
            Self::Stall { .. } => "stall",
            Self::Http5xxEmpty { .. } => "http_5xx_empty",
            Self::Http5xxBefore { .. } => "http_5xx_before",
            Self::Held => "held",
            Self::SuccessWithoutWamid => "success_without_wamid",
            Self::Throttle => "throttle",
            Self::Outage => "outage",
        }
    }
}
