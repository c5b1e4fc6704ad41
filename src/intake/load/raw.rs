//! Rows of one lane on their way to Redis: what becomes a chunk, and the record as it was read, which is kept until it is
//! known that the row is no duplicate.
//!
//! All rows of a lane lie in one buffer, one behind the other: a large load has thousands of lanes under way, and every
//! buffer that a row touches would be fetched from memory anew.

use crate::intake::packed::{fields, pack};
use crate::queue::codec::{CHUNK_MAX, ChunkBuilder};

/// Room that is made for the first rows of a lane.
const FIRST_ROWS: usize = 16;
const FIRST_BYTES: usize = 4096;

/// Rows in one buffer.
#[derive(Debug)]
pub(super) struct RawRows {
    bytes: Vec<u8>,
    rows: Vec<RawRow>,
}

/// What is known of a row beside its texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) line: u32,
    pub(super) fingerprint: u32,
    pub(super) hash: i64,
    /// All digits.
    pub(super) phone: u64,
}

/// Where a row lies in the buffer: its texts, then its record.
#[derive(Clone, Copy, Debug)]
struct RawRow {
    head: Head,
    from: u32,
    record: u32,
    to: u32,
}

impl RawRows {
    pub(super) fn new() -> Self {
        Self { bytes: Vec::with_capacity(FIRST_BYTES), rows: Vec::with_capacity(FIRST_ROWS) }
    }

    /// Adds a row: the packed texts of its message and the fields of its record.
    pub(super) fn push<'a>(&mut self, head: Head, texts: &[u8], record: impl Iterator<Item = &'a [u8]>) {
        let from = length(self.bytes.len());
        self.bytes.extend_from_slice(texts);
        let at = length(self.bytes.len());
        pack(record, &mut self.bytes);
        self.rows.push(RawRow { head, from, record: at, to: length(self.bytes.len()) });
    }

    /// Rows held.
    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether a chunk is full.
    pub(super) fn is_full(&self) -> bool {
        self.rows.len() >= CHUNK_MAX
    }

    /// Bytes held.
    pub(super) fn bytes(&self) -> usize {
        self.bytes.len() + self.rows.len() * size_of::<RawRow>()
    }

    /// The hash of every row, in order.
    pub(super) fn hashes(&self) -> impl Iterator<Item = i64> {
        self.rows.iter().map(|row| row.head.hash)
    }

    /// Every row with the packed fields of its record.
    pub(super) fn records(&self) -> impl Iterator<Item = (Head, &[u8])> {
        self.rows.iter().map(|row| (row.head, &self.bytes[row.record as usize..row.to as usize]))
    }

    /// Puts the rows in a chunk in place of what was there.
    pub(super) fn fill(&self, chunk: &mut ChunkBuilder) {
        chunk.clear();
        for row in &self.rows {
            let texts = fields(&self.bytes[row.from as usize..row.record as usize]);
            chunk.push(u64::from(row.head.line), row.head.phone, texts);
        }
    }

    /// Removes the rows at the positions where `drop` says so; their bytes stay until the chunk goes.
    pub(super) fn remove(&mut self, drop: &[bool]) {
        let mut drop = drop.iter();
        self.rows.retain(|_| !drop.next().copied().unwrap_or(false));
    }
}

/// A chunk's rows are at most 128 of twice 64 KiB each.
fn length(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::codec::{Chunk, Packer};

    #[test]
    fn rows_come_back_but_for_those_removed() {
        let mut rows = RawRows::new();
        let head =
            |line: u32| Head { line, fingerprint: 7, hash: i64::from(line) * 3, phone: 5_511_987_654_321 };
        for line in 2..5u32 {
            let text = format!("row {line}");
            let mut texts = Vec::new();
            pack([b"C1".as_slice(), b"", text.as_bytes()].into_iter(), &mut texts);
            let record = [text.as_bytes(), b"", b"a;b", &[b'x'; 255], &[b'y'; 70_000]];
            rows.push(head(line), &texts, record.into_iter());
        }
        rows.remove(&[false, true, false]);
        let found: Vec<_> = rows
            .records()
            .map(|(head, packed)| (head, fields(packed).map(<[u8]>::to_vec).collect::<Vec<_>>()))
            .collect();
        let expect = |line: u32| {
            let first = format!("row {line}").into_bytes();
            (head(line), vec![first, Vec::new(), b"a;b".to_vec(), vec![b'x'; 255], vec![b'y'; 70_000]])
        };
        assert!(found == [expect(2), expect(4)]);
        assert_eq!((rows.len(), rows.hashes().collect::<Vec<_>>()), (2, vec![6, 12]));

        let mut chunk = ChunkBuilder::new(1);
        rows.fill(&mut chunk);
        rows.fill(&mut chunk);
        let packed = chunk.encode(&mut Packer::new().unwrap(), 0);
        let chunk = Chunk::decode(0, &packed).unwrap();
        let shown: Vec<_> = (0..chunk.len())
            .map(|row| (chunk.line(row), chunk.phone(row), chunk.reference(row), chunk.value(row, 0)))
            .collect();
        assert_eq!(shown, [(2, 5_511_987_654_321, "C1", "row 2"), (4, 5_511_987_654_321, "C1", "row 4")]);
    }
}
