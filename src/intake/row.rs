//! One row of a recipients file: good, or rejected with a reason. Both borrow from the reader's buffers.
//!
//! Rows hold personal data, so nothing here prints it; reasons name line, column and bound, never a value.

use std::borrow::Cow;
use std::fmt;

use super::files::FileFault;
use super::render::ValueError;
use crate::domain::area::CalendarClass;
use crate::domain::person::{PersonKey, Phone, PhoneError};

/// Longest reference and debtor key, in characters.
pub const KEY_MAX_CHARS: usize = 128;

/// Marks the beginning of a span that lies in the formatted values: no record is that long.
pub(crate) const FORMATTED: u32 = 1 << 31;

/// From where to where in a record's bytes.
pub(crate) type Span = (u32, u32);

/// What a line of the file turned out to be.
#[derive(Debug)]
pub enum Outcome<'a> {
    /// A recipient.
    Row(Row<'a>),
    /// Not one, and why.
    Reject(Reject<'a>),
}

/// A recipient that can be written to.
#[derive(Clone, Copy)]
pub struct Row<'a> {
    /// Line of the file where the record begins, from 1; the header counts.
    pub line: u64,
    /// The phone.
    pub phone: Phone,
    /// The person behind it.
    pub person: PersonKey,
    /// The calendars of the phone's area code.
    pub class: CalendarClass,
    /// The creditor's reference of the debt; empty if the campaign has no such column.
    pub reference: &'a str,
    /// The creditor's key of the debtor; empty if the campaign has no such column.
    pub debtor: &'a str,
    /// One value per variable of the campaign, in its order, trimmed.
    pub values: Values<'a>,
    /// The record as it was read, for the duplicates file and for reports that are joined with the file.
    pub record: RawRecord<'a>,
}

/// The values of a row.
#[derive(Clone, Copy)]
pub struct Values<'a> {
    pub(crate) text: &'a str,
    /// Values that are not shown as the file has them; their spans begin at [`FORMATTED`] plus their place here.
    pub(crate) formatted: &'a str,
    pub(crate) spans: &'a [Span],
}

/// A line that is no recipient.
pub struct Reject<'a> {
    /// Line of the file where the record begins, from 1; the header counts.
    pub line: u64,
    /// What is wrong.
    pub error: RowError,
    /// The column at fault, as the campaign file names it.
    pub column: Option<&'a str>,
    /// The record as it was read, for the rejects file.
    pub record: RawRecord<'a>,
}

/// The fields of a record as the file has them, unquoted, in the file's encoding.
#[derive(Clone, Copy)]
pub struct RawRecord<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) spans: &'a [Span],
}

/// Why a line is no recipient. Says nothing of its values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RowError {
    /// Bytes that are no UTF-8.
    #[error(
        "the line is not UTF-8, as the beginning of the file is; if all of it is Windows-1252, load it with --encoding \
         windows-1252"
    )]
    NotUtf8,
    /// More or fewer fields than the header has.
    #[error("the line has {found} fields, the header has {expected}")]
    FieldCount {
        /// Fields of the line.
        found: usize,
        /// Fields of the header.
        expected: usize,
    },
    /// The record is longer than any message's data.
    #[error("the line is longer than {} bytes", super::csv::RECORD_MAX_BYTES)]
    RecordTooLong,
    /// A quote that is never closed; reading went on at the next line.
    #[error("a quote is opened on this line and not closed within {} bytes", super::csv::RECORD_MAX_BYTES)]
    UnclosedQuote,
    /// A line of NDJSON that is no object.
    #[error("the line is no JSON object")]
    NotJson,
    /// A list or an object where a value belongs.
    #[error("holds a list or an object")]
    Nested,
    /// A key of an object that is there twice.
    #[error("is there more than once in this object")]
    KeyTwice,
    /// `#N/A` and the like.
    #[error("holds a spreadsheet's error")]
    CellError,
    /// A formula that was never calculated.
    #[error(
        "holds a formula whose result is not in the file; open the file in a spreadsheet program, save it, and load it again"
    )]
    NoResult,
    /// The phone.
    #[error("{0}")]
    Phone(PhoneError),
    /// A value of the template.
    #[error("{0}")]
    Value(ValueError),
    /// A day from which a stop holds.
    #[error("is no day written as aaaa-mm-dd or dd/mm/aaaa")]
    NoDay,
    /// The reference is what a stop speaks of.
    #[error("is empty: there is no debt to stop")]
    NoDebt,
    /// The reference is needed to tell debts apart.
    #[error("is empty, and the campaign tells debts apart by it")]
    NoReference,
    /// The person asked to be forgotten.
    #[error("belongs to a person whose data were erased; nothing is sent to them")]
    Erased,
    /// The document that the row names.
    #[error("{0}")]
    File(FileFault),
    /// Reference or debtor key.
    #[error("is longer than {KEY_MAX_CHARS} characters")]
    KeyTooLong,
    /// Reference or debtor key.
    #[error("holds a line break or another control character")]
    KeyControl,
}

impl<'a> Values<'a> {
    /// How many there are: as many as the campaign has variables.
    pub fn len(self) -> usize {
        self.spans.len()
    }

    /// Whether the campaign has no variables.
    pub fn is_empty(self) -> bool {
        self.spans.is_empty()
    }

    /// The value of the variable at this position.
    pub fn get(self, variable: usize) -> Option<&'a str> {
        self.spans.get(variable).map(|span| self.cut(*span))
    }

    /// All values, in order.
    pub fn iter(self) -> impl ExactSizeIterator<Item = &'a str> + Clone {
        self.spans.iter().map(move |span| self.cut(*span))
    }

    fn cut(self, (from, to): Span) -> &'a str {
        let text = if from & FORMATTED == 0 { self.text } else { self.formatted };
        &text[(from & !FORMATTED) as usize..(to & !FORMATTED) as usize]
    }
}

impl fmt::Debug for Values<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Values({} x ***)", self.len())
    }
}

impl fmt::Debug for Row<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Row").field("line", &self.line).finish_non_exhaustive()
    }
}

impl Reject<'_> {
    /// The code in the rejects file and in counts; never changes.
    pub fn reason_code(&self) -> &'static str {
        self.error.reason_code()
    }

    /// What is wrong in words, led by the column at fault.
    pub fn reason(&self) -> String {
        match self.column {
            Some(column) => format!("{column}: {}", self.error),
            None => self.error.to_string(),
        }
    }
}

impl fmt::Debug for Reject<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reject")
            .field("line", &self.line)
            .field("error", &self.error)
            .field("column", &self.column)
            .finish_non_exhaustive()
    }
}

impl<'a> RawRecord<'a> {
    /// The fields, in order.
    pub fn fields(self) -> impl ExactSizeIterator<Item = &'a [u8]> {
        let bytes = self.bytes;
        self.spans.iter().map(move |(from, to)| &bytes[*from as usize..*to as usize])
    }

    /// A field as text, with a mark where it is not UTF-8.
    pub fn field_lossy(self, at: usize) -> Option<Cow<'a, str>> {
        self.fields().nth(at).map(String::from_utf8_lossy)
    }
}

impl fmt::Debug for RawRecord<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RawRecord({} fields)", self.spans.len())
    }
}

impl RowError {
    /// The code in the rejects file and in counts; never changes.
    pub fn reason_code(self) -> &'static str {
        match self {
            Self::NotUtf8 => "not_utf8",
            Self::FieldCount { .. } => "wrong_field_count",
            Self::RecordTooLong => "record_too_long",
            Self::UnclosedQuote => "unclosed_quote",
            Self::NotJson => "not_json",
            Self::Nested => "value_nested",
            Self::KeyTwice => "key_twice",
            Self::CellError => "cell_error",
            Self::NoResult => "formula_without_result",
            Self::Phone(error) => error.reason_code(),
            Self::Value(error) => error.reason_code(),
            Self::Erased => "erased",
            Self::File(fault) => fault.reason_code(),
            Self::NoReference | Self::NoDebt => "reference_empty",
            Self::NoDay => "no_day",
            Self::KeyTooLong => "key_too_long",
            Self::KeyControl => "key_control",
        }
    }
}
