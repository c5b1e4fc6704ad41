//! The header of a recipients file: which delimiter, which columns, and where those that the campaign needs are.

use std::io::Read;

use super::records::{Fault, Records};
use super::{COLUMNS_MAX, InputError};
use crate::domain::campaign::Campaign;
use crate::domain::person::Phone;
use crate::intake::campaign_file::did_you_mean;

/// The columns that a rejects file adds, last, in this order.
pub(crate) const REJECT_COLUMNS: [&str; 3] = ["line", "reason_code", "reason"];

const DELIMITERS: [u8; 4] = [b',', b';', b'\t', b'|'];
const BOM: &[u8] = b"\xef\xbb\xbf";

/// How many columns an error lists, and how much of each.
const LISTED_COLUMNS: usize = 40;
const LISTED_CHARS: usize = 40;

/// A column with so many digits in it is no name.
const DATA_DIGITS: usize = 8;

/// How a file is laid out; its rejects file is laid out alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// The columns, as in the header, without those of a rejects file.
    pub columns: Vec<String>,
    /// What stands between fields.
    pub delimiter: u8,
    /// Whether the file begins with a byte order mark.
    pub bom: bool,
    /// Whether the file is a rejects file, whose last three columns are not its own.
    pub is_rejects: bool,
}

/// A header, and where in it the columns are that the campaign needs.
#[derive(Debug)]
pub(crate) struct Header {
    pub(crate) layout: Layout,
    /// Fields of every row, those of a rejects file included.
    pub(crate) width: usize,
    pub(crate) phone: usize,
    pub(crate) reference: Option<usize>,
    pub(crate) debtor: Option<usize>,
    /// The column of each variable.
    pub(crate) variables: Vec<usize>,
}

impl Header {
    pub(super) fn read<R: Read>(records: &mut Records<R>, campaign: &Campaign) -> Result<Self, InputError> {
        let needs = needs(campaign);
        let (layout, line) = layout(records, &needs)?;
        Self::find(layout, line, &needs, campaign)
    }

    /// The header of a file that is no CSV; its rejects file is one of semicolons.
    pub(crate) fn of_columns(
        columns: Vec<String>,
        line: u64,
        campaign: &Campaign,
    ) -> Result<Self, InputError> {
        let layout = Layout { columns, delimiter: b';', bom: false, is_rejects: false };
        Self::find(layout, line, &needs(campaign), campaign)
    }

    fn find(layout: Layout, line: u64, needs: &[Need<'_>], campaign: &Campaign) -> Result<Self, InputError> {
        let (layout, width) = layout.checked(line)?;
        let mut found = Vec::with_capacity(needs.len());
        for need in needs {
            found.push(need.find(&layout.columns)?);
        }
        let mut found = found.into_iter();
        Ok(Self {
            phone: found.next().expect("a campaign always needs the phone"),
            reference: campaign.columns.reference.is_some().then(|| found.next()).flatten(),
            debtor: campaign.columns.debtor.is_some().then(|| found.next()).flatten(),
            variables: found.collect(),
            width,
            layout,
        })
    }
}

impl Layout {
    /// Refuses what cannot be a header, and takes the columns of a rejects file off; with it the fields of every row.
    pub(super) fn checked(mut self, line: u64) -> Result<(Self, usize), InputError> {
        let width = self.columns.len();
        if width > COLUMNS_MAX {
            return Err(InputError::TooManyColumns { found: width });
        }
        if let Some(at) = self.columns.iter().position(|column| Phone::parse(column).is_ok()) {
            return Err(InputError::NoHeader { line, position: at + 1 });
        }
        let own = width.saturating_sub(REJECT_COLUMNS.len());
        self.is_rejects =
            own > 0 && self.columns[own..].iter().map(|column| column.trim()).eq(REJECT_COLUMNS);
        if self.is_rejects {
            self.columns.truncate(own);
        }
        Ok((self, width))
    }
}

/// A column that is needed, and what for.
pub(super) struct Need<'a> {
    pub(super) column: &'a str,
    pub(super) purpose: String,
}

/// How a file is laid out, under the delimiter that finds most of what is needed, and the line of its header.
pub(super) fn layout<R: Read>(
    records: &mut Records<R>,
    needs: &[Need<'_>],
) -> Result<(Layout, u64), InputError> {
    let bom = check_encoding(records)?;
    let (delimiter, line, columns) = detect(records, needs)?;
    records.set_delimiter(delimiter);
    records.next_record()?;
    Ok((Layout { columns, delimiter, bom, is_rejects: false }, line))
}

/// Phone, then reference and debtor if the campaign has them, then its variables.
fn needs(campaign: &Campaign) -> Vec<Need<'_>> {
    let columns = &campaign.columns;
    let need = |column, purpose: &str| Need { column, purpose: purpose.to_owned() };
    let mut needs = vec![need(columns.phone.as_str(), "columns.phone")];
    needs.extend(columns.reference.as_deref().map(|column| need(column, "columns.ref")));
    needs.extend(columns.debtor.as_deref().map(|column| need(column, "columns.debtor")));
    needs.extend(campaign.variables.iter().map(|variable| {
        let purpose = format!("columns.variables.{}", variable.name);
        need(variable.column.as_str(), &purpose)
    }));
    needs
}

impl Need<'_> {
    pub(super) fn is(&self, column: &str) -> bool {
        fold(self.column) == fold(column)
    }

    pub(super) fn find(&self, columns: &[String]) -> Result<usize, InputError> {
        let mut found = (0..columns.len()).filter(|at| self.is(&columns[*at]));
        match (found.next(), found.next()) {
            (Some(at), None) => Ok(at),
            (Some(_), Some(_)) => Err(InputError::DuplicateColumn {
                column: self.column.to_owned(),
                purpose: self.purpose.clone(),
            }),
            (None, _) => Err(InputError::MissingColumn {
                column: self.column.to_owned(),
                purpose: self.purpose.clone(),
                hint: list(self.column, columns),
            }),
        }
    }
}

/// Refuses what is no UTF-8 text, and passes over a byte order mark.
fn check_encoding<R: Read>(records: &mut Records<R>) -> Result<bool, InputError> {
    let ahead = records.ahead()?;
    match ahead {
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => return Err(InputError::Utf16),
        [b'P', b'K', 3, 4, ..] | [0x1f, 0x8b, ..] | [0xd0, 0xcf, 0x11, 0xe0, ..] => {
            return Err(InputError::Packed);
        }
        _ => {}
    }
    let first_line = ahead.split(|byte| *byte == b'\n').next().unwrap_or_default();
    if first_line.contains(&0) {
        let zeros = first_line.iter().filter(|byte| **byte == 0).count();
        // Plain letters in UTF-16 are zero in every other byte, mark or not.
        let is_utf16 = zeros * 5 > first_line.len() * 2;
        return Err(if is_utf16 { InputError::Utf16 } else { InputError::Binary });
    }
    let bom = ahead.starts_with(BOM);
    if bom {
        records.skip(BOM.len());
    }
    Ok(bom)
}

/// The delimiter under which the header has most of the columns that are needed; among equals the one that makes
/// most columns, then the first of the list. With it the header's line and columns.
fn detect<R: Read>(
    records: &mut Records<R>,
    needs: &[Need<'_>],
) -> Result<(u8, u64, Vec<String>), InputError> {
    let mut best = None;
    let mut error = InputError::HeaderTooLong;
    for delimiter in DELIMITERS {
        records.set_delimiter(delimiter);
        let Some(record) = records.peek()? else {
            return Err(InputError::Empty);
        };
        match record.fault {
            Some(Fault::TooLong) => return Err(InputError::HeaderTooLong),
            Some(Fault::UnclosedQuote) => continue,
            None => {}
        }
        let bytes = records.bytes(&record);
        let fields = records.spans().iter();
        let fields = fields.map(|(from, to)| bytes[*from as usize..*to as usize].to_vec());
        let Ok(columns) = fields.map(String::from_utf8).collect::<Result<Vec<_>, _>>() else {
            error = InputError::NotUtf8;
            continue;
        };
        let found = needs.iter().filter(|need| columns.iter().any(|column| need.is(column))).count();
        let score = (found, columns.len());
        if best.as_ref().is_none_or(|(most, _)| score > *most) {
            best = Some((score, (delimiter, record.line, columns)));
        }
    }
    best.map(|(_, found)| found).ok_or(error)
}

fn fold(column: &str) -> String {
    column.trim().to_lowercase()
}

/// Whether a column's name may be data: digits as in a phone, or the signs of JSON.
fn is_data(column: &str) -> bool {
    column.chars().filter(char::is_ascii_digit).count() >= DATA_DIGITS || column.contains(['{', '"'])
}

fn list(column: &str, columns: &[String]) -> String {
    if columns.iter().any(|column| is_data(column)) {
        return "its first line is not shown, since it looks like data and not like columns' names"
            .to_owned();
    }
    let shown = columns
        .iter()
        .take(LISTED_COLUMNS)
        .map(|column| column.trim().chars().take(LISTED_CHARS).collect::<String>());
    let shown = shown.collect::<Vec<_>>().join(", ");
    let more = match columns.len().saturating_sub(LISTED_COLUMNS) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let near = did_you_mean(column, columns.iter().map(String::as_str)).unwrap_or_default();
    let space = if near.is_empty() { "" } else { " " };
    format!("{near}{space}it has: {shown}{more}")
}
