//! Why a configuration is refused. Messages name file, line and key, never the value of a secret.

use std::path::{Path, PathBuf};

use super::raw::Origin;

/// Why a configuration is refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration {}: {problem}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said, or the bound.
        problem: String,
    },
    /// The file is not TOML.
    #[error("{}, line {line}: {message}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What the parser said.
        message: String,
    },
    /// A key that nothing acts on.
    #[error("{origin}: unknown key {key:?}{}", did_you_mean(.suggestion.as_deref()))]
    UnknownKey {
        /// Where it stands.
        origin: Origin,
        /// The key.
        key: String,
        /// The known key it resembles.
        suggestion: Option<String>,
    },
    /// A value that cannot be.
    #[error("{origin}: {key}: {problem}")]
    Value {
        /// Where it stands.
        origin: Origin,
        /// The key.
        key: String,
        /// What is wrong with it, what is allowed, and what to do.
        problem: String,
    },
}

impl ConfigError {
    pub(super) fn value(key: &str, origin: &Origin, problem: impl Into<String>) -> Self {
        Self::Value { origin: origin.clone(), key: key.to_owned(), problem: problem.into() }
    }

    /// The file that holds the mistake.
    pub fn file(&self) -> Option<&Path> {
        match self {
            Self::Read { path, .. } | Self::Syntax { path, .. } => Some(path),
            Self::UnknownKey { origin, .. } | Self::Value { origin, .. } => origin.file(),
        }
    }

    /// The line of the mistake, from 1.
    pub fn line(&self) -> Option<usize> {
        match self {
            Self::Read { .. } => None,
            Self::Syntax { line, .. } => Some(*line),
            Self::UnknownKey { origin, .. } | Self::Value { origin, .. } => origin.line(),
        }
    }

    /// The key that is wrong.
    pub fn key(&self) -> Option<&str> {
        match self {
            Self::Read { .. } | Self::Syntax { .. } => None,
            Self::UnknownKey { key, .. } | Self::Value { key, .. } => Some(key),
        }
    }

    /// The known key that was probably meant.
    pub fn suggestion(&self) -> Option<&str> {
        match self {
            Self::UnknownKey { suggestion, .. } => suggestion.as_deref(),
            _ => None,
        }
    }
}

fn did_you_mean(suggestion: Option<&str>) -> String {
    suggestion.map_or_else(
        || "; nothing acts on it, so it is refused: remove it".to_owned(),
        |key| format!("; did you mean {key:?}?"),
    )
}
