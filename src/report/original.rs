//! The recipients file that a report is joined with: read once, set aside by the part of each person's lane, and given
//! back row by row.
//!
//! A row of the file belongs to a loaded message if line, person and reference agree: lines alone would mix up the
//! files of several loads. A row that belongs to none is a duplicate if its person (or debt) is loaded; what the files
//! beside it (`.duplicates.csv`, `.rejects.csv`) say of a line comes first.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use super::ReportError;
use super::spill::Spill;
use crate::domain::campaign::{Campaign, DedupKey};
use crate::intake::csv::RowReader;
use crate::intake::lanes::{HashKey, Lanes};
use crate::intake::row::{Outcome, RawRecord};
use crate::journal::entry::{Damage, get, put, put_text, text};
use crate::queue::codec::Chunk;

/// Rows of the files beside it whose words are kept; beyond it the report says what it finds out by itself.
const WORDS_MAX: usize = 200_000;

/// The file, and what is needed to find its rows' lanes.
#[derive(Clone, Copy, Debug)]
pub struct Original<'a> {
    /// The file.
    pub file: &'a Path,
    /// The campaign that it was loaded into.
    pub campaign: &'a Campaign,
    /// Its lanes.
    pub lanes: &'a Lanes,
    /// The key of the installation.
    pub key: HashKey,
}

/// What a line that is no loaded message is, in three words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fate {
    pub(super) state: &'static str,
    pub(super) code: String,
    pub(super) reason: String,
}

/// The rows of the file, set aside.
pub(super) struct Rows {
    spill: Spill,
    /// The file's own columns.
    pub(super) columns: Vec<String>,
    dedup: DedupKey,
    words: HashMap<u64, Fate>,
    rejects: usize,
}

/// The rows of one part, to be taken by line.
pub(super) struct Part {
    bytes: Vec<u8>,
    /// Where each line's row begins; a row that was taken is gone.
    at: HashMap<u64, usize>,
    dedup: DedupKey,
    /// Persons (and references) that are loaded, with a line of theirs.
    loaded: HashMap<(u64, Box<str>), u32>,
}

/// A row as it was set aside.
pub(super) struct Row<'a> {
    pub(super) line: u64,
    person: u64,
    reference: &'a str,
    /// Code and reason of one that is no recipient.
    reject: Option<(&'a str, &'a str)>,
    /// Its fields, encoded.
    fields: &'a [u8],
}

impl std::fmt::Debug for Rows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rows").field("columns", &self.columns.len()).finish_non_exhaustive()
    }
}

impl Rows {
    /// Reads the file. `part_of` says in which part a lane is; the spill has one part more, for rejected rows.
    pub(super) fn gather(
        original: &Original<'_>,
        part_of: &[u16],
        rejects: usize,
        mut spill: Spill,
    ) -> Result<Self, ReportError> {
        let unreadable = |source| ReportError::Original { path: original.file.to_owned(), source };
        let source = File::open(original.file).map_err(unreadable)?;
        let mut reader = RowReader::new(source, original.campaign)?;
        let layout = reader.layout().clone();
        let mut bytes = Vec::new();
        while let Some(outcome) = reader.next_row()? {
            bytes.clear();
            let part = match &outcome {
                Outcome::Row(row) => {
                    put(row.line, &mut bytes);
                    bytes.push(0);
                    bytes.extend_from_slice(&row.person.0.to_le_bytes());
                    put_text(row.reference, &mut bytes);
                    put_fields(row.record, layout.columns.len(), &mut bytes);
                    let lane = original.lanes.lane_of(row.class, row.person, original.key);
                    part_of.get(lane as usize).map_or(rejects, |part| usize::from(*part))
                }
                Outcome::Reject(reject) => {
                    put(reject.line, &mut bytes);
                    bytes.push(1);
                    put_text(reject.reason_code(), &mut bytes);
                    put_text(&reject.reason(), &mut bytes);
                    put_fields(reject.record, layout.columns.len(), &mut bytes);
                    rejects
                }
            };
            spill.add(part, &bytes)?;
        }
        let mut words = HashMap::new();
        for (end, state) in [(".duplicates.csv", "duplicate"), (".rejects.csv", "rejected")] {
            read_words(&beside(original.file, end), layout.delimiter, state, &mut words)?;
        }
        Ok(Self { spill, columns: layout.columns, dedup: original.campaign.dedup, words, rejects })
    }

    /// The rows of one part.
    pub(super) fn take(&mut self, part: usize) -> Result<Part, ReportError> {
        let bytes = self.spill.take(part)?;
        let mut at = HashMap::new();
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            let from = bytes.len() - rest.len();
            let row = Row::decode(&mut rest).map_err(torn)?;
            at.insert(row.line, from);
        }
        Ok(Part { bytes, at, dedup: self.dedup, loaded: HashMap::new() })
    }

    /// The rows that have no lane.
    pub(super) fn take_rejects(&mut self) -> Result<Part, ReportError> {
        self.take(self.rejects)
    }

    /// What a row is that no message was made of.
    pub(super) fn fate(&self, part: &Part, row: &Row<'_>) -> Fate {
        if let Some(known) = self.words.get(&row.line) {
            return known.clone();
        }
        let (state, code, reason) =
            match (row.reject, part.loaded.get(&key(part.dedup, row.person, row.reference))) {
                (Some((code, reason)), _) => ("rejected", code, reason.to_owned()),
                (None, Some(line)) => {
                    ("duplicate", "duplicate", format!("the same as line {line} of what was loaded"))
                }
                (None, None) => (
                    "not_loaded",
                    "not_loaded",
                    "could be loaded, and is not: load the file again".to_owned(),
                ),
            };
        Fate { state, code: code.to_owned(), reason }
    }
}

impl Part {
    /// The row of a loaded message, if the file has it; it is not given again.
    pub(super) fn row_of(&mut self, chunk: &Chunk, at: usize, person: u64) -> Option<Row<'_>> {
        let (line, reference) = (chunk.line(at), chunk.reference(at));
        self.loaded.insert(key(self.dedup, person, reference), line);
        let from = *self.at.get(&u64::from(line))?;
        let row = Row::decode(&mut self.bytes.get(from..)?).ok()?;
        if row.person != person || row.reference != reference || row.reject.is_some() {
            return None;
        }
        self.at.remove(&u64::from(line));
        Some(row)
    }

    /// What is left, by line.
    pub(super) fn left(&self) -> Result<Vec<Row<'_>>, ReportError> {
        let mut left: Vec<(u64, usize)> = self.at.iter().map(|(line, at)| (*line, *at)).collect();
        left.sort_unstable();
        let row = |(_, at): (u64, usize)| Row::decode(&mut self.bytes.get(at..).unwrap_or_default());
        Ok(left.into_iter().map(row).collect::<Result<_, _>>().map_err(torn)?)
    }
}

impl<'a> Row<'a> {
    fn decode(from: &mut &'a [u8]) -> Result<Self, Damage> {
        let line = get(from)?;
        let (kind, rest) = from.split_first().ok_or(Damage)?;
        *from = rest;
        let (mut person, mut reference, mut reject) = (0, "", None);
        if *kind == 0 {
            let (bytes, rest) = from.split_first_chunk::<8>().ok_or(Damage)?;
            *from = rest;
            person = u64::from_le_bytes(*bytes);
            reference = text(from)?;
        } else {
            reject = Some((text(from)?, text(from)?));
        }
        let length = usize::try_from(get(from)?).map_err(|_| Damage)?;
        let (fields, rest) = from.split_at_checked(length).ok_or(Damage)?;
        *from = rest;
        Ok(Self { line, person, reference, reject, fields })
    }

    /// Its fields as text; what is not UTF-8 is marked.
    pub(super) fn fields(&self) -> impl Iterator<Item = std::borrow::Cow<'a, str>> {
        let mut rest = self.fields;
        std::iter::from_fn(move || {
            let length = usize::try_from(get(&mut rest).ok()?).ok()?;
            let (field, behind) = rest.split_at_checked(length)?;
            rest = behind;
            Some(String::from_utf8_lossy(field))
        })
    }
}

fn key(dedup: DedupKey, person: u64, reference: &str) -> (u64, Box<str>) {
    (person, if dedup == DedupKey::PersonRef { reference.into() } else { "".into() })
}

fn put_fields(record: RawRecord<'_>, columns: usize, out: &mut Vec<u8>) {
    let mut fields = Vec::new();
    for field in record.fields().take(columns) {
        put(field.len() as u64, &mut fields);
        fields.extend_from_slice(field);
    }
    put(fields.len() as u64, out);
    out.extend_from_slice(&fields);
}

fn torn(_: Damage) -> io::Error {
    io::Error::other("what was set aside on disk does not come back as it was")
}

fn beside(file: &Path, end: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(end);
    name.into()
}

/// Line, code and reason stand in the last three columns. A file that is not there has nothing to say.
fn read_words(
    path: &Path,
    delimiter: u8,
    state: &'static str,
    words: &mut HashMap<u64, Fate>,
) -> Result<(), ReportError> {
    let unreadable = |source| ReportError::Original { path: path.to_owned(), source };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(unreadable(error)),
    };
    let mut reader = csv::ReaderBuilder::new().delimiter(delimiter).flexible(true).from_reader(file);
    let mut record = csv::ByteRecord::new();
    while reader.read_byte_record(&mut record).map_err(|error| unreadable(io::Error::other(error)))? {
        let words_of = |at: usize| record.len().checked_sub(at).and_then(|at| record.get(at));
        let text_of = |at: usize| words_of(at).map(|text| String::from_utf8_lossy(text).into_owned());
        let (Some(line), Some(code), Some(reason)) = (text_of(3), text_of(2), text_of(1)) else {
            continue;
        };
        if words.len() >= WORDS_MAX {
            return Ok(());
        }
        if let Ok(line) = line.parse() {
            words.insert(line, Fate { state, code, reason });
        }
    }
    Ok(())
}
