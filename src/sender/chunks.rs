//! Decoded chunks of a shard, the last used kept, so that a chunk of 128 messages is read and unpacked once and not
//! once per claim.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};

use crate::domain::ids::LaneId;
use crate::queue::codec::Chunk;

/// The chunks, at most so many.
#[derive(Debug)]
pub struct Chunks {
    most: usize,
    kept: RefCell<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    by_first: BTreeMap<(LaneId, u32), Chunk>,
    order: VecDeque<(LaneId, u32)>,
}

impl Chunks {
    /// Keeps `most` chunks.
    pub fn new(most: usize) -> Self {
        Self { most, kept: RefCell::default() }
    }

    /// The chunk that holds `index` of `lane`, if it is kept.
    pub fn get(&self, lane: LaneId, index: u32) -> Option<Chunk> {
        let kept = self.kept.borrow();
        let (_, chunk) = kept.by_first.range((lane, 0)..=(lane, index)).next_back()?;
        chunk.holds(index).then(|| chunk.clone())
    }

    /// Keeps a chunk, and lets go of the oldest when there are too many.
    pub fn put(&self, lane: LaneId, chunk: Chunk) {
        let mut kept = self.kept.borrow_mut();
        let key = (lane, chunk.first);
        if kept.by_first.insert(key, chunk).is_none() {
            kept.order.push_back(key);
        }
        while kept.order.len() > self.most {
            if let Some(oldest) = kept.order.pop_front() {
                kept.by_first.remove(&oldest);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::codec::{ChunkBuilder, Packer};

    fn chunk(first: u32, rows: u64) -> Chunk {
        let mut builder = ChunkBuilder::new(0);
        for line in 0..rows {
            builder.push(line, 5_511_900_000_000 + line, ["", ""].into_iter());
        }
        Chunk::decode(first, &builder.encode(&mut Packer::new().unwrap(), 0)).unwrap()
    }

    #[test]
    fn a_chunk_is_found_by_any_of_its_messages_until_it_is_the_oldest() {
        let lane: LaneId = "1.2".parse().unwrap();
        let chunks = Chunks::new(2);
        chunks.put(lane, chunk(0, 3));
        chunks.put(lane, chunk(3, 2));
        assert_eq!(chunks.get(lane, 2).map(|chunk| chunk.first), Some(0));
        assert_eq!(chunks.get(lane, 4).map(|chunk| chunk.first), Some(3));
        assert!(chunks.get(lane, 5).is_none());
        assert!(chunks.get("1.3".parse().unwrap(), 0).is_none());
        chunks.put(lane, chunk(5, 1));
        assert!(chunks.get(lane, 0).is_none());
        assert!(chunks.get(lane, 5).is_some());
    }
}
