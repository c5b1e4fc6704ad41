//! Chunks as Redis gives them back: bytes that were changed, and bytes that were changed before they were packed, so that
//! the checksum holds.

use carteiro::queue::codec::{CHUNK_MAX, Chunk, ChunkBuilder, Packer};
use proptest::prelude::*;

use crate::mutate::{cut_bytes, cuts};

fn packed(rows: usize) -> Vec<u8> {
    let mut builder = ChunkBuilder::new(3);
    for row in 0..rows {
        let texts = [
            format!("C-{row}"),
            format!("D{row}"),
            "Ana".to_owned(),
            "R$ 1,00".to_owned(),
            "é".repeat(row % 7),
        ];
        builder.push(row as u64 + 2, 5_511_980_000_000 + row as u64, texts.iter().map(String::as_str));
    }
    builder.encode(&mut Packer::new().unwrap(), 1_700_000_000_123)
}

/// What was packed, unpacked as bytes.
fn plain(packed: &[u8]) -> Vec<u8> {
    zstd::bulk::decompress(&packed[1..], 1 << 20).unwrap()
}

fn pack_again(plain: &[u8]) -> Vec<u8> {
    let mut compressor = zstd::bulk::Compressor::new(1).unwrap();
    compressor.include_checksum(true).unwrap();
    [vec![1], compressor.compress(plain).unwrap()].concat()
}

/// Decodes, and looks at everything that a chunk gives out.
fn check(bytes: &[u8]) {
    let Ok(chunk) = Chunk::decode(u32::MAX - 3, bytes) else { return };
    assert!(chunk.len() <= CHUNK_MAX);
    let mut characters = 0;
    for row in 0..=chunk.len() {
        characters +=
            chunk.reference(row).len() + chunk.debtor(row).len() + usize::from(chunk.holds(chunk.line(row)));
        characters +=
            (0..chunk.variables() + 1).map(|variable| chunk.value(row, variable).len()).sum::<usize>();
        assert!(chunk.phone(row) > 0);
    }
    assert!(characters <= CHUNK_MAX * 70_000);
}

#[test]
fn a_head_that_promises_too_much_is_refused() {
    let good = plain(&packed(2));
    for (rows, columns) in [(u16::MAX, u16::MAX), (0, u16::MAX), (u16::MAX, 0), (129, 5), (128, u16::MAX)] {
        let mut bad = good.clone();
        bad[..2].copy_from_slice(&rows.to_le_bytes());
        bad[2..4].copy_from_slice(&columns.to_le_bytes());
        assert!(Chunk::decode(0, &pack_again(&bad)).is_err(), "{rows} rows, {columns} columns");
    }
    // What would unpack to gigabytes.
    let bomb = zstd::bulk::compress(&vec![0; 64 << 20], 1).unwrap();
    check(&[vec![1], bomb].concat());
    crate::memory_stayed_small();
}

proptest! {
    #[test]
    fn changed_bytes_are_refused_or_read(rows in 0usize..40, cuts in cuts()) {
        check(&cut_bytes(&packed(rows), &cuts));
    }

    #[test]
    fn bytes_changed_before_they_were_packed_are_refused_or_read(rows in 0usize..40, cuts in cuts()) {
        check(&pack_again(&cut_bytes(&plain(&packed(rows)), &cuts)));
    }

    #[test]
    fn a_changed_head_is_refused_or_read(rows in 0usize..40, head: [u8; 4], place in 0usize..4) {
        let mut bytes = plain(&packed(rows));
        bytes[place..4].copy_from_slice(&head[place..]);
        check(&pack_again(&bytes));
    }
}
