//! The recipients of a load as a stream: opened, header checked, size guessed; and where their rejects go.

use std::fmt;
use std::fs::File;
use std::io::{self, Cursor, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::super::exit::CliError;
use super::LoadArgs;
use crate::domain::campaign::Campaign;
use crate::intake::csv::{InputError, RowReader};
use crate::intake::reject::RejectWriter;

/// The recipients, with the beginning read ahead: its header is checked, and its rows tell how many will come.
pub struct Input {
    /// All of its bytes.
    pub source: Box<dyn Read + Send>,
    /// Size in bytes, if it is a file.
    pub size: Option<u64>,
    /// Rows expected, from the size and the rows seen.
    pub rows: Option<u64>,
}

/// Where rejects go. They may not overwrite the input, nor push an older rejects file over it.
pub fn rejects_path(args: &LoadArgs) -> Result<PathBuf, CliError> {
    let from_stdin = args.file == Path::new("-");
    let rejects = match &args.rejects {
        Some(path) => path.clone(),
        None if from_stdin => PathBuf::from(format!("{}.rejects.csv", args.id)),
        None => RejectWriter::path_beside(&args.file),
    };
    let same = |one: &Path| {
        let (one, input) = (std::fs::metadata(one).ok()?, std::fs::metadata(&args.file).ok()?);
        ((one.dev(), one.ino()) == (input.dev(), input.ino())).then_some(())
    };
    let mut kept = rejects.as_os_str().to_owned();
    kept.push("~");
    if !from_stdin && (same(&rejects).is_some() || same(Path::new(&kept)).is_some()) {
        let message =
            format!("the rejects file {} would overwrite the input; nothing was loaded", rejects.display());
        return Err(CliError::usage("rejects_is_input", message)
            .field("--rejects")
            .hint("name another file with --rejects"));
    }
    Ok(rejects)
}

/// Opens the recipients and checks their header.
pub fn open(path: &Path, campaign: &Campaign) -> Result<Input, CliError> {
    let (source, size): (Box<dyn Read + Send>, _) = if path == Path::new("-") {
        (Box::new(io::stdin()), None)
    } else {
        let file = File::open(path).map_err(InputError::Unreadable)?;
        let metadata = file.metadata().map_err(InputError::Unreadable)?;
        let size = metadata.is_file().then_some(metadata.len());
        (Box::new(file), size)
    };
    let mut ahead = Ahead { source, seen: Vec::new() };
    RowReader::new(&mut ahead, campaign)?;
    let lines = ahead.seen.iter().filter(|byte| **byte == b'\n').count().max(1) as u64;
    let rows = size.map(|size| size.saturating_mul(lines) / (ahead.seen.len() as u64).max(1));
    Ok(Input { source: Box::new(Cursor::new(ahead.seen).chain(ahead.source)), size, rows })
}

/// Keeps what was read, so that it can be read again. The header's reader asks for at most a few records.
struct Ahead {
    source: Box<dyn Read + Send>,
    seen: Vec<u8>,
}

impl Read for Ahead {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.source.read(buffer)?;
        self.seen.extend_from_slice(&buffer[..read]);
        Ok(read)
    }
}

impl fmt::Debug for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Input").field("size", &self.size).field("rows", &self.rows).finish_non_exhaustive()
    }
}
