//! The duplicates file: every duplicate in the input's own columns, with its line, a code, and the line and the load that
//! it repeats.
//!
//! It holds personal data and is readable by its owner alone. It takes the place of the one of an earlier load.

use std::fs::File;
use std::io::{self, BufWriter};
use std::path::PathBuf;

use super::LoadError;
use crate::intake::csv::Layout;
use crate::intake::duplicates::Repeat;
use crate::intake::reject::{create_beside, own_fields};

/// The columns that it adds.
const COLUMNS: [&str; 4] = ["line", "code", "repeats_line", "repeats_load"];

/// Code of a row like the one that it repeats, and of one with other values.
const SAME: &str = "duplicate";
const DIFFERS: &str = "duplicate_differs";

/// What stands for the load that is running.
const THIS_LOAD: &str = "this";

/// Writes the duplicates of one load.
#[derive(Debug)]
pub(super) struct RepeatWriter {
    path: PathBuf,
    layout: Layout,
    /// When the loads of the campaign began, ascending; the last is this one.
    loads: Vec<u64>,
    file: Option<csv::Writer<BufWriter<File>>>,
}

impl RepeatWriter {
    /// Writes to `path`, once there is something to write.
    pub(super) fn new(path: PathBuf, layout: Layout, loads: Vec<u64>) -> Self {
        Self { path, layout, loads, file: None }
    }

    /// A row that repeats one of the same input.
    pub(super) fn here<'a>(
        &mut self,
        fields: impl Iterator<Item = &'a [u8]>,
        line: u64,
        repeat: Repeat,
    ) -> Result<(), LoadError> {
        self.write(fields, line, Some(repeat), THIS_LOAD)
    }

    /// A row that repeats one that was put in the queue at this time.
    pub(super) fn stored<'a>(
        &mut self,
        fields: impl Iterator<Item = &'a [u8]>,
        line: u64,
        repeat: Repeat,
        loaded_at_ms: u64,
    ) -> Result<(), LoadError> {
        let began = self.loads.partition_point(|began| *began <= loaded_at_ms);
        let load = match began {
            0 => String::new(),
            last if last == self.loads.len() => THIS_LOAD.to_owned(),
            earlier => began_at(self.loads[earlier - 1]),
        };
        self.write(fields, line, Some(repeat), &load)
    }

    /// A row that repeats one that is not found any more.
    pub(super) fn unknown<'a>(
        &mut self,
        fields: impl Iterator<Item = &'a [u8]>,
        line: u64,
    ) -> Result<(), LoadError> {
        self.write(fields, line, None, "")
    }

    /// Writes out what is buffered; the path, if there were duplicates.
    pub(super) fn finish(&mut self) -> Result<Option<PathBuf>, LoadError> {
        let Some(mut file) = self.file.take() else {
            return Ok(None);
        };
        file.flush().map_err(|source| self.error(source))?;
        Ok(Some(self.path.clone()))
    }

    /// A file without a name, for rows that wait to be explained.
    pub(super) fn spool(&self) -> Result<File, LoadError> {
        let mut path = self.path.clone().into_os_string();
        path.push(".waiting");
        let open = || {
            let _gone = std::fs::remove_file(&path);
            let mut options = File::options();
            std::os::unix::fs::OpenOptionsExt::mode(options.read(true).write(true).create_new(true), 0o600);
            let file = options.open(&path)?;
            std::fs::remove_file(&path)?;
            Ok(file)
        };
        open().map_err(|source| self.error(source))
    }

    pub(super) fn error(&self, source: io::Error) -> LoadError {
        LoadError::Duplicates { path: self.path.clone(), source }
    }

    fn write<'a>(
        &mut self,
        fields: impl Iterator<Item = &'a [u8]>,
        line: u64,
        repeat: Option<Repeat>,
        load: &str,
    ) -> Result<(), LoadError> {
        let fields: Vec<&[u8]> = fields.collect();
        self.try_write(&fields, line, repeat, load).map_err(|source| self.error(source))
    }

    fn try_write(
        &mut self,
        fields: &[&[u8]],
        line: u64,
        repeat: Option<Repeat>,
        load: &str,
    ) -> io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            None => {
                if self.path.try_exists()? {
                    std::fs::remove_file(&self.path)?;
                }
                self.file.insert(create_beside(&self.path, &self.layout, &COLUMNS)?)
            }
        };
        for field in own_fields(fields, &self.layout) {
            file.write_field(field)?;
        }
        file.write_field(line.to_string())?;
        file.write_field(if repeat.is_some_and(|repeat| repeat.differs) { DIFFERS } else { SAME })?;
        file.write_field(repeat.map(|repeat| repeat.line.to_string()).unwrap_or_default())?;
        file.write_field(load)?;
        file.write_record(None::<&[u8]>)?;
        Ok(())
    }
}

/// The beginning of a load, as people and programs read it.
fn began_at(wall_ms: u64) -> String {
    let at = i64::try_from(wall_ms).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    at.map(|at| at.to_string()).unwrap_or_default()
}
