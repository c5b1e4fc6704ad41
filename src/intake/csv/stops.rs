//! Stops from a CSV file: people by phone or debts by reference, one per row, and perhaps from which day on.
//!
//! Read as recipients are: encoding and delimiter are found out, memory stays the same whatever the file's size, and a bad
//! row is rejected with its line, a code and a reason while the others go on. What kind of stop they are, and for whom it
//! holds, is the command's to say.

use std::io::Read;

use super::header::{self, Layout, Need};
use super::records::Records;
use crate::domain::person::{PersonKey, Phone};
use crate::domain::stop::StopDay;
use crate::intake::checks::{RowFault, check_key, field};
use crate::intake::encoding::{Decoded, Encoding};
use crate::intake::error::InputError;
use crate::intake::row::{RawRecord, Reject, RowError};

/// Names of the column with the phone, unless one is said.
const PHONE_COLUMNS: [&str; 3] = ["phone", "telefone", "celular"];

/// Names of the column with the reference.
const REFERENCE_COLUMNS: [&str; 3] = ["ref", "contrato", "referencia"];

/// Names of the column with the first day.
const DAY_COLUMNS: [&str; 2] = ["from", "vigencia"];

/// What the rows speak of, and in which columns it stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StopColumns {
    /// Debts by reference; otherwise people by phone.
    pub debts: bool,
    /// The column of the phone or the reference; None: one of the usual names.
    pub subject: Option<String>,
    /// The column of the day from which a stop holds; None: one of the usual names, if it is there.
    pub day: Option<String>,
    /// Whether stops may begin later at all: otherwise no column is a day.
    pub may_begin_later: bool,
    /// The day of rows that name none.
    pub otherwise: StopDay,
    /// Days from the day of the row until the stop holds, such as 30 after a registration.
    pub days_after: u16,
}

/// Reads the stops of one file.
pub struct StopReader<R> {
    records: Records<Decoded<R>>,
    layout: Layout,
    width: usize,
    subject: usize,
    day: Option<usize>,
    debts: bool,
    otherwise: StopDay,
    days_after: u16,
}

/// What a row turned out to be.
#[derive(Debug)]
pub enum StopOutcome<'a> {
    /// A stop.
    Stop(StopWho<'a>, StopDay),
    /// None, and why.
    Reject(Reject<'a>),
}

/// Whom or what a row speaks of.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum StopWho<'a> {
    /// A person.
    Person(PersonKey),
    /// A debt, by the creditor's reference.
    Debt(&'a str),
}

impl<R: Read> StopReader<R> {
    /// Reads the header of `source` and finds the columns.
    pub fn new(source: R, encoding: Option<Encoding>, columns: &StopColumns) -> Result<Self, InputError> {
        let source = Decoded::new(source, encoding)?;
        let decoded = source.encoding() != Encoding::Utf8;
        let mut records = Records::new(source);
        let (purpose, usual) = if columns.debts {
            ("the reference (--ref-column)", &REFERENCE_COLUMNS)
        } else {
            ("the phone (--phone-column)", &PHONE_COLUMNS)
        };
        let candidates = |named: &Option<String>, usual: &[&'static str]| match named {
            Some(name) => vec![name.clone()],
            None => usual.iter().map(|name| (*name).to_owned()).collect(),
        };
        let subjects = candidates(&columns.subject, usual);
        let days = if columns.may_begin_later { candidates(&columns.day, &DAY_COLUMNS) } else { Vec::new() };
        let needs: Vec<Need<'_>> = subjects.iter().chain(&days).map(|name| need(name, purpose)).collect();
        let (layout, line) = header::layout(&mut records, &needs)?;
        let (mut layout, width) = layout.checked(line)?;
        layout.bom |= decoded;
        let there = |name: &&String| layout.columns.iter().any(|column| need(name, "").is(column));
        let find = |names: &[String], purpose| {
            let name = names.iter().find(there).or(names.first());
            name.map(|name| need(name, purpose).find(&layout.columns)).transpose()
        };
        let subject = find(&subjects, purpose)?.unwrap_or(0);
        let named = columns.day.is_some() || days.iter().any(|name| there(&name));
        let day = if named { find(&days, "the first day (--from-column)")? } else { None };
        let StopColumns { debts, otherwise, days_after, .. } = *columns;
        Ok(Self { records, layout, width, subject, day, debts, otherwise, days_after })
    }

    /// The next row, good or rejected; None at the end. After an error of the source the reader is of no more use.
    pub fn next_row(&mut self) -> Result<Option<StopOutcome<'_>>, InputError> {
        let Some(record) = self.records.next_record()? else { return Ok(None) };
        let raw = RawRecord { bytes: self.records.bytes(&record), spans: self.records.spans() };
        let row = match record.fault {
            Some(fault) => Err((fault.into(), None)),
            None => self.row(raw),
        };
        Ok(Some(match row {
            Ok((who, day)) => StopOutcome::Stop(who, day),
            Err((error, column)) => {
                StopOutcome::Reject(Reject { line: record.line, error, column, record: raw })
            }
        }))
    }

    /// The file's own columns and delimiter, for its rejects file.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Bytes of the file that were read, for a progress bar.
    pub fn bytes_read(&self) -> u64 {
        self.records.source().bytes_read()
    }

    fn row<'a>(&'a self, raw: RawRecord<'a>) -> Result<(StopWho<'a>, StopDay), RowFault<'a>> {
        let text = std::str::from_utf8(raw.bytes).map_err(|_| (RowError::NotUtf8, None))?;
        let (found, expected) = (raw.spans.len(), self.width);
        if found != expected {
            return Err((RowError::FieldCount { found, expected }, None));
        }
        let name = |column: usize| self.layout.columns.get(column).map(String::as_str);
        let at = |column: usize| move |error: RowError| (error, name(column));
        let subject = field(text, raw.spans[self.subject])?.1;
        let who = if self.debts {
            check_key(subject).map_err(at(self.subject))?;
            if subject.is_empty() {
                return Err(at(self.subject)(RowError::NoDebt));
            }
            StopWho::Debt(subject)
        } else {
            let phone = Phone::parse(subject).map_err(RowError::Phone).map_err(at(self.subject))?;
            StopWho::Person(phone.person())
        };
        let Some(column) = self.day else { return Ok((who, self.otherwise)) };
        let day = field(text, raw.spans[column])?.1;
        let day = if day.is_empty() { Some(self.otherwise) } else { StopDay::parse(day, self.days_after) };
        day.map(|day| (who, day)).ok_or_else(|| at(column)(RowError::NoDay))
    }
}

fn need<'a>(column: &'a str, purpose: &str) -> Need<'a> {
    Need { column, purpose: purpose.to_owned() }
}

impl std::fmt::Debug for StopWho<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Person(_) => "Person(***)",
            Self::Debt(_) => "Debt(***)",
        })
    }
}

impl<R> std::fmt::Debug for StopReader<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StopReader").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every row: the first day's number, or the code of its reject.
    fn read(text: &[u8], columns: &StopColumns) -> Result<Vec<String>, InputError> {
        let mut reader = StopReader::new(text, None, columns)?;
        let mut rows = Vec::new();
        while let Some(row) = reader.next_row()? {
            rows.push(match row {
                StopOutcome::Stop(StopWho::Person(person), day) => format!("{} {}", person.0, day.number()),
                StopOutcome::Stop(StopWho::Debt(debt), _) => debt.to_owned(),
                StopOutcome::Reject(reject) => format!("{} {}", reject.line, reject.reason_code()),
            });
        }
        Ok(rows)
    }

    fn check(text: &[u8], columns: &StopColumns, expect: &[&str]) {
        assert_eq!(read(text, columns).unwrap(), expect);
    }

    #[test]
    fn people_in_any_spelling_and_what_is_none() {
        let text = "Nome;TELEFONE\nAna;(11) 98765-4321\nRui;+55 11 8765-4321\nEva;123\nIvo\n";
        let person = "1187654321 0";
        check(
            text.as_bytes(),
            &StopColumns::default(),
            &[person, person, "4 phone_length", "5 wrong_field_count"],
        );
        let windows = b"nome,telefone\nJo\xe3o,11987654321\nJos\xe9,11987654321\n";
        check(windows, &StopColumns::default(), &[person, person]);
    }

    #[test]
    fn days_are_read_where_a_stop_may_begin_later() {
        let text = b"phone\tfrom\n11987654321\t2020-01-01\n11987654321\t31/12/2019\n11987654321\t\n11987654321\tsoon\n";
        let later = StopColumns { may_begin_later: true, ..StopColumns::default() };
        let person = "1187654321";
        let expect = [1, 0, 0].map(|day| format!("{person} {day}"));
        let expect: Vec<&str> = expect.iter().map(String::as_str).chain(["5 no_day"]).collect();
        check(text, &later, &expect);
        let after = StopColumns { days_after: 30, ..later.clone() };
        check(b"phone|from\n11987654321|2020-01-01\n", &after, &["1187654321 31"]);
        check(b"phone|from\n11987654321|soon\n", &StopColumns::default(), &["1187654321 0"]);
        let named = StopColumns { day: Some("cadastro".to_owned()), ..later };
        check(b"cadastro,phone\n2020-01-02,11987654321\n", &named, &["1187654321 2"]);
        assert!(matches!(read(b"phone\n11987654321\n", &named), Err(InputError::MissingColumn { .. })));
    }

    #[test]
    fn debts_by_reference() {
        let debts = StopColumns { debts: true, ..StopColumns::default() };
        check(
            b"contrato,x\nC-1,a\n,b\n1.2E+12,c\n",
            &debts,
            &["C-1", "3 reference_empty", "4 value_scientific"],
        );
        let error =
            read(b"conta\n1\n", &StopColumns { subject: Some("contas".to_owned()), ..debts }).unwrap_err();
        assert!(error.to_string().contains("did you mean `conta`?"), "{error}");
        assert!(matches!(read(b"", &StopColumns::default()), Err(InputError::Empty)));
        assert!(matches!(read(b"11987654321\n", &StopColumns::default()), Err(InputError::NoHeader { .. })));
    }
}
