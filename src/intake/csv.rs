//! Recipients from a CSV file: any `Read` in, one [`Outcome`] per row out, in constant memory and without allocating for a
//! good row.
//!
//! Finds the delimiter by itself, checks the header against the campaign before the first row, then reads phone,
//! keys and values of each row and checks them against the template. It removes no duplicates (that is Redis' part), reads
//! no other encoding than UTF-8, and never stops at a bad row.

use std::io::{self, Read};

use self::header::Header;
use self::records::{Fault, Record, Records, offset};
use super::render::{Misfit, RenderChecks};
use super::row::{KEY_MAX_CHARS, Outcome, RawRecord, Reject, Row, RowError, Span, Values};
use crate::domain::campaign::{Campaign, DedupKey};
use crate::domain::person::Phone;

mod header;
mod records;

pub use self::header::Layout;
pub(crate) use self::header::REJECT_COLUMNS;

/// Longest record, in bytes, its line ends included.
pub const RECORD_MAX_BYTES: usize = 64 * 1024;

/// Most columns of a file.
pub const COLUMNS_MAX: usize = 1000;

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
    /// XLSX, ODS or another packed file.
    #[error("the file is a spreadsheet or an archive, not CSV; export it as \"CSV UTF-8\"")]
    Packed,
    /// Something else with zero bytes in it.
    #[error("the first line holds zero bytes, so this is no text file; export it as \"CSV UTF-8\"")]
    Binary,
    /// Windows-1252, most likely.
    #[error("the header is not UTF-8; save the file as \"CSV UTF-8\"")]
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
    /// A column that the campaign names is not there.
    #[error("the file has no column `{column}`, which the campaign needs for {purpose}; {hint}")]
    MissingColumn {
        /// The column as the campaign file names it.
        column: String,
        /// What the campaign file uses it for, such as `columns.phone`.
        purpose: String,
        /// The nearest column, and the columns that are there.
        hint: String,
    },
    /// A column that the campaign names is there twice.
    #[error(
        "the file has the column `{column}` more than once, and the campaign needs it for {purpose}; rename one"
    )]
    DuplicateColumn {
        /// The column as the campaign file names it.
        column: String,
        /// What the campaign file uses it for.
        purpose: String,
    },
}

/// Reads the rows of one recipients file for one campaign.
pub struct RowReader<R> {
    records: Records<R>,
    plan: Plan,
    values: Vec<Span>,
}

/// What to take from each record, and how to check it.
struct Plan {
    header: Header,
    names: Names,
    checks: RenderChecks,
    needs_reference: bool,
}

/// The columns as the campaign file names them, for reasons.
struct Names {
    phone: String,
    reference: String,
    debtor: String,
    variables: Vec<String>,
}

/// What is wrong with a row, and the column at fault.
type RowFault<'a> = (RowError, Option<&'a str>);

impl<R: Read> RowReader<R> {
    /// Reads the header of `source` and checks that it has what `campaign` needs.
    pub fn new(source: R, campaign: &Campaign) -> Result<Self, InputError> {
        let mut records = Records::new(source);
        let header = Header::read(&mut records, campaign)?;
        let columns = &campaign.columns;
        let variables = campaign.variables.iter();
        Ok(Self {
            records,
            plan: Plan {
                header,
                names: Names {
                    phone: columns.phone.clone(),
                    reference: columns.reference.clone().unwrap_or_default(),
                    debtor: columns.debtor.clone().unwrap_or_default(),
                    variables: variables.map(|variable| variable.column.clone()).collect(),
                },
                checks: RenderChecks::new(campaign),
                needs_reference: campaign.dedup == DedupKey::PersonRef,
            },
            values: Vec::with_capacity(campaign.variables.len()),
        })
    }

    /// The next row, good or rejected; None at the end. After an error of the source the reader is of no more use.
    pub fn next_row(&mut self) -> Result<Option<Outcome<'_>>, InputError> {
        let Some(record) = self.records.next_record()? else {
            return Ok(None);
        };
        let raw = RawRecord { bytes: self.records.bytes(&record), spans: self.records.spans() };
        let outcome = match self.plan.row(&record, raw, &mut self.values) {
            Ok(row) => Outcome::Row(row),
            Err((error, column)) => Outcome::Reject(Reject { line: record.line, error, column, record: raw }),
        };
        Ok(Some(outcome))
    }

    /// Bytes of the file that were read, for a progress bar.
    pub fn bytes_read(&self) -> u64 {
        self.records.bytes_read()
    }

    /// The file's own columns and delimiter, for its rejects file.
    pub fn layout(&self) -> &Layout {
        &self.plan.header.layout
    }
}

impl<R> std::fmt::Debug for RowReader<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RowReader").finish_non_exhaustive()
    }
}

impl Plan {
    fn row<'a>(
        &'a self,
        record: &Record,
        raw: RawRecord<'a>,
        values: &'a mut Vec<Span>,
    ) -> Result<Row<'a>, RowFault<'a>> {
        let text = self.text(record, raw)?;
        let phone_text = field(text, raw.spans[self.header.phone])?.1;
        let phone = Phone::parse(phone_text)
            .map_err(|error| (RowError::Phone(error), Some(self.names.phone.as_str())))?;
        let reference = self.key(text, raw, self.header.reference, &self.names.reference)?;
        if self.needs_reference && reference.is_empty() {
            return Err((RowError::NoReference, Some(&self.names.reference)));
        }
        let debtor = self.key(text, raw, self.header.debtor, &self.names.debtor)?;
        values.clear();
        for &column in &self.header.variables {
            values.push(field(text, raw.spans[column])?.0);
        }
        let values = Values { text, spans: values };
        self.checks.check(values.iter()).map_err(|Misfit { variable, error }| {
            (RowError::Value(error), Some(self.names.variables[variable].as_str()))
        })?;
        Ok(Row {
            line: record.line,
            phone,
            person: phone.person(),
            class: phone.class(),
            reference,
            debtor,
            values,
        })
    }

    /// The record as text, if it has as many fields as the header.
    fn text<'a>(&self, record: &Record, raw: RawRecord<'a>) -> Result<&'a str, RowFault<'a>> {
        match record.fault {
            Some(Fault::TooLong) => return Err((RowError::RecordTooLong, None)),
            Some(Fault::UnclosedQuote) => return Err((RowError::UnclosedQuote, None)),
            None => {}
        }
        let text = std::str::from_utf8(raw.bytes).map_err(|_| (RowError::NotUtf8, None))?;
        let (found, expected) = (raw.spans.len(), self.header.width);
        if found != expected {
            return Err((RowError::FieldCount { found, expected }, None));
        }
        Ok(text)
    }

    /// A reference or debtor key; empty where the campaign has none.
    fn key<'a>(
        &self,
        text: &'a str,
        raw: RawRecord<'a>,
        column: Option<usize>,
        name: &'a str,
    ) -> Result<&'a str, RowFault<'a>> {
        let Some(column) = column else { return Ok("") };
        let key = field(text, raw.spans[column])?.1;
        // Most keys are so short that their characters need no counting.
        if key.len() > KEY_MAX_CHARS && key.chars().count() > KEY_MAX_CHARS {
            return Err((RowError::KeyTooLong, Some(name)));
        }
        if key.bytes().any(|byte| byte < b' ' || byte == 0x7f) {
            return Err((RowError::KeyControl, Some(name)));
        }
        Ok(key)
    }
}

/// A field without the spaces around it, and where it lies. A field of a quoted record may begin or end within a
/// character that its neighbour completes: then neither is UTF-8.
fn field<'a>(text: &'a str, (from, to): Span) -> Result<(Span, &'a str), RowFault<'a>> {
    let whole = text.get(from as usize..to as usize).ok_or((RowError::NotUtf8, None))?;
    let led = whole.trim_start();
    let trimmed = led.trim_end();
    let from = from + offset(whole.len() - led.len());
    Ok(((from, from + offset(trimmed.len())), trimmed))
}

#[cfg(test)]
mod tests;
