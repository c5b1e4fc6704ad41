//! One writer's file: entries are staged in memory and written with one write(2) per commit, without a lock and without
//! waiting for the disk. What was not written whole is cut off again, so nothing is ever written behind a torn frame.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::PathBuf;

use super::entry::{Entry, NUMBERS_MAX, encode, encode_number, put};
use super::keeper::Order;
use super::segment::{FRAME_HEAD, Head, frame_head};
use super::{JournalError, Place};
use crate::clock::{self, WallMs};
use crate::domain::ids::NumberId;

/// Entries of one frame at most, where a caller gives many at once.
const FRAME_ENTRIES: usize = 4096;

/// Failures in a row after which a file is given up for a new one: its disk block may be bad, or its limit reached.
const FAILURES_MAX: u32 = 3;

/// A writer. Its files are its own; [`Journal::append`] is all that most callers need.
#[derive(Debug)]
pub struct Journal {
    place: Place,
    writer: String,
    file: Option<Open>,
    segment: u64,
    /// Numbers of the file by their position in its table; those beyond `defined` are staged only.
    numbers: HashMap<NumberId, u32>,
    defined: usize,
    /// The frame being staged: room for its head, then its content.
    frame: Vec<u8>,
    base_ms: u64,
    failures: u32,
}

#[derive(Debug)]
struct Open {
    file: File,
    path: PathBuf,
    /// Bytes that are written whole.
    good: u64,
    opened_ms: u64,
}

impl Journal {
    /// A writer of this name: letters and digits. Its file is made at the first commit.
    pub fn open(place: &Place, writer: &str) -> Self {
        debug_assert!(writer.bytes().all(|byte| byte.is_ascii_alphanumeric()), "a part of the file's name");
        Self {
            place: place.clone(),
            writer: writer.to_owned(),
            file: None,
            segment: 0,
            numbers: HashMap::new(),
            defined: 0,
            frame: Vec::with_capacity(64 * 1024),
            base_ms: 0,
            failures: 0,
        }
    }

    /// Writes entries. After an error none of the last batch of them counts as written, and the next call tries again.
    pub fn append(&mut self, entries: &[Entry]) -> Result<(), JournalError> {
        for batch in entries.chunks(FRAME_ENTRIES) {
            for entry in batch {
                self.stage(entry);
            }
            self.commit()?;
        }
        Ok(())
    }

    /// Adds an entry to the batch that the next commit writes.
    pub fn stage(&mut self, entry: &Entry) {
        if self.frame.is_empty() {
            self.begin_frame(entry.at_ms());
        }
        if let Entry::Begun { number, .. } = entry
            && !self.numbers.contains_key(number)
        {
            encode_number(number, &mut self.frame);
            let at = u32::try_from(self.numbers.len()).unwrap_or(u32::MAX);
            self.numbers.insert(number.clone(), at);
        }
        let numbers = &self.numbers;
        encode(
            entry,
            self.base_ms,
            |number| numbers.get(number).copied().unwrap_or(u32::MAX),
            &mut self.frame,
        );
    }

    /// Whether nothing is staged.
    pub fn is_empty(&self) -> bool {
        self.frame.is_empty()
    }

    /// Writes what is staged with one write. After an error nothing of it counts as written, and nothing is staged.
    pub fn commit(&mut self) -> Result<(), JournalError> {
        if self.frame.is_empty() {
            return Ok(());
        }
        let written = self.write();
        self.frame.clear();
        match written {
            Ok(()) => {
                self.failures = 0;
                self.defined = self.numbers.len();
            }
            Err(_) => {
                self.failures += 1;
                let defined = u32::try_from(self.defined).unwrap_or(u32::MAX);
                self.numbers.retain(|_, at| *at < defined);
                if self.failures.is_multiple_of(FAILURES_MAX) {
                    self.close();
                }
            }
        }
        written
    }

    /// Tries whether the journal takes writes, with a frame that says nothing.
    pub fn probe(&mut self) -> Result<(), JournalError> {
        if self.frame.is_empty() {
            self.begin_frame(clock::wall().0);
        }
        self.commit()
    }

    /// A new frame: in a new file if the last is big or old enough. The file changes nowhere else, since the frame
    /// refers to the file's table of numbers.
    fn begin_frame(&mut self, base_ms: u64) {
        let WallMs(now_ms) = clock::wall();
        let Place { segment_bytes, segment_age, .. } = &self.place;
        let due = self.file.as_ref().is_some_and(|open| {
            let age_ms = u128::from(now_ms.saturating_sub(open.opened_ms));
            // What is written to a file that somebody removed would be lost without a word: a new one shows the gap.
            let removed = open.file.metadata().map_or(true, |is| is.nlink() == 0);
            removed || open.good >= *segment_bytes || age_ms >= segment_age.as_millis()
        });
        // A table that is nearly full is as good as a full file.
        if due || self.numbers.len() + FRAME_ENTRIES > NUMBERS_MAX {
            self.close();
        }
        self.base_ms = base_ms;
        self.frame.resize(FRAME_HEAD, 0);
        put(base_ms, &mut self.frame);
    }

    fn write(&mut self) -> Result<(), JournalError> {
        if self.file.is_none() {
            self.file = Some(self.create()?);
        }
        let Some(open) = &mut self.file else { return Ok(()) };
        let head = frame_head(open.good, &self.frame[FRAME_HEAD..]);
        self.frame[..FRAME_HEAD].copy_from_slice(&head);
        if let Err(source) = open.file.write_all(&self.frame) {
            let path = open.path.clone();
            // A file whose torn tail cannot be cut off is given up: nothing may stand behind it.
            if open.file.set_len(open.good).is_err() {
                self.close();
            }
            return Err(JournalError::Write { path, source });
        }
        open.good += self.frame.len() as u64;
        Ok(())
    }

    fn create(&mut self) -> Result<Open, JournalError> {
        let WallMs(opened_ms) = clock::wall();
        let Place { installation, node, start, boot, dir, .. } = &self.place;
        let head = Head {
            installation: installation.clone(),
            node: node.clone(),
            writer: self.writer.clone(),
            boot: *boot,
            start: *start,
            segment: self.segment + 1,
            opened_ms,
        };
        let path = dir.join(head.file_name());
        let failed = |source| JournalError::Write { path: path.clone(), source };
        // It takes its name once it is locked and has its head: a keeper must never meet it before.
        let mut draft = path.as_os_str().to_owned();
        draft.push("~");
        let file =
            OpenOptions::new().append(true).create_new(true).mode(0o600).open(&draft).map_err(failed)?;
        let begun = file.lock().and_then(|()| (&file).write_all(&head.encode()));
        if let Err(source) = begun.and_then(|()| fs::rename(&draft, &path)) {
            drop(fs::remove_file(&draft));
            return Err(failed(source));
        }
        self.segment += 1;
        Ok(Open { file, path, good: head.encode().len() as u64, opened_ms })
    }

    fn close(&mut self) {
        self.numbers.clear();
        self.defined = 0;
        if let Some(Open { file, path, .. }) = self.file.take() {
            drop(file);
            if let Some(closed) = &self.place.closed {
                // Without a keeper the next start compresses it.
                let _gone = closed.send(Order::Closed(path));
            }
        }
    }
}
