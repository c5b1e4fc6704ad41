//! The rejects file: every rejected row in the input's own columns, delimiter and encoding, with the line, a code and the
//! reason behind them, so that it can be corrected and loaded again.
//!
//! It holds personal data: it is created at the first reject only, readable by its owner alone. A file of an earlier load
//! at the same place is kept beside it under the same name with `~`, since somebody may be correcting it.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::csv::{Layout, REJECT_COLUMNS};
use super::row::Reject;

/// Why rejects cannot be written down.
#[derive(Debug, thiserror::Error)]
#[error("cannot write the rejects file {}: {source}", path.display())]
pub struct RejectError {
    /// Where it should be.
    pub path: PathBuf,
    /// The system's reason.
    pub source: io::Error,
}

/// Writes the rejects of one load.
#[derive(Debug)]
pub struct RejectWriter {
    path: PathBuf,
    layout: Layout,
    file: Option<csv::Writer<BufWriter<File>>>,
    rows: u64,
}

impl RejectWriter {
    /// Writes to `path`, once there is something to write.
    pub fn new(path: PathBuf, layout: Layout) -> Self {
        Self { path, layout, file: None, rows: 0 }
    }

    /// Where the rejects of `input` go unless told otherwise: `<input>.rejects.csv`.
    pub fn path_beside(input: &Path) -> PathBuf {
        let mut name = input.as_os_str().to_owned();
        name.push(".rejects.csv");
        name.into()
    }

    /// Writes one row.
    pub fn write(&mut self, reject: &Reject<'_>) -> Result<(), RejectError> {
        self.try_write(reject).map_err(|source| self.error(source))
    }

    /// Rows written so far.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Writes out what is buffered; the path, if there were rejects.
    pub fn finish(mut self) -> Result<Option<PathBuf>, RejectError> {
        let Some(mut file) = self.file.take() else {
            return Ok(None);
        };
        file.flush().map_err(|source| self.error(source))?;
        Ok(Some(self.path))
    }

    fn try_write(&mut self, reject: &Reject<'_>) -> io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            None => self.file.insert(create(&self.path, &self.layout)?),
        };
        let fields: Vec<_> = reject.record.fields().collect();
        for field in own_fields(&fields, &self.layout) {
            file.write_field(field)?;
        }
        file.write_field(reject.line.to_string())?;
        file.write_field(reject.reason_code())?;
        file.write_field(reject.reason())?;
        file.write_record(None::<&[u8]>)?;
        self.rows += 1;
        Ok(())
    }

    fn error(&self, source: io::Error) -> RejectError {
        RejectError { path: self.path.clone(), source }
    }
}

/// The fields without those that an earlier rejects file added. A row with a wrong number of fields keeps its own
/// number, so that it cannot pass uncorrected.
pub(super) fn own_fields<'a>(fields: &'a [&'a [u8]], layout: &Layout) -> &'a [&'a [u8]] {
    let [own @ .., line, code, _] = fields else {
        return fields;
    };
    let is_line = !line.is_empty() && line.iter().all(u8::is_ascii_digit);
    let is_code =
        !code.is_empty() && code.iter().all(|byte| byte.is_ascii_lowercase() || matches!(byte, b'_' | b'8'));
    let is_whole = fields.len() == layout.columns.len() + REJECT_COLUMNS.len();
    if layout.is_rejects && (is_whole || (is_line && is_code)) { own } else { fields }
}

fn create(path: &Path, layout: &Layout) -> io::Result<csv::Writer<BufWriter<File>>> {
    if path.try_exists()? {
        let mut kept = path.as_os_str().to_owned();
        kept.push("~");
        std::fs::rename(path, kept)?;
    }
    create_beside(path, layout, &REJECT_COLUMNS)
}

/// A file of the input's columns and `more`, readable by its owner alone. There may be none yet.
pub(super) fn create_beside(
    path: &Path,
    layout: &Layout,
    more: &[&str],
) -> io::Result<csv::Writer<BufWriter<File>>> {
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    let mut file = BufWriter::new(file);
    if layout.bom {
        file.write_all(b"\xef\xbb\xbf")?;
    }
    let mut file = csv::WriterBuilder::new().delimiter(layout.delimiter).flexible(true).from_writer(file);
    let columns = layout.columns.iter().map(String::as_str);
    file.write_record(columns.chain(more.iter().copied()))?;
    Ok(file)
}
