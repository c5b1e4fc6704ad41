//! Packing and unpacking a full chunk: once per 128 messages at loading, once per chunk and shard at sending.

use std::hint::black_box;

use carteiro::queue::codec::{CHUNK_MAX, Chunk, ChunkBuilder, Packer};
use criterion::{Criterion, Throughput};

/// A chunk of believable rows: reference, debtor and four variables.
fn chunk() -> ChunkBuilder {
    let mut builder = ChunkBuilder::new(4);
    for row in 0..CHUNK_MAX as u64 {
        let (reference, debtor) = (format!("CT{:010}", row * 7_919), format!("{:08}", row * 48_271));
        let amount = format!("{},{:02}", 100 + row * 13, row % 100);
        let name = if row % 2 == 0 { "Ana" } else { "Francisco" };
        let texts = [&reference, &debtor, name, &amount, "10/12/2026", "Cartão Aurora"];
        builder.push(row + 2, 5_511_900_000_000 + row * 7_919, texts.into_iter());
    }
    builder
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let mut group = criterion.benchmark_group("codec");
    group.throughput(Throughput::Elements(CHUNK_MAX as u64));
    let (builder, mut packer) = (chunk(), Packer::new().expect("memory for its tables"));
    let packed = builder.encode(&mut packer, 1_795_000_000_000);
    assert_eq!(Chunk::decode(0, &packed).map(|chunk| chunk.len()), Ok(CHUNK_MAX));
    group.bench_function("encode", |b| b.iter(|| black_box(&builder).encode(&mut packer, 1_795_000_000_000)));
    group.bench_function("decode", |b| b.iter(|| Chunk::decode(0, black_box(&packed))));
    group.finish();
    criterion.final_summary();
}
