//! Recipients from a spreadsheet: one sheet of an XLSX, whose first row names the columns.
//!
//! Cells are read as a stream in a thread of their own, so memory holds the shared texts and a few rows. A formula counts
//! as its saved result; without one its row is rejected. Dates come out as `aaaa-mm-dd`, numbers as their column reads
//! them. A file is checked against bounds before anything is opened ([`scan`]).

use std::fmt;
use std::io::{Read, Seek};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use calamine::{DataRef, Reader, Xlsx, XlsxError};
use crossbeam::channel::{Receiver, Sender, bounded};

use super::cells::Cells;
use super::checks::{RecordFault, RowChecks, Scratch};
use super::csv::header::Header;
use super::csv::{COLUMNS_MAX, InputError, Layout};
use super::row::{Outcome, RawRecord, RowError, Span};
use crate::domain::campaign::Campaign;
use crate::domain::format::Format;

pub mod scan;

/// Rows in a batch, and batches that wait.
const BATCH_ROWS: usize = 64;
const BATCHES: usize = 4;

/// Reads the rows of one sheet for one campaign.
pub struct XlsxReader {
    rows: Receiver<Result<Vec<Record>, InputError>>,
    batch: std::vec::IntoIter<Record>,
    current: Record,
    read: Arc<Counted>,
    pub(super) checks: RowChecks,
    scratch: Scratch,
}

/// One row of the sheet.
#[derive(Debug, Default)]
struct Record {
    line: u64,
    text: String,
    spans: Vec<Span>,
    fault: Option<RecordFault>,
}

/// Rows the sheet says it has, and bytes read of the file.
#[derive(Debug, Default)]
struct Counted {
    bytes: AtomicU64,
    rows: AtomicU64,
}

/// The first row with anything in it: its number and its texts.
type Heading = (u64, Vec<String>);

impl XlsxReader {
    /// Checks the file, reads the header of the sheet (the first one unless named) and checks that it has what `campaign`
    /// needs.
    pub fn new<F: Read + Seek + Send + 'static>(
        mut file: F,
        sheet: Option<&str>,
        campaign: &Campaign,
    ) -> Result<Self, InputError> {
        scan::scan(&mut file)?;
        let read = Arc::new(Counted::default());
        let (to_heading, heading) = bounded(1);
        let (to_formats, formats) = bounded(1);
        let (to_rows, rows) = bounded(BATCHES);
        let worker = Worker { heading: to_heading, formats, rows: to_rows, counted: read.clone() };
        let (sheet, counting) = (sheet.map(str::to_owned), Counting { file, counted: read.clone() });
        std::thread::Builder::new()
            .name("xlsx".to_owned())
            .spawn(move || worker.run(counting, sheet.as_deref()))?;
        // A thread that ends without a word was stopped by damage that the library does not expect.
        let damaged = |_| InputError::Xlsx { what: "it is damaged".to_owned() };
        let (line, columns): Heading = heading.recv().map_err(damaged)??;
        if columns.len() > COLUMNS_MAX {
            return Err(InputError::TooManyColumns { found: columns.len() });
        }
        let checks = RowChecks::new(Header::of_columns(columns, line, campaign)?, campaign);
        // If the thread is gone, the first row says so.
        drop(to_formats.send(checks.column_formats()));
        Ok(Self {
            rows,
            batch: Vec::new().into_iter(),
            current: Record::default(),
            read,
            checks,
            scratch: Scratch::new(campaign),
        })
    }

    /// The next row, good or rejected; None at the end.
    pub fn next_row(&mut self) -> Result<Option<Outcome<'_>>, InputError> {
        self.current = loop {
            if let Some(record) = self.batch.next() {
                break record;
            }
            let damaged = |_| InputError::Xlsx { what: "it is damaged".to_owned() };
            let batch = self.rows.recv().map_err(damaged)??;
            if batch.is_empty() {
                return Ok(None);
            }
            self.batch = batch.into_iter();
        };
        let Record { line, text, spans, fault } = &self.current;
        let record = RawRecord { bytes: text.as_bytes(), spans };
        Ok(Some(self.checks.outcome(*line, *fault, record, &mut self.scratch)))
    }

    /// Bytes of the file that were read.
    pub fn bytes_read(&self) -> u64 {
        self.read.bytes.load(Ordering::Relaxed)
    }

    /// Rows that the sheet says it has.
    pub fn rows_expected(&self) -> u64 {
        self.read.rows.load(Ordering::Relaxed)
    }

    /// The columns.
    pub fn layout(&self) -> &Layout {
        self.checks.layout()
    }
}

impl fmt::Debug for XlsxReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("XlsxReader").finish_non_exhaustive()
    }
}

/// Counts the bytes that are read from a file.
struct Counting<F> {
    file: F,
    counted: Arc<Counted>,
}

impl<F: Read> Read for Counting<F> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.file.read(buffer)?;
        self.counted.bytes.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

impl<F: Seek> Seek for Counting<F> {
    fn seek(&mut self, to: std::io::SeekFrom) -> std::io::Result<u64> {
        self.file.seek(to)
    }
}

/// The thread that reads cells.
struct Worker {
    heading: Sender<Result<Heading, InputError>>,
    formats: Receiver<Vec<Format>>,
    rows: Sender<Result<Vec<Record>, InputError>>,
    counted: Arc<Counted>,
}

impl Worker {
    /// Ends early when nobody listens any more.
    fn run<F: Read + Seek>(&self, file: F, sheet: Option<&str>) {
        if let Err(error) = self.read(file, sheet) {
            // Whichever of both is waited for.
            let again = InputError::Xlsx { what: error.to_string() };
            drop(self.heading.try_send(Err(error)));
            drop(self.rows.send(Err(again)));
        }
    }

    fn read<F: Read + Seek>(&self, file: F, sheet: Option<&str>) -> Result<(), InputError> {
        let mut book = Xlsx::new(file).map_err(damaged)?;
        let names = book.sheet_names();
        let name =
            match sheet {
                None => names
                    .first()
                    .cloned()
                    .ok_or_else(|| InputError::Xlsx { what: "it has no sheet".to_owned() })?,
                Some(sheet) => names.iter().find(|name| *name == sheet).cloned().ok_or_else(|| {
                    InputError::NoSheet { sheet: sheet.to_owned(), sheets: names.join(", ") }
                })?,
            };
        let mut cells = book.worksheet_cells_reader(&name).map_err(damaged)?;
        let (first, last) = (cells.dimensions().start.0, cells.dimensions().end.0);
        self.counted.rows.store(u64::from(last.saturating_sub(first)), Ordering::Relaxed);

        let mut heading: Heading = (0, Vec::new());
        let mut formats = None;
        let mut record: Option<(u64, Cells)> = None;
        let mut batch = Vec::with_capacity(BATCH_ROWS);
        while let Some(cell) = cells.next_cell_with_formula_metadata().map_err(damaged)? {
            let (line, column) = (u64::from(cell.pos.0) + 1, cell.pos.1 as usize);
            let unsaved = cell.formula.is_some() && cell.value == DataRef::Empty;
            if formats.is_none() {
                if heading.1.is_empty() && cell.value == DataRef::Empty {
                    continue;
                }
                if heading.1.is_empty() || heading.0 == line {
                    heading.0 = line;
                    name_column(&mut heading.1, column, &cell.value)?;
                    continue;
                }
                let Some(found) = self.begin(std::mem::take(&mut heading))? else { return Ok(()) };
                formats = Some(found);
            }
            let Some(formats) = &formats else { continue };
            let (at, cells) = record.get_or_insert_with(|| (line, Cells::new(formats.clone())));
            if *at != line {
                finish(*at, cells, &mut batch);
                *at = line;
                if batch.len() >= BATCH_ROWS && self.rows.send(Ok(std::mem::take(&mut batch))).is_err() {
                    return Ok(());
                }
            }
            if column < formats.len() {
                put(cells, column, &cell.value, unsaved);
            } else if cell.value != DataRef::Empty {
                let (found, expected) = (column + 1, formats.len());
                cells.refuse(RowError::FieldCount { found, expected }, None);
            }
        }
        if formats.is_none() && self.begin(heading)?.is_none() {
            return Ok(());
        }
        if let Some((line, mut cells)) = record {
            finish(line, &mut cells, &mut batch);
        }
        if !batch.is_empty() {
            drop(self.rows.send(Ok(batch)));
        }
        drop(self.rows.send(Ok(Vec::new())));
        Ok(())
    }

    /// Gives the heading out and waits for the formats of its columns; None when it was refused.
    fn begin(&self, heading: Heading) -> Result<Option<Vec<Format>>, InputError> {
        if heading.1.is_empty() {
            return Err(InputError::Empty);
        }
        drop(self.heading.send(Ok(heading)));
        Ok(self.formats.recv().ok())
    }
}

/// A row that holds anything goes into the batch.
fn finish(line: u64, cells: &mut Cells, batch: &mut Vec<Record>) {
    if cells.is_blank() {
        return cells.clear();
    }
    let (text, spans, fault) = cells.take();
    batch.push(Record { line, text, spans, fault });
}

fn name_column(columns: &mut Vec<String>, column: usize, value: &DataRef<'_>) -> Result<(), InputError> {
    if *value == DataRef::Empty {
        return Ok(());
    }
    if column >= COLUMNS_MAX {
        return Err(InputError::TooManyColumns { found: column + 1 });
    }
    let mut cells = Cells::new(vec![Format::Text]);
    put(&mut cells, 0, value, false);
    if columns.len() <= column {
        columns.resize(column + 1, String::new());
    }
    columns[column] = cells.take().0;
    Ok(())
}

fn put(cells: &mut Cells, column: usize, value: &DataRef<'_>, unsaved: bool) {
    match value {
        DataRef::Empty if unsaved => cells.refuse(RowError::NoResult, Some(column)),
        DataRef::Empty => {}
        DataRef::String(text) | DataRef::DateTimeIso(text) | DataRef::DurationIso(text) => {
            cells.text(column, text);
        }
        DataRef::SharedString(text) => cells.text(column, text),
        DataRef::Int(value) => cells.integer(column, *value),
        DataRef::Float(value) => cells.number(column, *value),
        DataRef::Bool(value) => cells.text(column, if *value { "true" } else { "false" }),
        DataRef::Error(_) => cells.refuse(RowError::CellError, Some(column)),
        DataRef::DateTime(moment) if moment.is_datetime() => {
            let (year, month, day, hour, minute, second, _) = moment.to_ymd_hms_milli();
            let mut text = format!("{year:04}-{month:02}-{day:02}");
            if (hour, minute, second) != (0, 0, 0) {
                text.push_str(&format!(" {hour:02}:{minute:02}:{second:02}"));
            }
            cells.text(column, &text);
        }
        DataRef::DateTime(duration) => cells.number(column, duration.as_f64()),
    }
}

fn damaged(error: XlsxError) -> InputError {
    match error {
        XlsxError::Password => InputError::Xlsx { what: "it is protected by a password".to_owned() },
        XlsxError::Io(error) => InputError::Unreadable(error),
        // The library's words may quote the file; what is damaged is not said, so that no value is.
        _ => InputError::Xlsx {
            what: "it is damaged, or no XLSX; open it in a spreadsheet program and save it".to_owned(),
        },
    }
}
