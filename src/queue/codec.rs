//! Chunks: up to 128 consecutive messages of a lane, packed column by column, compressed and checksummed.
//!
//! Layout before compression: rows (u16), columns (u16), load time in wall ms (u64), then per row the line (u32),
//! then per row the area code (u8), then the last eight digits of the phone byte plane by byte plane (4 × u8),
//! then for each text column the lengths (u16 each) and the texts. Columns 0 and 1 are `ref` and `debtor`, the rest the
//! campaign's variables. The first byte outside the compression is the version. Columns compress to about half
//! of what rows do, because like stands beside like.

use std::sync::Arc;

/// Messages in a chunk at most.
pub const CHUNK_MAX: usize = 128;

/// Version written in front of every chunk.
const VERSION: u8 = 1;

/// Compression level: 1 packs within a few percent of the higher levels at a third of their time.
const LEVEL: i32 = 1;

/// Bytes of a chunk once unpacked, at most: 128 rows of 64 KiB, the longest record of a file.
const UNPACKED_MAX: usize = CHUNK_MAX * 64 * 1024;

/// Columns that every chunk has before its variables.
const FIXED_COLUMNS: usize = 2;

/// Why bytes are no chunk.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// Written by a newer version.
    #[error("written by codec version {0}, this program knows version {VERSION}")]
    Version(u8),
    /// Does not unpack, or its checksum differs.
    #[error("does not unpack: {0}")]
    Damaged(&'static str),
}

/// Rows being gathered for a chunk. Reused from chunk to chunk.
#[derive(Clone, Debug)]
pub struct ChunkBuilder {
    lines: Vec<u32>,
    areas: Vec<u8>,
    digits: Vec<u32>,
    columns: Vec<Column>,
}

#[derive(Clone, Debug, Default)]
struct Column {
    lengths: Vec<u16>,
    text: Vec<u8>,
}

/// A decoded chunk. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Chunk {
    /// Index of its first message.
    pub first: u32,
    /// When it was loaded, in wall ms.
    pub loaded_at_ms: u64,
    /// The last bytes of what it was unpacked from: the end of its checksum.
    pub tail: [u8; 4],
    rows: usize,
    bytes: Arc<[u8]>,
    /// Start of every text, column by column, each column with one entry more than it has rows.
    starts: Arc<[u32]>,
    columns: usize,
}

impl ChunkBuilder {
    /// An empty chunk for messages with this many variables.
    pub fn new(variables: usize) -> Self {
        let columns = vec![Column::default(); FIXED_COLUMNS + variables];
        Self { lines: Vec::new(), areas: Vec::new(), digits: Vec::new(), columns }
    }

    /// Rows gathered.
    pub fn len(&self) -> usize {
        self.lines.len()
    }

    /// Whether no row was gathered.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// Bytes of text gathered.
    pub fn text_bytes(&self) -> usize {
        self.columns.iter().map(|column| column.text.len()).sum()
    }

    /// Adds a row. `phone` is the full number with country code; texts are UTF-8 of at most 65,535 bytes each.
    pub fn push<'a, T: AsRef<[u8]> + ?Sized + 'a>(
        &mut self,
        line: u64,
        phone: u64,
        texts: impl Iterator<Item = &'a T>,
    ) {
        let national = phone % 100_000_000_000;
        self.lines.push(u32::try_from(line).unwrap_or(u32::MAX));
        self.areas.push(u8::try_from(national / 1_000_000_000).unwrap_or(0));
        self.digits.push(u32::try_from(national % 100_000_000).unwrap_or(0));
        let mut columns = self.columns.iter_mut();
        for text in texts {
            let Some(column) = columns.next() else { break };
            let text = text.as_ref();
            column.lengths.push(u16::try_from(text.len()).unwrap_or(u16::MAX));
            column.text.extend_from_slice(&text[..text.len().min(usize::from(u16::MAX))]);
        }
        for column in columns {
            column.lengths.push(0);
        }
    }

    /// Removes the rows at the positions where `drop` says so.
    pub fn remove(&mut self, drop: &[bool]) {
        let keep = |at: usize| !drop.get(at).copied().unwrap_or(false);
        let mut kept = Self::new(self.columns.len() - FIXED_COLUMNS);
        for at in (0..self.len()).filter(|at| keep(*at)) {
            kept.lines.push(self.lines[at]);
            kept.areas.push(self.areas[at]);
            kept.digits.push(self.digits[at]);
        }
        for (from, to) in self.columns.iter().zip(&mut kept.columns) {
            let mut start = 0;
            for (at, length) in from.lengths.iter().enumerate() {
                let end = start + usize::from(*length);
                if keep(at) {
                    to.lengths.push(*length);
                    to.text.extend_from_slice(&from.text[start..end]);
                }
                start = end;
            }
        }
        *self = kept;
    }

    /// Forgets the rows, keeps the memory.
    pub fn clear(&mut self) {
        self.lines.clear();
        self.areas.clear();
        self.digits.clear();
        for column in &mut self.columns {
            column.lengths.clear();
            column.text.clear();
        }
    }

    /// Packs the rows.
    pub fn encode(&self, packer: &mut Packer, loaded_at_ms: u64) -> Vec<u8> {
        let plain = &mut packer.plain;
        plain.clear();
        plain.extend_from_slice(&u16::try_from(self.len()).unwrap_or(u16::MAX).to_le_bytes());
        plain.extend_from_slice(&u16::try_from(self.columns.len()).unwrap_or(u16::MAX).to_le_bytes());
        plain.extend_from_slice(&loaded_at_ms.to_le_bytes());
        for line in &self.lines {
            plain.extend_from_slice(&line.to_le_bytes());
        }
        plain.extend_from_slice(&self.areas);
        for plane in 0..4 {
            plain.extend(self.digits.iter().map(|digits| digits.to_le_bytes()[plane]));
        }
        for column in &self.columns {
            for length in &column.lengths {
                plain.extend_from_slice(&length.to_le_bytes());
            }
            plain.extend_from_slice(&column.text);
        }
        packer.pack()
    }
}

/// The compressor and its buffers, one per loading thread.
pub struct Packer {
    compressor: zstd::bulk::Compressor<'static>,
    plain: Vec<u8>,
}

impl std::fmt::Debug for Packer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Packer").finish_non_exhaustive()
    }
}

impl Packer {
    /// A compressor with its tables allocated.
    pub fn new() -> std::io::Result<Self> {
        let mut compressor = zstd::bulk::Compressor::new(LEVEL)?;
        compressor.include_checksum(true)?;
        Ok(Self { compressor, plain: Vec::new() })
    }

    fn pack(&mut self) -> Vec<u8> {
        let mut packed = vec![0; 1 + zstd::zstd_safe::compress_bound(self.plain.len())];
        packed[0] = VERSION;
        // The buffer has the bound that the library itself asks for, so compression cannot run out of room.
        let length = self.compressor.compress_to_buffer(&self.plain, &mut packed[1..]).unwrap_or(0);
        packed.truncate(1 + length);
        packed
    }
}

/// The decompressor, one per thread that reads: its tables cost more to make than a chunk to unpack.
pub struct Unpacker(zstd::bulk::Decompressor<'static>);

impl std::fmt::Debug for Unpacker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Unpacker").finish_non_exhaustive()
    }
}

impl Unpacker {
    /// A decompressor with its tables allocated.
    pub fn new() -> std::io::Result<Self> {
        Ok(Self(zstd::bulk::Decompressor::new()?))
    }

    /// Unpacks the chunk whose first message has index `first`.
    pub fn chunk(&mut self, first: u32, packed: &[u8]) -> Result<Chunk, CodecError> {
        let (version, packed) = packed.split_first().ok_or(CodecError::Damaged("it is empty"))?;
        if *version != VERSION {
            return Err(CodecError::Version(*version));
        }
        let size = zstd::bulk::Decompressor::upper_bound(packed).unwrap_or(UNPACKED_MAX).min(UNPACKED_MAX);
        let damaged = |_| CodecError::Damaged("the compressed bytes or their checksum are wrong");
        let bytes = self.0.decompress(packed, size).map_err(damaged)?;
        let tail = packed.last_chunk().copied().unwrap_or_default();
        let chunk = Chunk::parse(first, bytes.into(), tail);
        chunk.ok_or(CodecError::Damaged("a length points past the end"))
    }
}

impl Chunk {
    /// Unpacks one chunk. Whoever reads many keeps an [`Unpacker`].
    pub fn decode(first: u32, packed: &[u8]) -> Result<Self, CodecError> {
        let mut unpacker = Unpacker::new().map_err(|_| CodecError::Damaged("no memory to unpack it"))?;
        unpacker.chunk(first, packed)
    }

    fn parse(first: u32, bytes: Arc<[u8]>, tail: [u8; 4]) -> Option<Self> {
        let rows = usize::from(u16::from_le_bytes(bytes.get(0..2)?.try_into().ok()?));
        let columns = usize::from(u16::from_le_bytes(bytes.get(2..4)?.try_into().ok()?));
        let loaded_at_ms = u64::from_le_bytes(bytes.get(4..12)?.try_into().ok()?);
        // Nothing is set aside for what a head promises and the bytes cannot hold.
        if rows > CHUNK_MAX || bytes.len() < HEAD + rows * (ROW_HEAD + 2 * columns) {
            return None;
        }
        let mut at = HEAD + ROW_HEAD * rows;
        let mut starts = Vec::with_capacity(columns * (rows + 1));
        for _ in 0..columns {
            let lengths = bytes.get(at..at + 2 * rows)?;
            at += 2 * rows;
            let texts = at;
            for length in lengths.chunks_exact(2) {
                starts.push(u32::try_from(at).ok()?);
                at += usize::from(u16::from_le_bytes([length[0], length[1]]));
            }
            starts.push(u32::try_from(at).ok()?);
            std::str::from_utf8(bytes.get(texts..at)?).ok()?;
        }
        (at == bytes.len()).then_some(Self {
            first,
            loaded_at_ms,
            tail,
            rows,
            bytes,
            starts: starts.into(),
            columns,
        })
    }

    /// Messages in it.
    pub fn len(&self) -> usize {
        self.rows
    }

    /// Whether it holds no message.
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// Whether the message at `index` of the lane is in it.
    pub fn holds(&self, index: u32) -> bool {
        index.checked_sub(self.first).is_some_and(|row| (row as usize) < self.rows)
    }

    /// Line of the file from which row `row` came.
    pub fn line(&self, row: usize) -> u32 {
        let at = HEAD + 4 * row;
        self.bytes
            .get(at..at + 4)
            .and_then(|bytes| bytes.try_into().ok())
            .map(u32::from_le_bytes)
            .unwrap_or(0)
    }

    /// Phone of row `row`, with country code.
    pub fn phone(&self, row: usize) -> u64 {
        let byte = |at: usize| self.bytes.get(at).copied().unwrap_or(0);
        let areas = HEAD + 4 * self.rows;
        let planes = areas + self.rows;
        let digits =
            (0..4).map(|plane| u64::from(byte(planes + plane * self.rows + row)) << (8 * plane)).sum::<u64>();
        5_500_000_000_000 + u64::from(byte(areas + row)) * 1_000_000_000 + 900_000_000 + digits
    }

    /// The creditor's reference of row `row`.
    pub fn reference(&self, row: usize) -> &str {
        self.text(0, row)
    }

    /// The creditor's debtor key of row `row`.
    pub fn debtor(&self, row: usize) -> &str {
        self.text(1, row)
    }

    /// Variable `variable` of row `row`; empty where there is none.
    pub fn value(&self, row: usize, variable: usize) -> &str {
        self.text(FIXED_COLUMNS + variable, row)
    }

    /// Variables of each row.
    pub fn variables(&self) -> usize {
        self.columns.saturating_sub(FIXED_COLUMNS)
    }

    fn text(&self, column: usize, row: usize) -> &str {
        if column >= self.columns || row >= self.rows {
            return "";
        }
        let at = column * (self.rows + 1) + row;
        let (start, end) = (self.starts[at] as usize, self.end(at));
        std::str::from_utf8(&self.bytes[start..end]).unwrap_or("")
    }

    fn end(&self, at: usize) -> usize {
        self.starts[at + 1] as usize
    }
}

/// Bytes before the rows.
const HEAD: usize = 12;
/// Bytes of a row before the texts: line, area code, digits.
const ROW_HEAD: usize = 4 + 1 + 4;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn packer() -> Packer {
        Packer::new().unwrap()
    }

    #[test]
    fn rows_survive_packing() {
        let mut builder = ChunkBuilder::new(2);
        builder.push(2, 5_511_987_654_321, ["C-1", "D9", "Maria", "R$ 1.234,56"].into_iter());
        builder.push(7, 5_597_900_000_000, ["C-2", "", "José", ""].into_iter());
        let chunk = Chunk::decode(128, &builder.encode(&mut packer(), 1_700_000_000_123)).unwrap();
        assert_eq!((chunk.first, chunk.len(), chunk.loaded_at_ms), (128, 2, 1_700_000_000_123));
        assert!(chunk.holds(129) && !chunk.holds(130) && !chunk.holds(127));
        let row = |row: usize| {
            let texts = [chunk.reference(row), chunk.debtor(row), chunk.value(row, 0), chunk.value(row, 1)];
            (chunk.line(row), chunk.phone(row), texts)
        };
        assert_eq!(row(0), (2, 5_511_987_654_321, ["C-1", "D9", "Maria", "R$ 1.234,56"]));
        assert_eq!(row(1), (7, 5_597_900_000_000, ["C-2", "", "José", ""]));
        assert_eq!(chunk.value(1, 2), "");
    }

    #[test]
    fn removed_rows_are_gone_and_the_others_stay() {
        let mut builder = ChunkBuilder::new(1);
        for line in 0..4u64 {
            let value = format!("value {line}");
            builder.push(line, 5_511_900_000_000 + line, ["r", "d", value.as_str()].into_iter());
        }
        builder.remove(&[true, false, true, false]);
        let chunk = Chunk::decode(0, &builder.encode(&mut packer(), 0)).unwrap();
        assert_eq!(chunk.len(), 2);
        assert_eq!((chunk.line(0), chunk.value(0, 0)), (1, "value 1"));
        assert_eq!((chunk.line(1), chunk.value(1, 0)), (3, "value 3"));
    }

    #[test]
    fn a_newer_version_is_refused_by_name() {
        assert_eq!(Chunk::decode(0, &[9, 1, 2]).unwrap_err(), CodecError::Version(9));
        assert!(matches!(Chunk::decode(0, &[]).unwrap_err(), CodecError::Damaged(_)));
    }

    proptest! {
        #[test]
        fn any_rows_survive(rows in prop::collection::vec((any::<u32>(), 11u64..100, 0u64..100_000_000, ".{0,40}", ".{0,40}"), 1..=CHUNK_MAX)) {
            let mut builder = ChunkBuilder::new(0);
            for (line, area, digits, reference, debtor) in &rows {
                let phone = 5_500_000_000_000 + area * 1_000_000_000 + 900_000_000 + digits;
                builder.push(u64::from(*line), phone, [reference.as_str(), debtor.as_str()].into_iter());
            }
            let chunk = Chunk::decode(5, &builder.encode(&mut packer(), 1)).unwrap();
            prop_assert_eq!(chunk.len(), rows.len());
            for (row, (line, area, digits, reference, debtor)) in rows.iter().enumerate() {
                prop_assert_eq!(chunk.line(row), *line);
                prop_assert_eq!(chunk.phone(row), 5_500_000_000_000 + area * 1_000_000_000 + 900_000_000 + digits);
                prop_assert_eq!(chunk.reference(row), reference);
                prop_assert_eq!(chunk.debtor(row), debtor);
            }
        }

        #[test]
        fn damaged_bytes_never_decode_to_other_rows(at in 1usize..60, bit in 0u8..8) {
            let mut builder = ChunkBuilder::new(1);
            builder.push(3, 5_511_987_654_321, ["reference", "debtor", "some value of a message"].into_iter());
            let good = builder.encode(&mut packer(), 1);
            let mut bad = good.clone();
            let at = at % bad.len();
            bad[at] ^= 1 << bit;
            if let Ok(chunk) = Chunk::decode(0, &bad) {
                // A flipped bit that the format does not use may still decode, but never to something else.
                prop_assert_eq!(chunk.value(0, 0), "some value of a message");
                prop_assert_eq!(chunk.phone(0), 5_511_987_654_321);
            }
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _outcome = Chunk::decode(0, &bytes);
        }
    }
}
