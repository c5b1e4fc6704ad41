//! Recipients as NDJSON: one object per line, whose keys are the columns. The keys of the first object are those of the
//! file; what a later object has besides them is passed over, what it lacks is empty.
//!
//! A line is at most [`RECORD_MAX_BYTES`] long; memory is bounded whatever the stream holds.

use std::fmt;
use std::io::{self, Read};

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::cells::Cells;
use super::checks::{RowChecks, Scratch};
use super::csv::header::Header;
use super::csv::{COLUMNS_MAX, InputError, Layout, RECORD_MAX_BYTES};
use super::encoding::Decoded;
use super::row::{Outcome, RowError};
use crate::domain::campaign::Campaign;

/// Room for the longest line and a large read behind it.
const BUFFER_BYTES: usize = 4 * RECORD_MAX_BYTES;

/// How much of a line that is no object is shown.
const SHOWN_BYTES: usize = 1024;

/// Whole numbers of so many zeros at the end were most likely rounded by a spreadsheet.
const ROUNDED_TO: f64 = 100_000.0;
const ROUNDED_FROM: f64 = 10_000_000_000.0;

/// Reads the objects of one file for one campaign.
pub struct NdjsonReader<R> {
    lines: Lines<R>,
    /// The first line, read for its keys and not yet given out.
    first: bool,
    columns: Vec<String>,
    cells: Cells,
    pub(super) checks: RowChecks,
    scratch: Scratch,
}

/// Cuts a stream into lines.
struct Lines<R> {
    source: Decoded<R>,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    at_end: bool,
    line: u64,
    /// Where the line lies that was cut last, and how many line ends it took.
    cut: (usize, usize),
}

impl<R: Read> NdjsonReader<R> {
    /// Reads the first object of `source` and checks that it has what `campaign` needs.
    pub fn new(source: Decoded<R>, campaign: &Campaign) -> Result<Self, InputError> {
        let mut lines = Lines::new(source);
        let (line, whole) = lines.next()?.ok_or(InputError::Empty)?;
        let bytes = lines.bytes();
        if bytes.trim_ascii_start().starts_with(b"[") {
            return Err(InputError::JsonArray);
        }
        let keys = whole.then(|| serde_json::from_slice::<Keys>(bytes).ok()).flatten();
        let columns = keys.ok_or(InputError::NotNdjson { line })?.0;
        if columns.len() > COLUMNS_MAX {
            return Err(InputError::TooManyColumns { found: columns.len() });
        }
        let header = Header::of_columns(columns.clone(), line, campaign)?;
        let checks = RowChecks::new(header, campaign);
        let cells = Cells::new(checks.column_formats());
        Ok(Self { lines, first: true, columns, cells, checks, scratch: Scratch::new(campaign) })
    }

    /// The next row, good or rejected; None at the end.
    pub fn next_row(&mut self) -> Result<Option<Outcome<'_>>, InputError> {
        let next = if std::mem::take(&mut self.first) {
            Some((self.lines.line - 1, true))
        } else {
            self.lines.next()?
        };
        let Some((line, whole)) = next else { return Ok(None) };
        self.cells.clear();
        let bytes = self.lines.bytes();
        if !whole {
            self.cells.refuse(RowError::RecordTooLong, None);
        } else if std::str::from_utf8(bytes).is_err() {
            self.cells.text(0, &String::from_utf8_lossy(&bytes[..bytes.len().min(SHOWN_BYTES)]));
            self.cells.refuse(RowError::NotUtf8, None);
        } else {
            let mut json = serde_json::Deserializer::from_slice(bytes);
            let object = Object { columns: &self.columns, cells: &mut self.cells };
            if object.deserialize(&mut json).and_then(|()| json.end()).is_err() {
                // What it is instead is shown to whoever corrects it.
                self.cells.clear();
                self.cells.text(0, &String::from_utf8_lossy(&bytes[..bytes.len().min(SHOWN_BYTES)]));
                self.cells.refuse(RowError::NotJson, None);
            }
        }
        let fault = self.cells.fault();
        Ok(Some(self.checks.outcome(line, fault, self.cells.record(), &mut self.scratch)))
    }

    /// Bytes of the file that were read.
    pub fn bytes_read(&self) -> u64 {
        self.lines.source.bytes_read()
    }

    /// Rows that a file of so many bytes should have, judged by its beginning.
    pub fn rows_expected(&self, size: u64) -> u64 {
        let ahead = &self.lines.buffer[..self.lines.end];
        let lines = ahead.iter().filter(|byte| **byte == b'\n').count() as u64;
        size.saturating_mul(lines.max(1)) / (ahead.len() as u64).max(1)
    }

    /// The columns.
    pub fn layout(&self) -> &Layout {
        self.checks.layout()
    }
}

impl<R> fmt::Debug for NdjsonReader<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NdjsonReader").finish_non_exhaustive()
    }
}

impl<R: Read> Lines<R> {
    fn new(source: Decoded<R>) -> Self {
        Self { source, buffer: vec![0; BUFFER_BYTES], start: 0, end: 0, at_end: false, line: 1, cut: (0, 0) }
    }

    /// The bytes of the line that was cut last.
    fn bytes(&self) -> &[u8] {
        let bytes = &self.buffer[self.cut.0..self.cut.1];
        bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes)
    }

    /// The next line that is not blank: its number, and whether it is within the bound.
    fn next(&mut self) -> io::Result<Option<(u64, bool)>> {
        loop {
            let ahead = &self.buffer[self.start..self.end];
            let newline = ahead.iter().position(|byte| *byte == b'\n');
            if newline.is_none() && !self.at_end && ahead.len() <= RECORD_MAX_BYTES {
                self.fill()?;
                continue;
            }
            let length = newline.unwrap_or(ahead.len());
            if newline.is_none() && ahead.is_empty() {
                return Ok(None);
            }
            let line = self.line;
            self.line += 1;
            if length > RECORD_MAX_BYTES {
                self.skip_line()?;
                self.cut = (0, 0);
                return Ok(Some((line, false)));
            }
            self.cut = (self.start, self.start + length);
            self.start += length + usize::from(newline.is_some());
            if !self.bytes().trim_ascii().is_empty() {
                return Ok(Some((line, true)));
            }
        }
    }

    fn skip_line(&mut self) -> io::Result<()> {
        loop {
            let ahead = &self.buffer[self.start..self.end];
            if ahead.contains(&b'\n') {
                self.start += ahead.iter().position(|byte| *byte == b'\n').map_or(ahead.len(), |at| at + 1);
                return Ok(());
            }
            self.start = self.end;
            if self.at_end {
                return Ok(());
            }
            self.fill()?;
        }
    }

    fn fill(&mut self) -> io::Result<()> {
        self.buffer.copy_within(self.start..self.end, 0);
        (self.start, self.end) = (0, self.end - self.start);
        let read = loop {
            match self.source.read(&mut self.buffer[self.end..]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read?,
            }
        };
        self.at_end = read == 0;
        self.end += read;
        Ok(())
    }
}

/// The keys of an object, in order.
struct Keys(Vec<String>);

impl<'de> serde::Deserialize<'de> for Keys {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OfObject;
        impl<'de> Visitor<'de> for OfObject {
            type Value = Keys;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Keys, M::Error> {
                let mut keys = Vec::new();
                while let Some(key) = map.next_key::<String>()? {
                    map.next_value::<IgnoredAny>()?;
                    keys.push(key);
                }
                Ok(Keys(keys))
            }
        }
        deserializer.deserialize_map(OfObject)
    }
}

/// An object whose values go into cells.
struct Object<'a> {
    columns: &'a [String],
    cells: &'a mut Cells,
}

impl<'de> DeserializeSeed<'de> for Object<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Object<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<(), M::Error> {
        // Most objects have the same keys in the same order, so each is looked for where it should be first.
        let mut expected = 0;
        while let Some(column) = map.next_key_seed(Column { columns: self.columns, expected })? {
            expected = column.map_or(expected, |column| column + 1);
            map.next_value_seed(Cell { column, cells: self.cells })?;
        }
        Ok(())
    }
}

struct Column<'a> {
    columns: &'a [String],
    expected: usize,
}

impl<'de> DeserializeSeed<'de> for Column<'_> {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Option<usize>, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Column<'_> {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<Option<usize>, E> {
        if self.columns.get(self.expected).is_some_and(|column| column == key) {
            return Ok(Some(self.expected));
        }
        Ok(self.columns.iter().position(|column| column == key))
    }
}

struct Cell<'a> {
    column: Option<usize>,
    cells: &'a mut Cells,
}

impl<'de> DeserializeSeed<'de> for Cell<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        match self.column {
            Some(_) => deserializer.deserialize_any(self),
            None => deserializer.deserialize_ignored_any(IgnoredAny).map(|_| ()),
        }
    }
}

impl Cell<'_> {
    fn put(self, put: impl FnOnce(&mut Cells, usize)) {
        if let Some(column) = self.column {
            put(self.cells, column);
        }
    }
}

impl<'de> Visitor<'de> for Cell<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        self.put(|cells, column| cells.text(column, text));
        Ok(())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<(), E> {
        self.put(|cells, column| cells.integer(column, value));
        Ok(())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<(), E> {
        self.put(|cells, column| cells.text(column, &value.to_string()));
        Ok(())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<(), E> {
        self.put(|cells, column| {
            if value.abs() >= ROUNDED_FROM && value % ROUNDED_TO == 0.0 {
                // `5.51199E+12` was a phone once; as a number it would look like one again.
                cells.text(column, &format!("{value:E}"));
            } else {
                cells.number(column, value);
            }
        });
        Ok(())
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<(), E> {
        self.put(|cells, column| cells.text(column, if value { "true" } else { "false" }));
        Ok(())
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        self.put(|cells, column| cells.text(column, ""));
        Ok(())
    }

    fn visit_seq<S: SeqAccess<'de>>(self, mut list: S) -> Result<(), S::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        self.put(|cells, column| cells.refuse(RowError::Nested, Some(column)));
        Ok(())
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<(), M::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        self.put(|cells, column| cells.refuse(RowError::Nested, Some(column)));
        Ok(())
    }
}
