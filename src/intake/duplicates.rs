//! Which rows of one input repeat an earlier row of it: an index in memory of about sixteen to twenty bytes a row.
//!
//! It answers with the line that is repeated and whether the values differ, which Redis cannot: there only the hash is
//! kept. It is a help, not the rule: beyond [`ROWS_MAX`] it takes no more rows and says so, and Redis still
//! lets nobody in twice. Hashes and fingerprints come from [`super::lanes`] and [`fingerprint`].

use std::hash::Hasher;

use siphasher::sip::SipHasher13;

use super::lanes::HashKey;

/// Rows that are remembered at most: about 80 MB.
pub const ROWS_MAX: usize = 4_000_000;

/// Parts that grow one after the other, so that growing never needs the whole twice.
const PARTS: usize = 256;

/// Slots of a part to begin with.
const PART_MIN_SLOTS: usize = 16;

/// No hash has this value: they have 62 bits.
const FREE: u64 = u64::MAX;

/// Spreads hashes that are not spread yet.
const MIX: u64 = 0x9e37_79b9_7f4a_7c15;

/// The rows of one input.
#[derive(Clone, Debug)]
pub struct Duplicates {
    parts: Vec<Part>,
    rows: usize,
    rows_max: usize,
    left_out: u64,
}

/// An earlier row of the same input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repeat {
    /// Line of the row that is repeated.
    pub line: u64,
    /// Whether a value, the reference or the debtor key is another one.
    pub differs: bool,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    hash: u64,
    line: u32,
    fingerprint: u32,
}

#[derive(Clone, Debug, Default)]
struct Part {
    slots: Vec<Slot>,
    used: usize,
}

impl Duplicates {
    /// An empty index with room for about so many rows; it grows by itself.
    pub fn new(rows_hint: u64) -> Self {
        let rows = usize::try_from(rows_hint).unwrap_or(ROWS_MAX).min(ROWS_MAX);
        Self::bounded(rows, ROWS_MAX)
    }

    fn bounded(rows_hint: usize, rows_max: usize) -> Self {
        // A quarter more than the rows need keeps the way to a slot short; parts that get more than their share grow.
        let slots = rows_hint / PARTS * 5 / 4;
        let part = |_| Part {
            slots: if slots < PART_MIN_SLOTS { Vec::new() } else { vec![FREE_SLOT; slots] },
            used: 0,
        };
        Self { parts: (0..PARTS).map(part).collect(), rows: 0, rows_max, left_out: 0 }
    }

    /// Takes in a row; the earlier row if it is a repeat. `hash` is the row's dedup hash.
    pub fn see(&mut self, hash: i64, line: u64, fingerprint: u32) -> Option<Repeat> {
        let hash = hash.unsigned_abs();
        let mixed = hash.wrapping_mul(MIX);
        let full = self.rows >= self.rows_max;
        let part = &mut self.parts[part_of(mixed)];
        if let Some(slot) = part.find(hash, mixed) {
            return Some(Repeat { line: u64::from(slot.line), differs: slot.fingerprint != fingerprint });
        }
        if full {
            self.left_out += 1;
            return None;
        }
        part.insert(Slot { hash, line: u32::try_from(line).unwrap_or(u32::MAX), fingerprint });
        self.rows += 1;
        None
    }

    /// Rows remembered.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Rows that were not remembered because there were [`ROWS_MAX`] already: their repeats are not found here.
    pub fn left_out(&self) -> u64 {
        self.left_out
    }

    /// Whether it takes no more rows.
    pub fn is_full(&self) -> bool {
        self.rows >= self.rows_max
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.parts.iter().map(|part| part.slots.capacity() * size_of::<Slot>()).sum()
    }
}

/// A fingerprint of all that is kept of a row, packed by [`super::packed::pack`]: two rows of one person with unlike
/// fingerprints differ.
pub fn fingerprint(texts: &[u8], key: HashKey) -> u32 {
    let mut hasher = SipHasher13::new_with_keys(key.0, key.1);
    hasher.write(texts);
    u32::try_from(hasher.finish() >> 32).unwrap_or(0)
}

const FREE_SLOT: Slot = Slot { hash: FREE, line: 0, fingerprint: 0 };

impl Part {
    fn find(&self, hash: u64, mixed: u64) -> Option<Slot> {
        if self.slots.is_empty() {
            return None;
        }
        let mut at = place(mixed, self.slots.len());
        loop {
            let slot = self.slots[at];
            if slot.hash == hash {
                return Some(slot);
            }
            if slot.hash == FREE {
                return None;
            }
            at = if at + 1 == self.slots.len() { 0 } else { at + 1 };
        }
    }

    fn insert(&mut self, slot: Slot) {
        // An eighth stays free, so that looking for what is not there ends soon.
        if (self.used + 1) * 8 > self.slots.len() * 7 {
            let slots = (self.slots.len() * 5 / 4).max(PART_MIN_SLOTS);
            let old = std::mem::replace(&mut self.slots, vec![FREE_SLOT; slots]);
            for slot in old.into_iter().filter(|slot| slot.hash != FREE) {
                self.put(slot);
            }
        }
        self.put(slot);
        self.used += 1;
    }

    fn put(&mut self, slot: Slot) {
        let mut at = place(slot.hash.wrapping_mul(MIX), self.slots.len());
        while self.slots[at].hash != FREE {
            at = if at + 1 == self.slots.len() { 0 } else { at + 1 };
        }
        self.slots[at] = slot;
    }
}

/// The part of a hash: its first eight bits.
fn part_of(mixed: u64) -> usize {
    usize::from(mixed.to_be_bytes()[0])
}

/// The slot where a hash is looked for first: the bits behind those of the part, scaled to the slots.
fn place(mixed: u64, slots: usize) -> usize {
    let scaled = u128::from(mixed << 8) * slots as u128;
    usize::try_from(scaled >> 64).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_repeat_names_the_first_line_and_whether_it_differs() {
        let mut index = Duplicates::new(0);
        assert_eq!(index.see(7, 2, 10), None);
        assert_eq!(index.see(8, 3, 10), None);
        assert_eq!(index.see(7, 4, 10), Some(Repeat { line: 2, differs: false }));
        assert_eq!(index.see(7, 5, 11), Some(Repeat { line: 2, differs: true }));
        assert_eq!((index.rows(), index.left_out()), (2, 0));
    }

    #[test]
    fn beyond_its_bound_it_says_so_and_still_knows_the_first() {
        let mut index = Duplicates::bounded(0, 3);
        for hash in 0..5 {
            assert_eq!(index.see(hash, 2, 0), None);
        }
        assert!(index.is_full());
        assert_eq!((index.rows(), index.left_out()), (3, 2));
        assert!(index.see(2, 9, 0).is_some());
        assert_eq!(index.see(4, 9, 0), None);
    }

    #[test]
    fn a_row_takes_about_twenty_bytes() {
        let rows = 200_000;
        for hint in [0, rows] {
            let mut index = Duplicates::new(hint);
            for row in 0..rows {
                index.see(i64::try_from(row.wrapping_mul(0x1234_5677_1234_5677) >> 2).unwrap(), row, 0);
            }
            assert_eq!(index.rows() as u64, rows);
            assert!(index.bytes() <= 24 * index.rows(), "{} bytes with hint {hint}", index.bytes());
        }
    }

    #[test]
    fn fingerprints_tell_texts_apart() {
        let print = |texts: &[&str]| {
            let mut packed = Vec::new();
            crate::intake::packed::pack(texts.iter().map(|text| text.as_bytes()), &mut packed);
            fingerprint(&packed, HashKey(1, 2))
        };
        assert_eq!(print(&["a", "bc"]), print(&["a", "bc"]));
        assert_ne!(print(&["a", "bc"]), print(&["ab", "c"]));
        assert_ne!(print(&["a", ""]), print(&["a"]));
    }

    proptest! {
        #[test]
        fn it_answers_as_a_map_does(rows in prop::collection::vec((0i64..300, 0u32..3), 0..2000)) {
            let mut index = Duplicates::new(0);
            let mut map: HashMap<i64, (u64, u32)> = HashMap::new();
            for (line, (hash, fingerprint)) in (2u64..).zip(rows) {
                let expect = map.get(&hash).map(|(line, first)| Repeat { line: *line, differs: *first != fingerprint });
                prop_assert_eq!(index.see(hash, line, fingerprint), expect);
                map.entry(hash).or_insert((line, fingerprint));
            }
        }
    }
}
