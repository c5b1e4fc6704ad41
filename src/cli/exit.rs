//! How the program ends: exit codes, and errors as an operator sees them.
//!
//! Every error of the library becomes a [`CliError`] here, in one place, so that the same trouble always ends in the
//! same code. Messages come from the libraries, which keep personal data out of them.

use std::fmt;
use std::process::ExitCode;

use serde_json::json;

use crate::app::error_table::ErrorsFileError;
use crate::app::ownership::JoinError;
use crate::app::serve::ServeError;
use crate::app::stop_words::StopWordsFileError;
use crate::app::store::StoreError;
use crate::config::ConfigError;
use crate::config::calendars::CalendarsError;
use crate::intake::campaign_file::CampaignFileError;
use crate::intake::csv::InputError;
use crate::intake::generate::GenerateError;
use crate::intake::load::LoadError;
use crate::journal::JournalError;
use crate::queue::QueueError;
use crate::redis_server::RedisServerError;
use crate::report::ReportError;
use crate::sim::SimError;

/// What the exit codes mean, for `--help`.
pub const HELP: &str = "\
Exit codes:
  0    done
  1    failed
  2    usage or an invalid file; nothing was changed
  3    done in part: rows were rejected, or a running engine did not acknowledge
  4    refused by a safety rule, or not confirmed
  5    Redis or the engine cannot be reached
  130  interrupted";

/// How the program ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Done.
    Done,
    /// Failed.
    Failed,
    /// Usage or an invalid file; nothing was changed.
    Usage,
    /// Done in part.
    Partial,
    /// Refused by a safety rule, or not confirmed.
    Refused,
    /// Redis or the engine cannot be reached.
    Unreachable,
    /// Ctrl-C or SIGTERM.
    Interrupted,
}

/// Why a command did not end well, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CliError {
    /// How the program ends.
    pub exit: Exit,
    /// A code for programs; never changes.
    pub code: &'static str,
    /// What happened.
    pub message: String,
    /// The file it happened to.
    pub file: Option<Box<str>>,
    /// The line in that file, from 1.
    pub line: Option<u64>,
    /// The field or key.
    pub field: Option<Box<str>>,
    /// What to do next.
    pub hint: Option<Box<str>>,
}

impl Exit {
    /// The number that the shell sees.
    pub fn number(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Partial => 3,
            Self::Refused => 4,
            Self::Unreachable => 5,
            Self::Interrupted => 130,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.number())
    }
}

impl CliError {
    /// An error with nothing but a message.
    pub fn new(exit: Exit, code: &'static str, message: impl Into<String>) -> Self {
        Self { exit, code, message: message.into(), file: None, line: None, field: None, hint: None }
    }

    /// Usage: what was asked for cannot be, and nothing was changed.
    pub fn usage(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, code, message)
    }

    /// Not confirmed.
    pub fn not_confirmed(message: impl Into<String>) -> Self {
        Self::new(Exit::Refused, "not_confirmed", message)
    }

    /// The reader of our output is gone (`| head`): a quiet end, no error.
    pub fn reader_gone() -> Self {
        Self::new(Exit::Done, "reader_gone", "")
    }

    /// Ctrl-C or SIGTERM.
    pub fn interrupted() -> Self {
        Self::new(Exit::Interrupted, "interrupted", "interrupted")
    }

    /// The file it happened to.
    #[must_use]
    pub fn in_file(mut self, file: impl fmt::Display) -> Self {
        self.file = Some(file.to_string().into());
        self
    }

    /// The field or key.
    #[must_use]
    pub fn field(mut self, field: &str) -> Self {
        self.field = Some(field.into());
        self
    }

    /// What to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<Box<str>>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The error as the last line of stderr under `--json`.
    pub fn to_json(&self) -> serde_json::Value {
        json!({"error": {
            "code": self.code, "message": self.message, "file": self.file, "line": self.line, "field": self.field,
            "hint": self.hint,
        }})
    }

    fn of_queue(error: &QueueError) -> Self {
        let (exit, code) = match error {
            QueueError::Lost(_) => (Exit::Unreachable, "redis_lost"),
            QueueError::Loading => (Exit::Unreachable, "redis_loading"),
            QueueError::Full => (Exit::Unreachable, "redis_full"),
            QueueError::ReadOnly(_) => (Exit::Unreachable, "redis_read_only"),
            QueueError::Unkept { .. } => (Exit::Unreachable, "redis_replicas"),
            QueueError::RolledBack(_) => (Exit::Refused, "redis_rolled_back"),
            QueueError::Exchanged(_) => (Exit::Failed, "redis_exchanged"),
            QueueError::Forgotten(_) => (Exit::Failed, "redis_forgot"),
            QueueError::LayoutTooNew { .. } => (Exit::Failed, "layout_too_new"),
            QueueError::NoCampaign { .. } => (Exit::Usage, "no_campaign"),
            QueueError::Archived { .. } => (Exit::Usage, "archived"),
            QueueError::CampaignExists(_) => (Exit::Usage, "campaign_exists"),
            QueueError::Fenced => (Exit::Failed, "fenced"),
            QueueError::Corrupt { .. } => (Exit::Failed, "corrupt"),
            QueueError::Refused(_) => (Exit::Failed, "redis_refused"),
        };
        Self::new(exit, code, error.to_string())
    }

    fn of_server(error: &RedisServerError) -> Self {
        let exit = match error {
            RedisServerError::Settings { .. } => Exit::Usage,
            _ => Exit::Unreachable,
        };
        Self::new(exit, "redis_unusable", error.to_string())
    }

    fn of_config(error: &ConfigError) -> Self {
        Self {
            file: error.file().map(|file| file.display().to_string().into()),
            line: error.line().map(|line| line as u64),
            field: error.key().map(Into::into),
            hint: error.suggestion().map(|key| format!("did you mean {key:?}?").into()),
            ..Self::usage("config_invalid", error.to_string())
        }
    }
}

impl fmt::Display for CliError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for CliError {}

impl From<QueueError> for CliError {
    fn from(error: QueueError) -> Self {
        Self::of_queue(&error)
    }
}

impl From<StoreError> for CliError {
    fn from(error: StoreError) -> Self {
        match &error {
            StoreError::Server(error) => Self::of_server(error),
            StoreError::Queue(error) => Self::of_queue(error),
        }
    }
}

impl From<ErrorsFileError> for CliError {
    fn from(error: ErrorsFileError) -> Self {
        Self::usage("error_table_invalid", error.to_string())
            .in_file(error.file().display())
            .field("cloud.errors_file")
            .hint("mend it after config/errors.toml; `carteiro config check` reads it again")
    }
}

impl From<StopWordsFileError> for CliError {
    fn from(error: StopWordsFileError) -> Self {
        Self::usage("stop_words_invalid", error.to_string())
            .field("stops.words_file")
            .hint("mend it after config/stop_words.toml; `carteiro config check` reads it again")
    }
}

impl From<ConfigError> for CliError {
    fn from(error: ConfigError) -> Self {
        Self::of_config(&error)
    }
}

impl From<CalendarsError> for CliError {
    fn from(error: CalendarsError) -> Self {
        let shown = Self::new(Exit::Failed, "calendars_invalid", error.to_string());
        Self { line: Some(error.line as u64), ..shown.field(&error.field) }
    }
}

impl From<CampaignFileError> for CliError {
    fn from(error: CampaignFileError) -> Self {
        let shown = Self::usage(error.code(), error.to_string());
        match error {
            CampaignFileError::Unreadable { file, .. }
            | CampaignFileError::TooLarge { file }
            | CampaignFileError::NotUtf8 { file } => shown.in_file(file),
            CampaignFileError::Invalid(problem) => Self {
                line: problem.line.map(|line| line as u64),
                field: Some(problem.field.as_str()).filter(|field| !field.is_empty()).map(Into::into),
                hint: problem.hint.as_deref().map(Into::into),
                ..shown.in_file(&problem.file)
            },
        }
    }
}

impl From<InputError> for CliError {
    fn from(error: InputError) -> Self {
        let shown = Self::usage("recipients_unusable", error.to_string());
        match error {
            InputError::NoHeader { line, .. } => Self { line: Some(line), ..shown },
            InputError::MissingColumn { purpose, .. } | InputError::DuplicateColumn { purpose, .. } => {
                shown.field(&purpose)
            }
            _ => shown,
        }
    }
}

impl From<LoadError> for CliError {
    fn from(error: LoadError) -> Self {
        // The header was read before the load began, so what is wrong now came after rows were loaded.
        let shown = match error {
            LoadError::Queue(error) => Self::of_queue(&error),
            LoadError::Input(error) => Self { exit: Exit::Failed, ..Self::from(error) },
            LoadError::Rejects(error) => Self::new(Exit::Failed, "rejects_unwritable", error.to_string()),
            LoadError::Duplicates { .. } => {
                Self::new(Exit::Failed, "duplicates_unwritable", error.to_string())
            }
            LoadError::Forgotten { .. } => Self::new(Exit::Failed, "redis_forgot", error.to_string()),
            LoadError::System(_) => Self::new(Exit::Failed, "failed", error.to_string()),
        };
        shown.hint("what was loaded until then stays; loading the same file again adds only what is missing")
    }
}

impl From<GenerateError> for CliError {
    fn from(error: GenerateError) -> Self {
        match &error {
            GenerateError::Plan { field, .. } => Self::usage("usage", error.to_string()).field(field),
            GenerateError::Unwritable(cause) if is_reader_gone(cause) => Self::reader_gone(),
            GenerateError::Unwritable(_) => Self::new(Exit::Failed, "unwritable", error.to_string()),
        }
    }
}

impl From<ReportError> for CliError {
    fn from(error: ReportError) -> Self {
        match error {
            ReportError::Queue(error) => Self::of_queue(&error),
            ReportError::Write(cause) if is_reader_gone(&cause) => Self::reader_gone(),
            ReportError::Write(_) => Self::new(Exit::Failed, "unwritable", error.to_string()),
            ReportError::Journal(_) => Self::new(Exit::Failed, "journal_unreadable", error.to_string()),
            ReportError::Input(error) => Self::from(error).field("--join"),
            ReportError::Original { ref path, .. } => {
                Self::usage("unreadable", error.to_string()).in_file(path.display()).field("--join")
            }
        }
    }
}

impl From<JournalError> for CliError {
    fn from(error: JournalError) -> Self {
        Self::new(Exit::Failed, "journal", error.to_string())
    }
}

impl From<SimError> for CliError {
    fn from(error: SimError) -> Self {
        let exit = if error.is_usage() { Exit::Usage } else { Exit::Failed };
        Self::new(exit, "sim_failed", error.to_string())
    }
}

impl From<ServeError> for CliError {
    fn from(error: ServeError) -> Self {
        let message = error.to_string();
        match error {
            ServeError::Store(error) => error.into(),
            ServeError::Queue(error) => error.into(),
            ServeError::Errors(error) => error.into(),
            ServeError::StopWords(error) => error.into(),
            ServeError::Join(JoinError::Queue(error)) => error.into(),
            ServeError::Join(JoinError::NameTaken { .. }) => {
                Self::new(Exit::Refused, "another_serve", message)
            }
            ServeError::Calendars(error) => error.into(),
            ServeError::Endpoint(_) => Self::usage("config_invalid", message).field("cloud"),
            ServeError::Journal(_) => Self::new(Exit::Failed, "journal_unwritable", message),
            ServeError::Http(_) | ServeError::System { .. } => Self::new(Exit::Failed, "failed", message),
            ServeError::Interrupted => Self::new(Exit::Interrupted, "interrupted", message),
        }
    }
}

/// Whether whoever read our output went away.
pub fn is_reader_gone(error: &std::io::Error) -> bool {
    error.kind() == std::io::ErrorKind::BrokenPipe
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(error: impl Into<CliError>, exit: Exit, code: &str) {
        let error = error.into();
        assert_eq!((error.exit, error.code), (exit, code), "{error}");
    }

    #[test]
    fn the_same_trouble_always_ends_in_the_same_code() {
        check(QueueError::Lost(String::new()), Exit::Unreachable, "redis_lost");
        check(QueueError::Full, Exit::Unreachable, "redis_full");
        check(QueueError::CampaignExists("a".to_owned()), Exit::Usage, "campaign_exists");
        check(InputError::Empty, Exit::Usage, "recipients_unusable");
        check(LoadError::Input(InputError::Empty), Exit::Failed, "recipients_unusable");
        check(LoadError::Queue(QueueError::Loading), Exit::Unreachable, "redis_loading");
        let gone = std::io::Error::from(std::io::ErrorKind::BrokenPipe);
        check(ReportError::Write(gone), Exit::Done, "reader_gone");
        let too_old = RedisServerError::TooOld { found: "6.2".to_owned() };
        check(StoreError::Server(too_old), Exit::Unreachable, "redis_unusable");
    }

    #[test]
    fn the_engine_ends_in_the_same_codes() {
        let taken = JoinError::NameTaken { node: "a".to_owned() };
        check(ServeError::Join(taken), Exit::Refused, "another_serve");
        check(ServeError::Queue(QueueError::Loading), Exit::Unreachable, "redis_loading");
        check(ServeError::Interrupted, Exit::Interrupted, "interrupted");
    }

    #[test]
    fn help_names_every_exit_code() {
        let all = [
            Exit::Done,
            Exit::Failed,
            Exit::Usage,
            Exit::Partial,
            Exit::Refused,
            Exit::Unreachable,
            Exit::Interrupted,
        ];
        for exit in all {
            assert!(HELP.contains(&format!("\n  {:<4} ", exit.number())), "{exit:?}");
        }
    }
}
