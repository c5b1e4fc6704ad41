//! Who did what: one file a day for all commands of this machine, appended under a lock; and the word of the engine
//! itself, which says when it was started.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::entry::{Entry, encode, put};
use super::reader::Segment;
use super::segment::{FRAME_HEAD, Head, PLAIN, frame_head};
use super::{JournalError, make_folder};

/// Name of the engine's own writer.
pub const ENGINE: &str = "engine";

/// Begin of the names of these files.
const PREFIX: &str = "operators";

/// Files of one day at most: a new one begins where the last has a damaged end.
const FILES_MAX: u32 = 1000;

/// Who runs this process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Who {
    /// As they said: `--actor`, else `CARTEIRO_ACTOR`, else whoever called sudo, else the system's user.
    pub actor: String,
    /// As the system says.
    pub os_user: String,
    /// The machine.
    pub host: String,
}

impl Who {
    /// Who runs this process.
    pub fn of_process(actor: Option<&str>) -> Self {
        let set = |name: &str| std::env::var(name).ok().filter(|value| !value.trim().is_empty());
        let os_user = os_user();
        let said = actor.map(str::to_owned).or_else(|| set("CARTEIRO_ACTOR")).or_else(|| set("SUDO_USER"));
        let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim().to_owned();
        Self { actor: said.unwrap_or_else(|| os_user.clone()), os_user, host }
    }

    /// An action of theirs.
    pub fn did(&self, at_ms: u64, verb: &str, target: &str, detail: &str) -> Entry {
        Entry::Action {
            at_ms,
            actor: self.actor.as_str().into(),
            os_user: self.os_user.as_str().into(),
            host: self.host.as_str().into(),
            verb: verb.into(),
            target: target.into(),
            detail: detail.into(),
        }
    }
}

/// Name of the real user, or its number where it has none.
fn os_user() -> String {
    let id = nix::unistd::getuid();
    match nix::unistd::User::from_uid(id) {
        Ok(Some(user)) => user.name,
        _ => id.to_string(),
    }
}

/// Appends one entry to the day's file of `dir`, and waits until the disk has it: what people do is rare.
pub fn append(dir: &Path, installation: &str, entry: &Entry) -> Result<(), JournalError> {
    make_folder(dir)?;
    let at_ms = entry.at_ms();
    let day = day(at_ms);
    for number in 0..FILES_MAX {
        let path = dir.join(format!("{PREFIX}-{day}-{number:03}{PLAIN}"));
        let done = append_to(&path, installation, (number, at_ms), entry);
        if let Some(done) = done.map_err(|source| JournalError::Write { path, source })? {
            return Ok(done);
        }
    }
    let what = "a thousand of its files of today are damaged";
    Err(JournalError::Foreign { path: dir.to_owned(), what })
}

/// Appends to this file. None: its end is damaged, and nothing may stand behind that.
fn append_to(
    path: &PathBuf,
    installation: &str,
    (number, at_ms): (u32, u64),
    entry: &Entry,
) -> std::io::Result<Option<()>> {
    let mut file = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path)?;
    file.lock()?;
    let size = file.metadata()?.len();
    let mut bytes = Vec::new();
    let mut good = size;
    if size == 0 {
        let head = Head {
            installation: installation.to_owned(),
            node: String::new(),
            writer: PREFIX.to_owned(),
            boot: super::boot_id(),
            start: 0,
            segment: u64::from(number) + 1,
            opened_ms: at_ms,
        };
        bytes = head.encode();
        good = bytes.len() as u64;
    } else {
        let whole = Segment::open(path).and_then(|mut segment| {
            segment.read(|_, _| Ok(()))?;
            Ok(segment.offset())
        });
        if whole.ok() != Some(size) {
            return Ok(None);
        }
    }
    let mut content = Vec::new();
    put(at_ms, &mut content);
    encode(entry, at_ms, |_| 0, &mut content);
    bytes.reserve(FRAME_HEAD + content.len());
    bytes.extend_from_slice(&frame_head(good, &content));
    bytes.extend_from_slice(&content);
    let written = file.write_all(&bytes).and_then(|()| file.sync_data());
    if written.is_err() {
        file.set_len(size)?;
    }
    written.map(Some)
}

/// `20261122`, in UTC.
fn day(at_ms: u64) -> String {
    let second = i64::try_from(at_ms / 1000).unwrap_or(i64::MAX);
    let at = jiff::Timestamp::from_second(second).unwrap_or(jiff::Timestamp::MAX);
    at.to_zoned(jiff::tz::TimeZone::UTC).strftime("%Y%m%d").to_string()
}
