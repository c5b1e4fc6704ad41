//! The journal: what was begun, what Meta answered, which receipts came, and who changed what, as evidence for months later.
//!
//! It is a folder of files that only grow and that only their owner reads. Each thread that has something to say writes a
//! segment of its own, without locks; a closed segment is compressed and kept for `journal.keep`. It holds ids of messages,
//! never a phone, a name or an amount as such (Meta's own id of a message, the `wamid`, is kept as Meta gave it). It is
//! evidence and never the truth for sending: Redis says how far a message got. What is not here is either older than
//! `keep` or was never begun; [`gaps`] says whether files are missing in between.
//!
//! ```text
//!  engine thread ─► Journal::stage … commit (one write(2)) ─► 0180…-shard0-000001.ctj ─ full, old ─► Keeper ─► ….ctj.zst
//!  command line ──► operators::append (one file a day, locked) ─► operators-20261122.ctj
//!  report, why, journal show ◄─ scan ◄─ both
//! ```
//!
//! Files: `entry` what is said, in bytes · `segment` frames, heads and names · `writer` one file · `keeper` compression and
//! age · `reader` everything back · `operators` who did what · `evidence` what a dead process never began.

pub mod entry;
mod evidence;
mod keeper;
pub mod operators;
mod reader;
mod segment;
mod writer;

use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

pub use entry::{Entry, Outcome, Status};
pub use evidence::{SHARD, Started, Witness};
pub use keeper::Keeper;
pub use reader::{Scanned, Wanted, gaps, scan};
pub use segment::Head;
pub use writer::Journal;

/// The counter of starts in the journal's folder.
const STARTS: &str = "starts";

/// Why the journal cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// Writing failed; nothing of the batch counts as written.
    #[error("cannot write the journal {}: {source}; make room on its disk, or check who may write there", path.display())]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// Reading failed.
    #[error("cannot read the journal {}: {source}", path.display())]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A file that is none of ours, or of a newer version.
    #[error("{} is no journal that this program can read: {what}", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: &'static str,
    },
}

/// Where and as whom a process writes. Cheap to clone; every [`Journal`] of the process has one.
#[derive(Clone, Debug)]
pub struct Place {
    pub(crate) dir: PathBuf,
    pub(crate) installation: String,
    pub(crate) node: String,
    pub(crate) start: u64,
    pub(crate) boot: [u8; 16],
    pub(crate) segment_bytes: u64,
    pub(crate) segment_age: Duration,
    pub(crate) closed: Option<mpsc::Sender<keeper::Order>>,
}

impl Place {
    /// Makes the folder if need be and takes the next number of a start, so that a missing start is seen.
    pub fn start(
        dir: &Path,
        (installation, node): (&str, &str),
        (segment_bytes, segment_age): (u64, Duration),
    ) -> Result<Self, JournalError> {
        make_folder(dir)?;
        let path = dir.join(STARTS);
        let start = next_start(&path).map_err(|source| JournalError::Write { path, source })?;
        Ok(Self {
            dir: dir.to_owned(),
            installation: installation.to_owned(),
            node: node.to_owned(),
            start,
            boot: boot_id(),
            segment_bytes,
            segment_age,
            closed: None,
        })
    }

    /// Tells this keeper about closed segments.
    #[must_use]
    pub fn kept_by(mut self, keeper: &Keeper) -> Self {
        self.closed = Some(keeper.orders());
        self
    }
}

/// Whether anything about messages is in the folder; an operator's deeds are written in any case.
pub fn holds_attempts(dir: &Path) -> bool {
    let sends =
        |name: &str| (name.ends_with(".ctj") || name.ends_with(".ctj.zst")) && !name.starts_with("operators");
    let mut files = std::fs::read_dir(dir).into_iter().flatten().flatten();
    files.any(|file| sends(&file.file_name().to_string_lossy()))
}

/// Makes the journal's folder, for its owner alone.
pub(crate) fn make_folder(dir: &Path) -> Result<(), JournalError> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(dir);
    made.map_err(|source| JournalError::Write { path: dir.to_owned(), source })
}

/// Which boot of the machine this is: after another one, absence from the journal proves nothing, since the last
/// writes may have been lost with the machine's memory.
fn boot_id() -> [u8; 16] {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let digit = |byte: u8| (byte as char).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let digits: Vec<u8> = text.bytes().filter_map(digit).collect();
    let mut id = [0; 16];
    for (byte, pair) in id.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = pair[0] << 4 | pair[1];
    }
    id
}

fn next_start(path: &Path) -> io::Result<u64> {
    let mut options = OpenOptions::new();
    let mut file = options.read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
    file.lock()?;
    let mut text = String::new();
    (&mut file).take(64).read_to_string(&mut text)?;
    // A counter that cannot be read begins anew: a gap is then seen where none is, never the other way round.
    let next = text.trim().parse::<u64>().unwrap_or(0) + 1;
    file.seek(SeekFrom::Start(0))?;
    file.write_all(format!("{next:020}\n").as_bytes())?;
    file.sync_all()?;
    Ok(next)
}

#[cfg(test)]
mod tests;
