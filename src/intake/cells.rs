//! A record put together cell by cell, from formats whose values have types.
//!
//! Numbers are written as the column's format reads them, since a typed number can only be meant in one way.

use super::checks::{RecordFault, offset};
use super::csv::RECORD_MAX_BYTES;
use super::row::{RawRecord, RowError, Span};
use crate::domain::format::{BrlInput, Format};

/// The fields of one record.
#[derive(Debug)]
pub(crate) struct Cells {
    formats: Vec<Format>,
    text: String,
    spans: Vec<Span>,
    filled: Vec<bool>,
    fault: Option<RecordFault>,
}

/// Whole numbers up to here are exact.
const EXACT_MAX: f64 = 9_007_199_254_740_992.0;

impl Cells {
    /// Records with one field per format.
    pub(crate) fn new(formats: Vec<Format>) -> Self {
        let width = formats.len();
        Self {
            formats,
            text: String::new(),
            spans: vec![(0, 0); width],
            filled: vec![false; width],
            fault: None,
        }
    }

    pub(crate) fn clear(&mut self) {
        self.text.clear();
        self.spans.fill((0, 0));
        self.filled.fill(false);
        self.fault = None;
    }

    /// Notes what is wrong; the first fault stays.
    pub(crate) fn refuse(&mut self, error: RowError, column: Option<usize>) {
        self.fault.get_or_insert(RecordFault { error, column });
    }

    pub(crate) fn fault(&self) -> Option<RecordFault> {
        self.fault
    }

    pub(crate) fn record(&self) -> RawRecord<'_> {
        RawRecord { bytes: self.text.as_bytes(), spans: &self.spans }
    }

    /// Whether nothing but spaces was put in.
    pub(crate) fn is_blank(&self) -> bool {
        self.fault.is_none() && self.text.trim().is_empty()
    }

    /// Takes text and spans out; the memory is made anew.
    pub(crate) fn take(&mut self) -> (String, Vec<Span>, Option<RecordFault>) {
        let width = self.spans.len();
        let spans = std::mem::replace(&mut self.spans, vec![(0, 0); width]);
        self.filled.fill(false);
        (std::mem::take(&mut self.text), spans, self.fault.take())
    }

    pub(crate) fn text(&mut self, column: usize, text: &str) {
        if self.text.len() + text.len() > RECORD_MAX_BYTES {
            return self.refuse(RowError::RecordTooLong, None);
        }
        let from = self.text.len();
        self.text.push_str(text);
        self.fill(column, from);
    }

    pub(crate) fn integer(&mut self, column: usize, value: i64) {
        // As the column writes amounts: an integer is whole reais unless the column is in cents.
        let from = self.text.len();
        self.text.push_str(&value.to_string());
        self.fill(column, from);
    }

    pub(crate) fn number(&mut self, column: usize, value: f64) {
        if value.fract() == 0.0 && value.abs() < EXACT_MAX {
            #[allow(
                clippy::cast_possible_truncation,
                reason = "checked to be a whole number within the exact ones"
            )]
            return self.integer(column, value as i64);
        }
        // Fifteen digits, as spreadsheets show and mean them.
        let rounded = format!("{value:.14e}").parse().unwrap_or(value);
        let from = self.text.len();
        if value.abs() >= EXACT_MAX || !value.is_finite() {
            self.text.push_str(&format!("{value:E}"));
        } else {
            let number = f64::to_string(&rounded);
            let format = self.formats.get(column);
            let point =
                matches!(format, Some(Format::Brl(BrlInput::Point) | Format::Amount(BrlInput::Point)));
            self.text.push_str(&if point { number } else { number.replace('.', ",") });
        }
        self.fill(column, from);
    }

    fn fill(&mut self, column: usize, from: usize) {
        let (Some(span), Some(filled)) = (self.spans.get_mut(column), self.filled.get_mut(column)) else {
            return;
        };
        *span = (offset(from), offset(self.text.len()));
        if std::mem::replace(filled, true) {
            self.refuse(RowError::KeyTwice, Some(column));
        }
    }
}
