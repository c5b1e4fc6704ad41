//! Reads a journal's folder: in the order of time, closed and compressed files and those being written alike. Files that
//! cannot hold what is wanted are passed over without being unpacked.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use super::JournalError;
use super::entry::{Entry, decode, get};
use super::segment::{Digest, FRAME_HEAD, Head, MARK, Name, PACKED, PLAIN, packed_path, read_frame};
use crate::domain::ids::{CampaignSeq, NumberId};

const BUFFER_BYTES: usize = 128 * 1024;

/// Which entries are wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Of this campaign; actions always pass.
    pub campaign: Option<CampaignSeq>,
    /// Not before this, in wall ms.
    pub since_ms: u64,
    /// Only what people did.
    pub actions_only: bool,
}

/// What was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scanned {
    /// Files read.
    pub files: u64,
    /// Files that could not hold anything wanted.
    pub passed_over: u64,
    /// Entries given on.
    pub entries: u64,
    /// Files that end in damage, and how far they were read. A file that is being written may be among them.
    pub torn: Vec<(PathBuf, u64)>,
}

/// One file, read frame by frame.
pub(super) struct Segment {
    path: PathBuf,
    input: Box<dyn Read>,
    head: Head,
    numbers: Vec<NumberId>,
    content: Vec<u8>,
    offset: u64,
    torn: bool,
}

/// Gives every wanted entry to `each`, file by file in the order in which they were opened.
pub fn scan(
    dir: &Path,
    wanted: Wanted,
    mut each: impl FnMut(&Head, Entry) -> io::Result<()>,
) -> Result<Scanned, JournalError> {
    let mut scanned = Scanned::default();
    for path in files(dir)? {
        let Some(mut segment) = open_wanted(&path, wanted)? else {
            scanned.passed_over += 1;
            continue;
        };
        scanned.files += 1;
        segment.read(|head, entry| {
            if !wants(wanted, &entry) {
                return Ok(());
            }
            scanned.entries += 1;
            each(head, entry)
        })?;
        if segment.torn {
            scanned.torn.push((path, segment.offset));
        }
    }
    Ok(scanned)
}

fn wants(wanted: Wanted, entry: &Entry) -> bool {
    let campaign = entry.message().map(|message| message.lane.campaign);
    let of_campaign = match campaign {
        Some(of) => !wanted.actions_only && wanted.campaign.is_none_or(|wanted| wanted == of),
        None => match entry {
            Entry::Event { .. } => !wanted.actions_only && wanted.campaign.is_none(),
            _ => true,
        },
    };
    of_campaign && entry.at_ms() >= wanted.since_ms
}

/// What is missing between the oldest and the newest file: starts without a file, and files of a writer.
pub fn gaps(dir: &Path) -> Result<Vec<String>, JournalError> {
    let names: Vec<Name> = files(dir)?.iter().filter_map(|path| Name::parse(path)).collect();
    let mut gaps = Vec::new();
    let starts: BTreeSet<u64> = names.iter().map(|name| name.start).collect();
    let pairs = starts.iter().zip(starts.iter().skip(1));
    gaps.extend(pairs.filter(|(one, next)| **next > **one + 1).map(|(one, next)| match next - one {
        2 => format!("start {} is missing", one + 1),
        _ => format!("starts {} to {} are missing", one + 1, next - 1),
    }));
    let mut writers: BTreeMap<(u64, String), BTreeSet<u64>> = BTreeMap::new();
    for name in names {
        writers.entry((name.start, name.writer)).or_default().insert(name.segment);
    }
    // Files go by age, so the oldest start may have lost its first ones.
    let oldest = starts.first().copied();
    for ((start, writer), segments) in writers {
        let first = if Some(start) == oldest { segments.first().copied().unwrap_or(1) } else { 1 };
        let last = segments.last().copied().unwrap_or(0);
        let missing = (first..=last).filter(|segment| !segments.contains(segment));
        gaps.extend(missing.map(|segment| format!("file {segment} of {writer} of start {start} is missing")));
    }
    Ok(gaps)
}

/// Every file of a folder by name, which is by time; operators' files come last. A folder that is not there is empty.
pub(super) fn files(dir: &Path) -> Result<Vec<PathBuf>, JournalError> {
    let unreadable = |source| JournalError::Read { path: dir.to_owned(), source };
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(unreadable(error)),
    };
    let mut found = BTreeSet::new();
    for entry in entries {
        let path = entry.map_err(unreadable)?.path();
        let name = path.to_string_lossy();
        if name.ends_with(PLAIN) || name.ends_with(PACKED) {
            found.insert(path);
        }
    }
    // A keeper that was killed between its two steps has left both.
    let both: Vec<PathBuf> =
        found.iter().filter(|path| found.contains(&packed_path(path))).cloned().collect();
    for path in both {
        found.remove(&path);
    }
    Ok(found.into_iter().collect())
}

/// Opens a file unless it cannot hold anything wanted.
fn open_wanted(path: &Path, wanted: Wanted) -> Result<Option<Segment>, JournalError> {
    let unreadable = |source| JournalError::Read { path: path.to_owned(), source };
    let of_people = Name::parse(path).is_none_or(|name| name.writer == super::operators::ENGINE);
    if wanted.actions_only && !of_people {
        return Ok(None);
    }
    // It may have been compressed since it was listed.
    let packed = packed_path(path);
    let path = if !path.exists() && packed.exists() { packed.as_path() } else { path };
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        // Too old by now.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unreadable(error)),
    };
    let changed =
        metadata.modified().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
    if changed.as_millis() < u128::from(wanted.since_ms) {
        return Ok(None);
    }
    if path.to_string_lossy().ends_with(PACKED) {
        let digest = Digest::decode(&mut File::open(path).map_err(unreadable)?).map_err(unreadable)?;
        if let Some(digest) = digest {
            let without = |seq| digest.campaigns.as_ref().is_some_and(|all| all.binary_search(&seq).is_err());
            if digest.last_ms < wanted.since_ms || (!of_people && wanted.campaign.is_some_and(without)) {
                return Ok(None);
            }
        }
    }
    match Segment::open(path) {
        Ok(segment) => Ok(Some(segment)),
        // A writer that was killed, or is about to write its head: nothing is in it yet.
        Err(JournalError::Foreign { .. }) if metadata.len() < 256 => Ok(None),
        Err(error) => Err(error),
    }
}

impl Segment {
    /// Opens a file and reads its head.
    pub(super) fn open(path: &Path) -> Result<Self, JournalError> {
        let unreadable = |source| JournalError::Read { path: path.to_owned(), source };
        let foreign = |what| JournalError::Foreign { path: path.to_owned(), what };
        let file = BufReader::with_capacity(BUFFER_BYTES, File::open(path).map_err(unreadable)?);
        let mut input: Box<dyn Read> = if path.to_string_lossy().ends_with(PACKED) {
            Box::new(BufReader::with_capacity(
                BUFFER_BYTES,
                zstd::stream::read::Decoder::with_buffer(file).map_err(unreadable)?,
            ))
        } else {
            Box::new(file)
        };
        let mut mark = Vec::new();
        (&mut input).take(MARK.len() as u64).read_to_end(&mut mark).map_err(unreadable)?;
        if mark != MARK {
            return Err(foreign("it does not begin like one"));
        }
        let mut content = Vec::new();
        let offset = MARK.len() as u64;
        if !read_frame(&mut input, offset, &mut content).map_err(unreadable)? {
            return Err(foreign("its head is damaged"));
        }
        let head = Head::decode(&content).map_err(foreign)?;
        let offset = offset + (FRAME_HEAD + content.len()) as u64;
        Ok(Self { path: path.to_owned(), input, head, numbers: Vec::new(), content, offset, torn: false })
    }

    /// Who wrote it.
    pub(super) fn head(&self) -> &Head {
        &self.head
    }

    /// Whether it ended in damage.
    pub(super) fn is_torn(&self) -> bool {
        self.torn
    }

    /// How far it is read and whole.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// Gives every entry to `each` until the file ends or does not check out.
    pub(super) fn read(
        &mut self,
        mut each: impl FnMut(&Head, Entry) -> io::Result<()>,
    ) -> Result<(), JournalError> {
        let mut batch = Vec::new();
        loop {
            match read_frame(&mut self.input, self.offset, &mut self.content) {
                Ok(true) => {}
                Ok(false) => {
                    self.torn = !self.content.is_empty();
                    return Ok(());
                }
                // Compressed bytes that do not unpack are damage like any other.
                Err(_) if self.path.to_string_lossy().ends_with(PACKED) => {
                    self.torn = true;
                    return Ok(());
                }
                Err(source) => return Err(JournalError::Read { path: self.path.clone(), source }),
            }
            // The whole frame or nothing of it.
            let mut rest = self.content.as_slice();
            let known = self.numbers.len();
            let Ok(base_ms) = get(&mut rest) else {
                self.torn = true;
                return Ok(());
            };
            batch.clear();
            loop {
                match decode(&mut rest, base_ms, &mut self.numbers) {
                    Ok(Some(entry)) => batch.push(entry),
                    Ok(None) => break,
                    Err(_) => {
                        self.numbers.truncate(known);
                        self.torn = true;
                        return Ok(());
                    }
                }
            }
            for entry in batch.drain(..) {
                let given = each(&self.head, entry);
                given.map_err(|source| JournalError::Read { path: self.path.clone(), source })?;
            }
            self.offset += (FRAME_HEAD + self.content.len()) as u64;
        }
    }
}
