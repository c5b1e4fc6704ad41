//! Why a recipients file cannot be read at all. No row was read then, and nothing was changed.
//!
//! Names files, lines and columns, never a value.

use std::io;

use super::csv::{COLUMNS_MAX, RECORD_MAX_BYTES};

/// Why a recipients file cannot be read at all. No row was read.
#[derive(Debug, thiserror::Error)]
pub enum InputError {
    /// The system's reason.
    #[error("cannot read the recipients: {0}")]
    Unreadable(#[from] io::Error),
    /// No header.
    #[error("the file is empty; its first line names the columns")]
    Empty,
    /// UTF-16, as some spreadsheets save it.
    #[error("the file is UTF-16; save it as \"CSV UTF-8\"")]
    Utf16,
    /// XLS, ODS or another packed file.
    #[error(
        "the file is an archive or a spreadsheet that cannot be read here; save it as XLSX or export it as \"CSV UTF-8\""
    )]
    Packed,
    /// Something else with zero bytes in it.
    #[error("the first line holds zero bytes, so this is no text file; export it as \"CSV UTF-8\"")]
    Binary,
    /// Neither UTF-8, nor so little of it that it is taken for Windows-1252.
    #[error(
        "the header is not UTF-8; save the file as \"CSV UTF-8\", or name its encoding with --encoding windows-1252"
    )]
    NotUtf8,
    /// A first line that never ends, or an open quote.
    #[error("the header is longer than {RECORD_MAX_BYTES} bytes or opens a quote that it does not close")]
    HeaderTooLong,
    /// More columns than any real file.
    #[error("the header has {found} columns, more than {COLUMNS_MAX}")]
    TooManyColumns {
        /// Columns of the header.
        found: usize,
    },
    /// The first line holds a phone. The line is not shown, since it may hold personal data.
    #[error(
        "line {line} looks like a recipient, not like a header (column {position} holds a phone); put the columns' \
         names first"
    )]
    NoHeader {
        /// Line of the header.
        line: u64,
        /// The column with the phone, from 1.
        position: usize,
    },
    /// A column that is needed is not there.
    #[error("the file has no column `{column}`, which is needed for {purpose}; {hint}")]
    MissingColumn {
        /// The column as it was named.
        column: String,
        /// What it is for, such as `columns.phone`.
        purpose: String,
        /// The nearest column, and the columns that are there.
        hint: String,
    },
    /// A column that is needed is there twice.
    #[error("the file has the column `{column}` more than once, and it is needed for {purpose}; rename one")]
    DuplicateColumn {
        /// The column as it was named.
        column: String,
        /// What it is for.
        purpose: String,
    },
    /// A first line that is no JSON object.
    #[error(
        "line {line} is no JSON object; NDJSON has one object per line, and the first one names the columns"
    )]
    NotNdjson {
        /// The line.
        line: u64,
    },
    /// One JSON array instead of lines.
    #[error("the file is one JSON array; write one object per line (NDJSON)")]
    JsonArray,
    /// An XLSX that is none, or is damaged.
    #[error("the spreadsheet cannot be read: {what}")]
    Xlsx {
        /// What is wrong.
        what: String,
    },
    /// Beyond a bound.
    #[error("the spreadsheet is refused: {what} is beyond the bound of {bound}; export it as \"CSV UTF-8\"")]
    XlsxTooLarge {
        /// What there is too much of.
        what: &'static str,
        /// How much there may be.
        bound: u64,
    },
    /// No sheet of the name.
    #[error("the spreadsheet has no sheet `{sheet}`; it has: {sheets}")]
    NoSheet {
        /// As asked for.
        sheet: String,
        /// Those that are there.
        sheets: String,
    },
    /// An option that the format does not have.
    #[error("{option} does not apply to {format}")]
    Option {
        /// The option.
        option: &'static str,
        /// The format.
        format: &'static str,
    },
}
