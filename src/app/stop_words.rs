//! What people write to hear no more: the operator's copy of `config/stop_words.toml` (`stops.words_file`), or the words that
//! are part of the program. Read at the start and by `config check`.

use std::io;
use std::path::PathBuf;

use super::error_table::{FILE_MAX_BYTES, bounded};
use crate::config::Config;
use crate::policy::stop_words::{StopWords, StopWordsError};

/// Why the operator's words cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StopWordsFileError {
    /// The system's reason.
    #[error("cannot read the stop words {}: {source}", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Too large to be words.
    #[error("the stop words {} are larger than {FILE_MAX_BYTES} bytes", file.display())]
    TooLarge {
        /// The file.
        file: PathBuf,
    },
    /// An entry that cannot be.
    #[error("{}: {problem}", file.display())]
    Invalid {
        /// The file.
        file: PathBuf,
        /// Entry and bound.
        problem: StopWordsError,
    },
}

/// The words that the configuration names.
///
/// # Errors
/// When the file cannot be read, or says something that cannot be.
pub fn stop_words(config: &Config) -> Result<StopWords, StopWordsFileError> {
    let Some(file) = config.stops.words_file.clone() else {
        return Ok(StopWords::builtin());
    };
    match bounded(&file) {
        Ok(Some(text)) => {
            StopWords::parse(&text).map_err(|problem| StopWordsFileError::Invalid { file, problem })
        }
        Ok(None) => Err(StopWordsFileError::TooLarge { file }),
        Err(source) => Err(StopWordsFileError::Unreadable { file, source }),
    }
}
