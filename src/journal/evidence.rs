//! What the last start of this folder certainly never began. Pure files; `app::unbegun` acts on it.
//!
//! `begun` is written before the first byte of a request, so its absence proves that nothing left: if the process is dead,
//! if the machine was not booted since, if no file is missing or damaged, and if every writer is accounted for.
//! Whenever one of these is open, there is no evidence, and what was being sent is in doubt. It trusts that nobody takes
//! the newest file of a dead process away by hand.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use super::entry::Entry;
use super::operators::ENGINE;
use super::reader::{Segment, files};
use super::segment::{Name, PLAIN};
use super::{JournalError, boot_id};
use crate::domain::ids::MessageId;

/// Begin of the name of a shard's writer; its number follows.
pub const SHARD: &str = "shard";

/// What an engine says of itself when it starts: with it a later start finds its claims.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Started {
    /// Its run, which the lanes name that it owns.
    pub run: String,
    /// Its shards, each with a writer of its own.
    pub shards: usize,
}

/// The last start, if it can bear witness.
#[derive(Debug)]
pub struct Witness {
    /// What it said of itself.
    pub started: Started,
    files: Vec<PathBuf>,
    /// Its own file, locked: until we are done nobody else looks at it, and no keeper changes it.
    _lock: File,
}

impl Started {
    /// As the journal keeps it.
    pub fn to_detail(&self) -> String {
        format!("started; run {}; shards {}", self.run, self.shards)
    }

    fn from_detail(detail: &str) -> Option<Self> {
        let (run, shards) = detail.strip_prefix("started; run ")?.split_once("; shards ")?;
        Some(Self { run: run.to_owned(), shards: shards.parse().ok()? })
    }
}

impl Witness {
    /// The last start of a folder. None: there is none, it lives, it was on another boot, or something of it is missing.
    pub fn find(dir: &Path, installation: &str) -> Result<Option<Self>, JournalError> {
        let named: Vec<(Name, PathBuf)> =
            files(dir)?.into_iter().filter_map(|path| Some((Name::parse(&path)?, path))).collect();
        let Some(last) = named.iter().map(|(name, _)| name.start).max() else { return Ok(None) };
        let mut writers: BTreeMap<String, BTreeMap<u64, PathBuf>> = BTreeMap::new();
        for (name, path) in named.into_iter().filter(|(name, _)| name.start == last) {
            writers.entry(name.writer).or_default().insert(name.segment, path);
        }
        let Some(engine) = writers.get(ENGINE).and_then(|all| all.get(&1)) else { return Ok(None) };
        let unreadable = |source| JournalError::Read { path: engine.clone(), source };
        let lock = File::open(engine).map_err(unreadable)?;
        // A living process keeps its file locked, even when it stands still and has lost everything else.
        if lock.try_lock().is_err() || !is_plain(engine) {
            return Ok(None);
        }
        let mut said: Option<Started> = None;
        let whole = read_whole(engine, last, installation, |entry| {
            if let Entry::Action { detail, .. } = entry {
                said = said.take().or_else(|| Started::from_detail(&detail));
            }
        })?;
        let Some(started) = said.filter(|_| whole) else { return Ok(None) };
        let mut files = Vec::new();
        for shard in 0..started.shards {
            let Some(all) = writers.get(&format!("{SHARD}{shard}")) else { return Ok(None) };
            let segments: BTreeSet<u64> = all.keys().copied().collect();
            // The newest one must still be as its writer left it: compressing cuts off a damaged end.
            let newest = all.values().next_back().is_some_and(|path| is_plain(path) && is_unlocked(path));
            if !segments.iter().copied().eq(1..=segments.len() as u64) || !newest {
                return Ok(None);
            }
            files.extend(all.values().cloned());
        }
        Ok(Some(Self { started, files, _lock: lock }))
    }

    /// Leaves of `claims`, by message and generation, those that were certainly never begun; none if a file is not whole.
    pub fn never_begun(
        &self,
        installation: &str,
        mut claims: HashSet<(MessageId, u8)>,
    ) -> Result<HashSet<(MessageId, u8)>, JournalError> {
        for path in &self.files {
            let start = Name::parse(path).map_or(0, |name| name.start);
            let whole = read_whole(path, start, installation, |entry| {
                if let Entry::Begun { message, generation, .. } = entry {
                    claims.remove(&(message, generation));
                }
            })?;
            if !whole {
                return Ok(HashSet::new());
            }
        }
        Ok(claims)
    }
}

/// Reads a file of this boot, start and installation to its end. False: it is another's, or damaged.
fn read_whole(
    path: &Path,
    start: u64,
    installation: &str,
    mut each: impl FnMut(Entry),
) -> Result<bool, JournalError> {
    let mut segment = match Segment::open(path) {
        Ok(segment) => segment,
        Err(JournalError::Foreign { .. }) => return Ok(false),
        Err(error) => return Err(error),
    };
    let head = segment.head();
    let boot = boot_id();
    if head.boot != boot || boot == [0; 16] || head.start != start || head.installation != installation {
        return Ok(false);
    }
    segment.read(|_, entry| {
        each(entry);
        Ok(())
    })?;
    let size =
        fs::metadata(path).map_err(|source| JournalError::Read { path: path.to_owned(), source })?.len();
    Ok(!segment.is_torn() && (!is_plain(path) || segment.offset() == size))
}

fn is_plain(path: &Path) -> bool {
    path.to_string_lossy().ends_with(PLAIN)
}

fn is_unlocked(path: &Path) -> bool {
    File::open(path).is_ok_and(|file| file.try_lock().is_ok())
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::time::Duration;

    use super::*;
    use crate::domain::ids::{CampaignSeq, LaneId, NumberId};
    use crate::journal::operators::Who;
    use crate::journal::{Journal, Place};

    fn started() -> Started {
        Started { run: "00ab".to_owned(), shards: 2 }
    }

    fn claim(index: u32) -> (MessageId, u8) {
        (MessageId { lane: LaneId { campaign: CampaignSeq(7), lane: 3 }, index }, 1)
    }

    fn begun(index: u32) -> Entry {
        let (message, generation) = claim(index);
        Entry::Begun { message, generation, attempt: 0, number: NumberId::from("2001"), at_ms: 1 }
    }

    /// A start that began messages 1 (shard 0, several files) and 2 (shard 1), and is dead.
    fn dead(dir: &Path) {
        let place = Place::start(dir, ("k3v9", "ab12"), (1, Duration::from_secs(3600))).unwrap();
        let who = Who { actor: String::new(), os_user: String::new(), host: String::new() };
        Journal::open(&place, ENGINE).append(&[who.did(1, "serve", "ab12", &started().to_detail())]).unwrap();
        let mut shard = Journal::open(&place, "shard0");
        shard.probe().unwrap();
        shard.append(&[begun(1)]).unwrap();
        shard.append(&[begun(9)]).unwrap();
        Journal::open(&place, "shard1").append(&[begun(2)]).unwrap();
    }

    fn unbegun(dir: &Path, installation: &str) -> Vec<u32> {
        let claims = (1..=4).map(claim).collect();
        let left = match Witness::find(dir, installation).unwrap() {
            Some(witness) => {
                assert_eq!(witness.started, started());
                witness.never_begun(installation, claims).unwrap()
            }
            None => return Vec::new(),
        };
        let mut left: Vec<u32> = left.into_iter().map(|(message, _)| message.index).collect();
        left.sort_unstable();
        left
    }

    fn check(change: impl FnOnce(&Path, &dyn Fn(&str) -> PathBuf), expect: &[u32]) {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("journal");
        dead(&dir);
        let found = files(&dir).unwrap();
        let of =
            |part: &str| found.iter().find(|path| path.to_string_lossy().contains(part)).cloned().unwrap();
        change(&dir, &of);
        assert_eq!(unbegun(&dir, "k3v9"), expect);
    }

    #[test]
    fn what_was_not_begun_is_told_only_by_a_whole_journal_of_a_dead_process() {
        check(|_, _| (), &[3, 4]);
        check(|dir, _| assert_eq!(unbegun(dir, "other"), [0; 0]), &[3, 4]);
        check(|_, of| fs::remove_file(of("shard0-000002")).unwrap(), &[]);
        check(|_, of| fs::remove_file(of("shard1")).unwrap(), &[]);
        check(|_, of| fs::remove_file(of("engine")).unwrap(), &[]);
        let torn =
            |path: &Path| fs::OpenOptions::new().append(true).open(path).unwrap().write_all(b"x").unwrap();
        check(|_, of| torn(&of("shard1")), &[]);
        check(|_, of| torn(&of("shard0-000001")), &[]);
        check(|_, of| assert_eq!(super::super::keeper::pack(&of("shard0-000001")).unwrap(), 0), &[3, 4]);
        check(|_, of| assert_eq!(super::super::keeper::pack(&of("shard1")).unwrap(), 0), &[]);
        let flip = |path: &Path| {
            let mut bytes = fs::read(path).unwrap();
            let last = bytes.len() - 1;
            bytes[last] ^= 1;
            fs::write(path, bytes).unwrap();
        };
        check(|_, of| flip(&of("shard1")), &[]);
        // The boot stands behind the mark, the frame's head and the version, under the checksum.
        check(|_, of| flip_boot(&of("shard1")), &[]);
    }

    /// Rewrites a file as if it were of another boot.
    fn flip_boot(path: &Path) {
        let mut head = Segment::open(path).unwrap().head().clone();
        head.boot[0] ^= 1;
        fs::write(path, head.encode()).unwrap();
    }

    #[test]
    fn a_process_that_lives_is_no_witness_and_a_later_start_takes_the_place_of_an_earlier_one() {
        let folder = tempfile::tempdir().unwrap();
        dead(folder.path());
        let engine =
            files(folder.path()).unwrap().into_iter().find(|path| path.to_string_lossy().contains("engine"));
        let lives = File::open(engine.unwrap()).unwrap();
        lives.lock().unwrap();
        assert_eq!(unbegun(folder.path(), "k3v9"), [0; 0]);
        drop(lives);
        assert_eq!(unbegun(folder.path(), "k3v9"), [3, 4]);
        let place =
            Place::start(folder.path(), ("k3v9", "cd34"), (1 << 20, Duration::from_secs(3600))).unwrap();
        Journal::open(&place, "shard0").probe().unwrap();
        assert_eq!(unbegun(folder.path(), "k3v9"), [0; 0]);
    }
}
