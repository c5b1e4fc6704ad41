//! The campaign file: TOML in, a validated [`Campaign`] or the first thing that is wrong with it out.
//!
//! Every refusal names the file, the line, the field, the bound and what to do. Nothing is looked up elsewhere: whether
//! account, numbers and template exist is asked by the command that creates the campaign.

use std::fmt;
use std::io::Read;
use std::path::Path;

use crate::domain::campaign::Campaign;

mod formats;
mod hours;
mod pacing;
mod parts;
mod raw;
mod settings;
mod template;
mod text;

/// Largest campaign file, in bytes.
pub const FILE_MAX_BYTES: usize = 256 * 1024;

/// Most variables of a campaign.
pub const VARIABLES_MAX: usize = 64;

/// Longest name of a campaign, in characters.
pub const ID_MAX_CHARS: usize = 64;

/// Why a campaign file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CampaignFileError {
    /// It cannot be read.
    #[error("cannot read the campaign file {file}: {source}")]
    Unreadable {
        /// Path as given.
        file: String,
        /// The system's reason.
        source: std::io::Error,
    },
    /// It is too large to be a campaign file.
    #[error(
        "{file} is larger than {FILE_MAX_BYTES} bytes; a campaign file holds one template and no recipients"
    )]
    TooLarge {
        /// Path as given.
        file: String,
    },
    /// It is not UTF-8.
    #[error("{file} is not UTF-8 text; save it as UTF-8")]
    NotUtf8 {
        /// Path as given.
        file: String,
    },
    /// It is no TOML, or says something that cannot be.
    #[error("{0}")]
    Invalid(Box<Problem>),
}

/// What is wrong with a campaign file, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Path as given.
    pub file: String,
    /// Line in the file, from 1; None when something is missing altogether.
    pub line: Option<usize>,
    /// The field, such as `retry.max_attempts`; empty when the file is no TOML.
    pub field: String,
    /// What is wrong, with the bound.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
}

/// Reads and validates the campaign file at `path`.
pub fn read(path: &Path) -> Result<Campaign, CampaignFileError> {
    let (text, file) = read_text(path)?;
    parse(&text, &file)
}

/// Reads the text of the campaign file at `path`, and the name it has in errors. The text is what is stored as the
/// campaign's definition; - is standard input.
pub fn read_text(path: &Path) -> Result<(String, String), CampaignFileError> {
    let from_stdin = path == Path::new("-");
    let file = if from_stdin { "standard input".to_owned() } else { path.display().to_string() };
    let unreadable = |source| CampaignFileError::Unreadable { file: file.clone(), source };
    let mut bytes = Vec::new();
    // One byte over the bound shows that there is more, however large the file.
    let opened: std::io::Result<Box<dyn Read>> = if from_stdin {
        Ok(Box::new(std::io::stdin()))
    } else {
        std::fs::File::open(path).map(|file| Box::new(file) as _)
    };
    opened
        .and_then(|opened| opened.take(FILE_MAX_BYTES as u64 + 1).read_to_end(&mut bytes))
        .map_err(unreadable)?;
    if bytes.len() > FILE_MAX_BYTES {
        return Err(CampaignFileError::TooLarge { file });
    }
    match String::from_utf8(bytes) {
        Ok(text) => Ok((text, file)),
        Err(_) => Err(CampaignFileError::NotUtf8 { file }),
    }
}

/// Validates the text of a campaign file; `file_name` only appears in errors.
pub fn parse(text: &str, file_name: &str) -> Result<Campaign, CampaignFileError> {
    if text.len() > FILE_MAX_BYTES {
        return Err(CampaignFileError::TooLarge { file: file_name.to_owned() });
    }
    parse_set(text, &Settings::new(), file_name)
}

/// Validates the text with no line of its own for what `settings` say instead.
fn validate(text: &str, settings: &Settings, file_name: &str) -> Result<Campaign, CampaignFileError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let read = raw::read(text).and_then(|mut raw| {
        settings.iter().try_for_each(|(key, value)| settings::apply(&mut raw, key, value))?;
        parts::campaign(raw)
    });
    read.map_err(|fault| {
        let set = settings.contains_key(&fault.field);
        CampaignFileError::Invalid(Box::new(Problem {
            file: if set { "campaign set".to_owned() } else { file_name.to_owned() },
            line: fault.at.filter(|_| !set).map(|at| line_of(text, at)),
            field: fault.field,
            message: fault.message,
            hint: fault.hint,
        }))
    })
}

impl CampaignFileError {
    /// A code for programs; never changes.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unreadable { .. } => "campaign_file_unreadable",
            Self::TooLarge { .. } => "campaign_file_too_large",
            Self::NotUtf8 { .. } => "campaign_file_not_utf8",
            Self::Invalid(_) => "campaign_file_invalid",
        }
    }

    /// What is wrong in the file, when it could be read.
    pub fn problem(&self) -> Option<&Problem> {
        match self {
            Self::Invalid(problem) => Some(problem),
            _ => None,
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        f.write_str(": ")?;
        if !self.field.is_empty() {
            write!(f, "{}: ", self.field)?;
        }
        f.write_str(&self.message)?;
        match &self.hint {
            Some(hint) => write!(f, "; {hint}"),
            None => Ok(()),
        }
    }
}

/// A problem before it knows its file: `at` is a byte of the text.
#[derive(Debug)]
struct Fault {
    at: Option<usize>,
    field: String,
    message: String,
    hint: Option<String>,
}

impl Fault {
    fn new(at: Option<usize>, field: &str, message: impl Into<String>) -> Self {
        Self { at, field: field.to_owned(), message: message.into(), hint: None }
    }

    fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    fn maybe_hint(mut self, hint: Option<String>) -> Self {
        self.hint = hint.or(self.hint);
        self
    }
}

fn line_of(text: &str, at: usize) -> usize {
    let before = text.as_bytes().get(..at).unwrap_or(text.as_bytes());
    before.iter().filter(|byte| **byte == b'\n').count() + 1
}

/// `did you mean …?` for the known name that is nearest to `name`, if one is near.
pub(crate) fn did_you_mean<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let name = name.to_lowercase();
    known
        .into_iter()
        .map(|known| (strsim::jaro_winkler(&name, &known.to_lowercase()), known))
        .filter(|(similarity, _)| *similarity >= 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, known)| format!("did you mean `{known}`?"))
}

pub use settings::{KEYS as SETTING_KEYS, Settings, parse_set, setting};

#[cfg(test)]
mod tests;
