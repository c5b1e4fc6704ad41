//! The keeper: a thread that compresses closed segments and removes those older than `journal.keep`.
//!
//! A minute after its start it takes care of what earlier processes left behind, whose torn tails it cuts off. A file that is
//! locked belongs to a writer and is left alone.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::{Duration, UNIX_EPOCH};

use super::reader::{Segment, files};
use super::segment::{Digest, Name, PACKED, PLAIN, packed_path};
use super::{JournalError, make_folder};
use crate::clock;

/// How often the age of files is looked at.
const ROUND: Duration = Duration::from_secs(3600);

/// What earlier processes left behind is looked at so long after the start at the earliest: one that was killed beside ours
/// finds in its files, as it left them, what it never began ([`super::Witness`]).
const FIRST_ROUND: Duration = Duration::from_secs(60);

/// Level of compression: entries are mostly small numbers, which the fast levels pack nearly as well.
const LEVEL: i32 = 3;

/// What a keeper is told.
#[derive(Debug)]
pub(crate) enum Order {
    /// A writer is done with this file.
    Closed(PathBuf),
    /// Enough.
    Stop,
}

/// A running keeper. It ends when it is dropped, after the file it is at.
#[derive(Debug)]
pub struct Keeper {
    orders: mpsc::Sender<Order>,
    thread: Option<JoinHandle<()>>,
}

impl Keeper {
    /// Starts the thread.
    pub fn start(dir: &Path, keep: Duration) -> Result<Self, JournalError> {
        make_folder(dir)?;
        let (orders, incoming) = mpsc::channel();
        let folder = dir.to_owned();
        let thread = std::thread::Builder::new().name("journal".to_owned()).spawn(move || {
            let mut next = clock::mono().after(FIRST_ROUND);
            loop {
                match incoming.recv_timeout(next.since(clock::mono())) {
                    Ok(Order::Closed(path)) => pack_or_say(&path),
                    Err(RecvTimeoutError::Timeout) => {
                        sweep(&folder, keep);
                        next = clock::mono().after(ROUND);
                    }
                    Ok(Order::Stop) | Err(RecvTimeoutError::Disconnected) => return,
                }
            }
        });
        let thread = thread.map_err(|source| JournalError::Write { path: dir.to_owned(), source })?;
        Ok(Self { orders, thread: Some(thread) })
    }

    pub(super) fn orders(&self) -> mpsc::Sender<Order> {
        self.orders.clone()
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        let _gone = self.orders.send(Order::Stop);
        if let Some(thread) = self.thread.take() {
            let _panicked = thread.join();
        }
    }
}

/// Compresses what nobody writes any more, and removes what is old.
pub(super) fn sweep(dir: &Path, keep: Duration) {
    let Ok(found) = files(dir).inspect_err(|error| tracing::warn!(%error, "the journal was not swept"))
    else {
        return;
    };
    let now = Duration::from_millis(clock::wall().0);
    for path in found {
        let is_old = last_change(&path).is_some_and(|changed| now.saturating_sub(changed) > keep);
        if is_old {
            match fs::remove_file(&path) {
                Ok(()) => {
                    tracing::info!(file = %path.display(), "a journal file is older than journal.keep and was removed")
                }
                Err(error) => {
                    tracing::warn!(file = %path.display(), %error, "an old journal file cannot be removed")
                }
            }
        } else if Name::parse(&path).is_some() && path.to_string_lossy().ends_with(PLAIN) {
            pack_or_say(&path);
        }
    }
    remove_drafts(dir, now);
}

fn last_change(path: &Path) -> Option<Duration> {
    fs::metadata(path).ok()?.modified().ok()?.duration_since(UNIX_EPOCH).ok()
}

/// Drafts of a keeper or writer that was killed: no living one needs as long.
fn remove_drafts(dir: &Path, now: Duration) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let is_old = last_change(&entry.path()).is_some_and(|changed| now.saturating_sub(changed) > ROUND);
        if is_old && entry.file_name().to_string_lossy().ends_with('~') {
            drop(fs::remove_file(entry.path()));
        }
    }
}

fn pack_or_say(path: &Path) {
    match pack(path) {
        Ok(0) => {}
        Ok(torn) => {
            tracing::warn!(file = %path.display(), torn, "the torn end of a journal file was cut off")
        }
        // It is tried again at the next sweep.
        Err(error) => tracing::warn!(file = %path.display(), %error, "a journal file was not compressed"),
    }
}

/// Compresses a file and removes the original. Returns the bytes of its torn end.
pub(super) fn pack(path: &Path) -> Result<u64, JournalError> {
    let unreadable = |source| JournalError::Read { path: path.to_owned(), source };
    let lock = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(unreadable(error)),
    };
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(0),
        Err(TryLockError::Error(error)) => return Err(unreadable(error)),
    }
    let mut digest = Digest { campaigns: Some(Vec::new()), last_ms: 0 };
    let good = match Segment::open(path) {
        Ok(mut segment) => {
            let noted = segment.read(|_, entry| {
                digest.add(entry.message().map(|message| message.lane.campaign), entry.at_ms());
                Ok(())
            });
            noted?;
            segment.offset()
        }
        // Killed before its head was whole: it says nothing.
        Err(JournalError::Foreign { .. }) => 0,
        Err(error) => return Err(error),
    };
    let size = lock.metadata().map_err(unreadable)?.len();
    let packed = packed_path(path);
    if good > 0 {
        compress(path, &packed, good, &digest)
            .map_err(|source| JournalError::Write { path: packed.clone(), source })?;
    }
    fs::remove_file(path).map_err(|source| JournalError::Write { path: path.to_owned(), source })?;
    debug_assert!(good == 0 || packed.to_string_lossy().ends_with(PACKED));
    Ok(size - good)
}

fn compress(from: &Path, to: &Path, good: u64, digest: &Digest) -> io::Result<()> {
    let mut draft = to.as_os_str().to_owned();
    draft.push("~");
    let draft = PathBuf::from(draft);
    let written = write_packed(from, &draft, good, digest).and_then(|()| fs::rename(&draft, to));
    if written.is_err() {
        drop(fs::remove_file(&draft));
    }
    written
}

fn write_packed(from: &Path, draft: &Path, good: u64, digest: &Digest) -> io::Result<()> {
    let out = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(draft)?;
    let mut out = BufWriter::new(out);
    out.write_all(&digest.encode())?;
    let mut encoder = zstd::stream::write::Encoder::new(out, LEVEL)?;
    encoder.include_checksum(true)?;
    io::copy(&mut BufReader::with_capacity(1 << 17, File::open(from)?).take(good), &mut encoder)?;
    let file = encoder.finish()?.into_inner().map_err(io::IntoInnerError::into_error)?;
    file.sync_all()
}
