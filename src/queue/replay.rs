//! The last seconds of what a writer wrote, kept so that it can be written again to a Redis that may have forgotten it: one
//! that crashed before its disk had it, or that was promoted before it had it.
//!
//! Whole batches are kept, as they were acknowledged; what became of each message is worked out only when it is needed.
//! A load keeps its chunks: forgotten ones are put in the same places again, before anybody says again that he claimed
//! from them. Who gave a lane another number gives it that number again, before he could claim from it himself.

mod again;

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::time::Duration;

pub use self::again::{Again, Batch, Replayed};
use super::lane::Append;
use crate::clock::Mono;
use crate::domain::campaign::Priority;
use crate::domain::ids::{LaneId, NumberId};
use crate::domain::receipt::Receipt;
use crate::domain::record::Settlement;

/// Messages kept at most: some megabytes. Beyond it the oldest are let go of.
const MESSAGES_MAX: usize = 262_144;

/// Bytes of chunks kept at most. A load that has so many under way in half waits until the oldest are old enough.
const CHUNK_BYTES_MAX: usize = 64 << 20;

/// Stands in the place of a state.
pub const GIVEN_BACK: u8 = 15;

/// What Redis acknowledged.
#[derive(Clone, Debug)]
pub enum Wrote {
    /// Messages that are being sent: index, generation and attempts of each; and the chunks that hold them.
    Claimed {
        /// The lane's token, and the number of the request.
        call: (u64, u64),
        /// The messages.
        messages: Vec<(u32, u8, u8)>,
        /// Their chunks.
        chunks: Vec<Held>,
    },
    /// Messages that were given back.
    Released {
        /// The lane's token: another than that of the claims, if the lane was adopted anew since.
        token: u64,
        /// The number of the request, by which a later claim of them is known.
        request: u64,
        /// Index and generation of each.
        messages: Vec<(u32, u8)>,
    },
    /// What became of messages.
    Settled(Vec<Settlement>),
    /// What receipts said, and how many attempts a message has.
    Received(Vec<Receipt>, u8),
    /// A chunk that was put at the end of the lane.
    Appended(Rc<Chunk>),
    /// The lane was given another number.
    Moved(Move),
}

/// How a lane got another number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Move {
    /// The number that had it.
    pub from: NumberId,
    /// The number that got it.
    pub to: NumberId,
    /// Of its campaign.
    pub priority: Priority,
}

/// A chunk as it was put in its lane.
#[derive(Debug)]
pub struct Chunk {
    /// Index of its first message.
    first: u32,
    tag: String,
    number: NumberId,
    class: u8,
    capacity: u32,
    rows: usize,
    bytes: Vec<u8>,
    buckets: BTreeMap<u32, Vec<i64>>,
}

impl Chunk {
    /// Of an append that put it at this index.
    pub fn of(order: &Append<'_>, first: u32) -> Self {
        let Append { tag, number, class, capacity, rows, chunk, buckets } = *order;
        let (tag, number) = (tag.to_owned(), number.clone());
        Self { first, tag, number, class, capacity, rows, bytes: chunk.to_vec(), buckets: buckets.clone() }
    }

    fn order(&self) -> Append<'_> {
        let Self { tag, number, class, capacity, rows, bytes, buckets, .. } = self;
        let (class, capacity, rows) = (*class, *capacity, *rows);
        Append { tag, number, class, capacity, rows, chunk: bytes, buckets }
    }

    fn size(&self) -> usize {
        self.bytes.len() + size_of::<i64>() * self.rows
    }
}

/// A chunk by which the log is known to be the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// Index of its first message.
    pub first: u32,
    /// How many it holds.
    pub rows: u32,
    /// Its last bytes: the end of its checksum.
    pub tail: [u8; 4],
}

/// The last seconds.
#[derive(Debug)]
pub struct Recent {
    window: Duration,
    batches: VecDeque<(Mono, LaneId, Wrote)>,
    messages: usize,
    chunk_bytes: usize,
    /// Batches ever kept.
    pushed: u64,
}

/// The last that is known of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Last {
    /// Generation of its claim.
    pub generation: u8,
    /// Number of its state, or [`GIVEN_BACK`].
    pub state: u8,
    /// Attempts it has had; of one that was given back 0, too, if its claim is not known any more.
    pub attempt: u8,
    /// Row of the error table.
    pub reason: u8,
    /// When it is due, if it waits.
    pub due_ms: u64,
    /// The number of the request that claimed it, if that is the last that is known of it; else 0.
    pub request: u64,
}

impl Wrote {
    fn len(&self) -> usize {
        match self {
            Self::Claimed { messages, .. } => messages.len(),
            Self::Released { messages, .. } => messages.len(),
            Self::Settled(settlements) => settlements.len(),
            Self::Received(receipts, _) => receipts.len(),
            Self::Appended(_) | Self::Moved(_) => 0,
        }
    }

    fn chunk_bytes(&self) -> usize {
        if let Self::Appended(chunk) = self { chunk.size() } else { 0 }
    }
}

impl Recent {
    /// Nothing yet; what is older than `window` when something newer comes is let go of.
    pub fn new(window: Duration) -> Self {
        Self { window, batches: VecDeque::new(), messages: 0, chunk_bytes: 0, pushed: 0 }
    }

    /// Keeps what was acknowledged.
    pub fn push(&mut self, now: Mono, lane: LaneId, wrote: Wrote) {
        self.messages += wrote.len();
        self.chunk_bytes += wrote.chunk_bytes();
        self.pushed += 1;
        self.batches.push_back((now, lane, wrote));
        // A batch alone is kept whatever its size.
        while self.batches.len() > 1 && (self.is_over(now) || self.is_too_much()) {
            self.let_go_of_oldest();
        }
    }

    fn is_over(&self, now: Mono) -> bool {
        self.batches.front().is_some_and(|(at, ..)| at.after(self.window) <= now)
    }

    fn is_too_much(&self) -> bool {
        self.messages > MESSAGES_MAX || self.chunk_bytes > CHUNK_BYTES_MAX
    }

    fn let_go_of_oldest(&mut self) {
        if let Some((_, _, oldest)) = self.batches.pop_front() {
            self.messages -= oldest.len();
            self.chunk_bytes -= oldest.chunk_bytes();
        }
    }

    /// When there will be room for more chunks without letting go of young ones; None: there is.
    pub fn room_at(&mut self, now: Mono) -> Option<Mono> {
        while self.is_over(now) {
            self.let_go_of_oldest();
        }
        let full = self.chunk_bytes > CHUNK_BYTES_MAX / 2;
        self.batches.front().filter(|_| full).map(|(at, ..)| at.after(self.window))
    }

    /// All of it, to be written again.
    pub fn again(&self) -> Again {
        Again::of(self.batches.iter().map(|(_, lane, wrote)| (*lane, wrote)), self.pushed)
    }

    /// How many were ever kept, and whether any is kept still.
    pub fn count(&mut self, now: Mono) -> (u64, bool) {
        while self.is_over(now) {
            self.let_go_of_oldest();
        }
        (self.pushed, !self.batches.is_empty())
    }

    /// Whether something was acknowledged since.
    pub fn is_newer_than(&self, again: &Again) -> bool {
        self.pushed != again.pushed()
    }
}

impl Last {
    /// Whether a message that is not there was more than loaded.
    pub fn is_more_than_loaded(&self) -> bool {
        self.state != GIVEN_BACK || self.generation > 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::CampaignSeq;

    pub(super) const LANE: LaneId = LaneId { campaign: CampaignSeq(1), lane: 0 };

    pub(super) fn at(seconds: u64) -> Mono {
        Mono(Duration::from_secs(seconds))
    }

    pub(super) fn claimed(indices: std::ops::Range<u32>) -> Wrote {
        let chunks = vec![Held { first: 0, rows: 10, tail: [1; 4] }];
        Wrote::Claimed { call: (7, 1), messages: indices.map(|index| (index, 1, 0)).collect(), chunks }
    }

    #[test]
    fn only_the_window_is_kept_and_never_too_much() {
        let mut recent = Recent::new(Duration::from_secs(5));
        (0..9).for_each(|second| recent.push(at(second), LANE, claimed(0..10)));
        assert_eq!((recent.batches.len(), recent.messages), (5, 50));
        recent.push(at(9), LANE, claimed(0..u32::try_from(MESSAGES_MAX).unwrap()));
        assert_eq!((recent.batches.len(), recent.messages), (1, MESSAGES_MAX));
    }
}
