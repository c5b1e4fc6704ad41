//! Recipients from a CSV file: any `Read` in, one [`Outcome`] per row out, in constant memory and without allocating for a
//! good row.
//!
//! Finds encoding and delimiter by itself, checks the header against the campaign before the first row, then reads phone,
//! keys and values of each row and checks them against the template. It removes no duplicates (that is Redis' part), and
//! never stops at a bad row.

use std::io::Read;

use self::header::Header;
use self::records::{Fault, Records};
use super::checks::{RecordFault, RowChecks, Scratch};
use super::encoding::{Decoded, Encoding};
use super::row::{Outcome, RawRecord, RowError};
use crate::domain::campaign::Campaign;

pub(crate) mod header;
mod records;
pub mod stops;

pub use self::header::Layout;
pub(crate) use self::header::REJECT_COLUMNS;
pub use super::error::InputError;

/// Longest record, in bytes, its line ends included.
pub const RECORD_MAX_BYTES: usize = 64 * 1024;

/// Most columns of a file.
pub const COLUMNS_MAX: usize = 1000;

/// Reads the rows of one recipients file for one campaign.
pub struct RowReader<R> {
    records: Records<Decoded<R>>,
    pub(super) checks: RowChecks,
    scratch: Scratch,
}

impl<R: Read> RowReader<R> {
    /// Reads the header of `source` and checks that it has what `campaign` needs. The encoding is found out.
    pub fn new(source: R, campaign: &Campaign) -> Result<Self, InputError> {
        Self::decoding(Decoded::new(source, None)?, campaign)
    }

    /// As [`RowReader::new`], in this encoding.
    pub fn in_encoding(source: R, encoding: Encoding, campaign: &Campaign) -> Result<Self, InputError> {
        Self::decoding(Decoded::new(source, Some(encoding))?, campaign)
    }

    pub(crate) fn decoding(source: Decoded<R>, campaign: &Campaign) -> Result<Self, InputError> {
        let decoded = source.encoding() != Encoding::Utf8;
        let mut records = Records::new(source);
        let mut header = Header::read(&mut records, campaign)?;
        // What was decoded is written as UTF-8, and says so to the program that opens it.
        header.layout.bom |= decoded;
        Ok(Self { records, checks: RowChecks::new(header, campaign), scratch: Scratch::new(campaign) })
    }

    /// The next row, good or rejected; None at the end. After an error of the source the reader is of no more use.
    pub fn next_row(&mut self) -> Result<Option<Outcome<'_>>, InputError> {
        let Some(record) = self.records.next_record()? else {
            return Ok(None);
        };
        let raw = RawRecord { bytes: self.records.bytes(&record), spans: self.records.spans() };
        let fault = record.fault.map(|fault| RecordFault { error: fault.into(), column: None });
        Ok(Some(self.checks.outcome(record.line, fault, raw, &mut self.scratch)))
    }

    /// Bytes of the file that were read, for a progress bar.
    pub fn bytes_read(&self) -> u64 {
        self.records.source().bytes_read()
    }

    /// Rows that a file of so many bytes should have, judged by its beginning.
    pub fn rows_expected(&self, size: u64) -> u64 {
        let (lines, bytes) = self.records.seen_ahead();
        size.saturating_mul(lines.max(1)) / bytes.max(1)
    }

    /// The file's own columns and delimiter, for its rejects file.
    pub fn layout(&self) -> &Layout {
        self.checks.layout()
    }
}

impl From<Fault> for RowError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::TooLong => Self::RecordTooLong,
            Fault::UnclosedQuote => Self::UnclosedQuote,
        }
    }
}

impl<R> std::fmt::Debug for RowReader<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RowReader").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
