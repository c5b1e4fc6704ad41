//! The copy of one class's contacts in memory, and how far it is.

use crate::domain::contact::{NOTE_BYTES, Note};
use crate::policy::contacts::Contacts;

/// Bytes of an entry's time.
pub(super) const TIME_BYTES: usize = 4;

/// First bytes of an entry by which a list is recognised: its time and the first note.
const MARK_BYTES: usize = TIME_BYTES + NOTE_BYTES;

/// One class of people.
#[derive(Debug, Default)]
pub(super) struct Shelf {
    contacts: Contacts,
    known: Option<Known>,
}

/// How far a copy is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) stretch: u64,
    /// Entries of this stretch, and of the one before.
    pub(super) entries: usize,
    pub(super) before: usize,
    pub(super) last: Mark,
}

/// First bytes of an entry, and how many there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Mark {
    bytes: [u8; MARK_BYTES],
    len: usize,
}

impl Shelf {
    pub(super) fn contacts(&self) -> &Contacts {
        &self.contacts
    }

    pub(super) fn known(&self) -> Option<Known> {
        self.known
    }

    pub(super) fn know(&mut self, known: Known) {
        self.known = Some(known);
    }

    /// Puts what was read anew in its place. Another thread may have been faster, and further.
    pub(super) fn replace(&mut self, read: Self) {
        let far = |shelf: &Self| shelf.known.map(|known| (known.stretch, known.entries));
        if far(self) < far(&read) {
            *self = read;
        }
    }

    /// Begins a stretch that follows the one whose notes are known, and forgets those that count no more.
    pub(super) fn turn(&mut self, stretch: u64, keep_ms: u64, stretch_ms: u64) {
        // Another thread may have been faster.
        if let Some(known) = self.known.filter(|known| known.stretch + 1 == stretch) {
            self.known = Some(known.next());
            let now_ms = stretch * stretch_ms;
            self.contacts.forget(now_ms.saturating_sub(keep_ms), now_ms);
        }
    }

    /// Takes in entries that were added after what was known when they were asked for.
    pub(super) fn take_in<'a>(
        &mut self,
        asked: &Known,
        entries: impl Iterator<Item = &'a [u8]>,
        stretch_ms: u64,
    ) {
        let Some(mut known) = self.known else { return };
        if known.stretch != asked.stretch || asked.entries > known.entries {
            // What lies between is not known: the next question tells that this copy is behind, and brings it.
            return;
        }
        let seen = known.entries - asked.entries;
        entries.skip(seen).for_each(|entry| self.note(&mut known, entry, stretch_ms));
        self.known = Some(known);
    }

    /// Takes in one entry that follows.
    pub(super) fn note(&mut self, known: &mut Known, entry: &[u8], stretch_ms: u64) {
        known.entries += 1;
        known.last = Mark::of(entry);
        let Some((head, notes)) = entry.split_first_chunk::<TIME_BYTES>() else { return };
        let at_ms = known.stretch * stretch_ms + u64::from(u32::from_le_bytes(*head));
        for note in notes.chunks_exact(NOTE_BYTES).filter_map(Note::read) {
            self.contacts.note(&note, at_ms);
        }
    }

    /// The list is not the one that is known: it is to be read anew.
    pub(super) fn forget(&mut self, asked: &Known) {
        if self.known.is_some_and(|now| (now.stretch, now.entries) == (asked.stretch, asked.entries)) {
            self.known = None;
        }
    }
}

impl Known {
    /// The beginning of the stretch that follows.
    pub(super) fn next(self) -> Self {
        Self { stretch: self.stretch + 1, entries: 0, before: self.entries, last: Mark::default() }
    }
}

impl Mark {
    pub(super) fn of(entry: &[u8]) -> Self {
        let mut mark = Self { len: entry.len().min(MARK_BYTES), ..Self::default() };
        mark.bytes[..mark.len].copy_from_slice(&entry[..mark.len]);
        mark
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}
