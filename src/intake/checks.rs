//! From a record of any format to a row or a reject: phone, keys, values as the campaign wants them.
//!
//! Takes records whose fields lie in one text, as the readers of CSV, NDJSON and XLSX give them. Formats are known once per
//! campaign; a good row allocates nothing.

use std::sync::Arc;

use super::csv::Layout;
use super::csv::header::Header;
use super::guards::Guards;
use super::render::{Misfit, RenderChecks, ValueError};
use super::row::{FORMATTED, KEY_MAX_CHARS, Outcome, RawRecord, Reject, Row, RowError, Span, Values};
use crate::domain::campaign::{Campaign, DedupKey};
use crate::domain::format::{Fact, Format, FormatError, is_spreadsheet_number};
use crate::domain::person::Phone;

/// What is wrong with a record as a record, and in which column of the file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RecordFault {
    pub(crate) error: RowError,
    pub(crate) column: Option<usize>,
}

/// What to take from each record, and how to check it.
#[derive(Debug)]
pub(crate) struct RowChecks {
    header: Header,
    names: Names,
    formats: Vec<Format>,
    render: RenderChecks,
    needs_reference: bool,
    guards: Option<Arc<Guards>>,
}

/// Memory that is used again for every row.
#[derive(Debug)]
pub(crate) struct Scratch {
    spans: Vec<Span>,
    formatted: String,
    facts: Vec<Fact>,
}

/// The columns as the campaign file names them, for reasons.
#[derive(Debug)]
struct Names {
    phone: String,
    reference: String,
    debtor: String,
    variables: Vec<String>,
}

/// What is wrong with a row, and the column at fault.
pub(crate) type RowFault<'a> = (RowError, Option<&'a str>);

impl Scratch {
    pub(crate) fn new(campaign: &Campaign) -> Self {
        let variables = campaign.variables.len();
        Self {
            spans: Vec::with_capacity(variables),
            formatted: String::new(),
            facts: Vec::with_capacity(variables),
        }
    }
}

impl RowChecks {
    pub(crate) fn new(header: Header, campaign: &Campaign) -> Self {
        let columns = &campaign.columns;
        let variables = campaign.variables.iter();
        Self {
            header,
            names: Names {
                phone: columns.phone.clone(),
                reference: columns.reference.clone().unwrap_or_default(),
                debtor: columns.debtor.clone().unwrap_or_default(),
                variables: variables.clone().map(|variable| variable.column.clone()).collect(),
            },
            formats: variables.map(|variable| variable.format).collect(),
            render: RenderChecks::new(campaign),
            needs_reference: campaign.dedup == DedupKey::PersonRef,
            guards: None,
        }
    }

    /// Rejects what these guards keep out, too.
    pub(crate) fn guard(&mut self, guards: Arc<Guards>) {
        self.guards = Some(guards);
    }

    pub(crate) fn layout(&self) -> &Layout {
        &self.header.layout
    }

    /// The format of each of the file's columns, text where no variable reads it.
    pub(crate) fn column_formats(&self) -> Vec<Format> {
        let mut formats = vec![Format::Text; self.header.width];
        for (column, format) in self.header.variables.iter().zip(&self.formats) {
            formats[*column] = *format;
        }
        formats
    }

    pub(crate) fn outcome<'a>(
        &'a self,
        line: u64,
        fault: Option<RecordFault>,
        record: RawRecord<'a>,
        scratch: &'a mut Scratch,
    ) -> Outcome<'a> {
        let row = match fault {
            Some(RecordFault { error, column }) => {
                let column = column.and_then(|column| self.header.layout.columns.get(column));
                Err((error, column.map(String::as_str)))
            }
            None => self.row(line, record, scratch),
        };
        match row {
            Ok(row) => Outcome::Row(row),
            Err((error, column)) => Outcome::Reject(Reject { line, error, column, record }),
        }
    }

    fn row<'a>(
        &'a self,
        line: u64,
        raw: RawRecord<'a>,
        scratch: &'a mut Scratch,
    ) -> Result<Row<'a>, RowFault<'a>> {
        let text = std::str::from_utf8(raw.bytes).map_err(|_| (RowError::NotUtf8, None))?;
        let (found, expected) = (raw.spans.len(), self.header.width);
        if found != expected {
            return Err((RowError::FieldCount { found, expected }, None));
        }
        let phone_text = field(text, raw.spans[self.header.phone])?.1;
        let phone = Phone::parse(phone_text)
            .map_err(|error| (RowError::Phone(error), Some(self.names.phone.as_str())))?;
        let guards = self.guards.as_deref();
        if guards.is_some_and(|guards| guards.erased.holds(phone.person())) {
            return Err((RowError::Erased, Some(&self.names.phone)));
        }
        let reference = self.key(text, raw, self.header.reference, &self.names.reference)?;
        if self.needs_reference && reference.is_empty() {
            return Err((RowError::NoReference, Some(&self.names.reference)));
        }
        let debtor = self.key(text, raw, self.header.debtor, &self.names.debtor)?;
        self.values(text, raw, scratch)?;
        let values = Values { text, formatted: &scratch.formatted, spans: &scratch.spans };
        let misfit = |Misfit { variable, error }| self.misfit(variable, error);
        self.render.check(values.iter()).map_err(misfit)?;
        if self.render.compares() {
            self.render.compare(&scratch.facts).map_err(misfit)?;
        }
        if let Some((variable, fault)) = guards.and_then(|guards| guards.file_fault(values.iter())) {
            return Err((RowError::File(fault), Some(self.names.variables[variable].as_str())));
        }
        Ok(Row {
            line,
            phone,
            person: phone.person(),
            class: phone.class(),
            reference,
            debtor,
            values,
            record: raw,
        })
    }

    /// Finds every value, and writes it anew where its format wants that.
    fn values<'a>(
        &'a self,
        text: &'a str,
        raw: RawRecord<'a>,
        scratch: &mut Scratch,
    ) -> Result<(), RowFault<'a>> {
        let Scratch { spans, formatted, facts } = scratch;
        spans.clear();
        formatted.clear();
        facts.clear();
        for (variable, (&column, format)) in self.header.variables.iter().zip(&self.formats).enumerate() {
            let (span, value) = field(text, raw.spans[column])?;
            if format.is_text() || value.is_empty() {
                if is_spreadsheet_number(value) {
                    return Err(self.misfit(variable, ValueError::Format(FormatError::Scientific)));
                }
                spans.push(span);
                facts.push(Fact::Nothing);
                continue;
            }
            let misfit = |error| self.misfit(variable, error);
            // A line break or a tab in a name or an amount means that columns slipped.
            if let Some(byte) = value.bytes().find(|byte| *byte < b' ' || *byte == 0x7f) {
                return Err(misfit(ValueError::control(byte)));
            }
            let from = formatted.len();
            let fact = format.apply(value, formatted).map_err(|error| misfit(ValueError::Format(error)))?;
            facts.push(fact);
            spans.push((FORMATTED | offset(from), FORMATTED | offset(formatted.len())));
        }
        Ok(())
    }

    fn misfit(&self, variable: usize, error: ValueError) -> RowFault<'_> {
        (RowError::Value(error), Some(self.names.variables[variable].as_str()))
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
        check_key(key).map_err(|error| (error, Some(name)))?;
        Ok(key)
    }
}

/// What no reference and no debtor's key may be.
pub(crate) fn check_key(key: &str) -> Result<(), RowError> {
    // Most keys are so short that their characters need no counting.
    if key.len() > KEY_MAX_CHARS && key.chars().count() > KEY_MAX_CHARS {
        return Err(RowError::KeyTooLong);
    }
    if key.bytes().any(|byte| byte < b' ' || byte == 0x7f) {
        return Err(RowError::KeyControl);
    }
    if is_spreadsheet_number(key) {
        return Err(RowError::Value(ValueError::Format(FormatError::Scientific)));
    }
    Ok(())
}

/// A field without the spaces around it, and where it lies. A field of a quoted record may begin or end within a
/// character that its neighbour completes: then neither is UTF-8.
pub(crate) fn field<'a>(text: &'a str, (from, to): Span) -> Result<(Span, &'a str), RowFault<'a>> {
    let whole = text.get(from as usize..to as usize).ok_or((RowError::NotUtf8, None))?;
    let led = whole.trim_start();
    let trimmed = led.trim_end();
    let from = from + offset(whole.len() - led.len());
    Ok(((from, from + offset(trimmed.len())), trimmed))
}

/// Offsets within a record, and within its values, fit 31 bits: a record has at most 64 KiB.
#[allow(clippy::cast_possible_truncation, reason = "records are bounded far below 2 GiB")]
pub(crate) fn offset(at: usize) -> u32 {
    at as u32
}
