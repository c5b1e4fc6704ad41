//! What Meta's replies mean: the operator's copy of `config/errors.toml` (`cloud.errors_file`), or the table that is
//! part of the program. Read at the start, by `config check`, and again on SIGHUP.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use crate::config::Config;
use crate::policy::classify::ErrorTable;
use crate::policy::classify::table::ErrorTableError;

/// Largest file of a table, in bytes.
pub(super) const FILE_MAX_BYTES: u64 = 1024 * 1024;

/// Why the operator's table cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ErrorsFileError {
    /// The system's reason.
    #[error("cannot read the error table {}: {source}", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Too large to be a table.
    #[error("the error table {} is larger than {FILE_MAX_BYTES} bytes", file.display())]
    TooLarge {
        /// The file.
        file: PathBuf,
    },
    /// A row that cannot be.
    #[error("{}: {problem}", file.display())]
    Invalid {
        /// The file.
        file: PathBuf,
        /// Row, field and bound.
        problem: Box<ErrorTableError>,
    },
}

impl ErrorsFileError {
    /// The file.
    pub fn file(&self) -> &Path {
        match self {
            Self::Unreadable { file, .. } | Self::TooLarge { file } | Self::Invalid { file, .. } => file,
        }
    }
}

/// The table that the configuration names.
///
/// # Errors
/// When the file cannot be read, or says something that cannot be.
pub fn error_table(config: &Config) -> Result<ErrorTable, ErrorsFileError> {
    let Some(file) = &config.cloud.errors_file else {
        return Ok(ErrorTable::builtin());
    };
    let text = read(file)?;
    ErrorTable::parse(&text)
        .map_err(|problem| ErrorsFileError::Invalid { file: file.clone(), problem: Box::new(problem) })
}

fn read(file: &Path) -> Result<String, ErrorsFileError> {
    let read =
        bounded(file).map_err(|source| ErrorsFileError::Unreadable { file: file.to_owned(), source })?;
    read.ok_or_else(|| ErrorsFileError::TooLarge { file: file.to_owned() })
}

/// The text of a file of data; None: it is larger than [`FILE_MAX_BYTES`].
pub(super) fn bounded(file: &Path) -> io::Result<Option<String>> {
    let mut text = String::new();
    File::open(file)?.take(FILE_MAX_BYTES + 1).read_to_string(&mut text)?;
    Ok((text.len() as u64 <= FILE_MAX_BYTES).then_some(text))
}
