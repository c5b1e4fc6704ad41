//! The last seconds of what a writer wrote, kept so that it can be written again to a Redis that may have forgotten it: one
//! that crashed before its disk had it, or that was promoted before it had it.
//!
//! Whole batches are kept, as they were acknowledged; what became of each message is worked out only when it is needed.
//! A load keeps its chunks: forgotten ones are put in the same places again, before anybody says again that he claimed
//! from them.

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use redis::{AsyncCommands, Value, from_redis_value};

use super::connection::Connection;
use super::keys::LaneKeys;
use super::lane::{Append, Appended, BATCH_MAX, append, reasons};
use super::{QueueError, receipt, script};
use crate::clock::{self, Mono};
use crate::domain::ids::{LaneId, NumberId};
use crate::domain::receipt::Receipt;
use crate::domain::record::{Settlement, State};

/// Messages kept at most: some megabytes. Beyond it the oldest are let go of.
const MESSAGES_MAX: usize = 262_144;

/// Bytes of chunks kept at most. A load that has so many under way in half waits until the oldest are old enough.
const CHUNK_BYTES_MAX: usize = 64 << 20;

/// How long a load waits for chunks of others that stood before its own, and how often it looks.
const OTHERS: (Duration, Duration) = (Duration::from_secs(5), Duration::from_millis(50));

/// Bytes of one message in the script's arguments.
const MESSAGE_BYTES: usize = 16;

/// Tokens of one lane that are said at most, the latest: it changes hands once a lease, and the window is a few of those.
const TOKENS_MAX: usize = 16;

/// Stands in the place of a state.
pub const GIVEN_BACK: u8 = 15;

/// What Redis acknowledged.
#[derive(Clone, Debug)]
pub enum Wrote {
    /// Messages that are being sent: index, generation and attempts of each; and the chunks that hold them.
    Claimed {
        /// The lane's token.
        token: u64,
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

/// What is to be written again.
#[derive(Debug)]
pub struct Again {
    lanes: BTreeMap<LaneId, Known>,
    pushed: u64,
}

/// What is known of one lane.
#[derive(Debug, Default)]
struct Known {
    /// Under which something was claimed or given back; the latest is the last.
    tokens: Vec<u64>,
    /// The last request that gave something back.
    request: u64,
    last: BTreeMap<u32, Last>,
    chunks: BTreeMap<u32, Held>,
    received: Vec<(Vec<Receipt>, u8)>,
    appended: VecDeque<Rc<Chunk>>,
}

/// Messages of one chunk, if it is known.
type Group = (Option<Held>, Vec<(u32, Last)>);

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
}

/// What one call of the script says: the last of messages of one chunk.
#[derive(Clone, Debug)]
pub struct Batch {
    /// Their lane.
    pub lane: LaneId,
    /// The tokens under which the lane was ours lately. Redis may have forgotten that it was adopted anew, and what was given
    /// back after that: under each of them nobody else has touched it.
    pub tokens: Vec<u64>,
    /// The last request that gave something back.
    pub request: u64,
    /// Their chunk; None: they were claimed so long ago that it is not known.
    pub held: Option<Held>,
    /// The messages by index, lowest first.
    pub messages: Vec<(u32, Last)>,
}

/// What came of writing it again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Replayed {
    /// Messages whose record was behind, and rows of chunks that were not there.
    pub written: u64,
    /// Messages in whose place the log holds another chunk; rows of chunks that are there in part.
    pub homeless: u64,
    /// Messages whose lane ends before their chunk, and receipts of such: whoever loaded it may put it there again.
    pub missing: u64,
}

impl Wrote {
    fn len(&self) -> usize {
        match self {
            Self::Claimed { messages, .. } => messages.len(),
            Self::Released { messages, .. } => messages.len(),
            Self::Settled(settlements) => settlements.len(),
            Self::Received(receipts, _) => receipts.len(),
            Self::Appended(_) => 0,
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
        Again { lanes: self.known(), pushed: self.pushed }
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
        self.pushed != again.pushed
    }

    /// The last that is known of every message.
    fn known(&self) -> BTreeMap<LaneId, Known> {
        let mut lanes: BTreeMap<LaneId, Known> = BTreeMap::new();
        for (_, lane, wrote) in &self.batches {
            let known = lanes.entry(*lane).or_default();
            match wrote {
                Wrote::Claimed { token, messages, chunks } => {
                    known.held_under(*token);
                    known.chunks.extend(chunks.iter().map(|held| (held.first, *held)));
                    for &(index, generation, attempt) in messages {
                        let state = State::Sending.number();
                        known.last.insert(index, Last { generation, state, attempt, reason: 0, due_ms: 0 });
                    }
                }
                Wrote::Released { token, request, messages } => {
                    known.held_under(*token);
                    known.request = known.request.max(*request);
                    for &(index, generation) in messages {
                        let claimed = known.last.get(&index).filter(|last| last.generation == generation);
                        let attempt = claimed.map_or(0, |last| last.attempt);
                        let last = Last { generation, state: GIVEN_BACK, attempt, reason: 0, due_ms: 0 };
                        known.last.insert(index, last);
                    }
                }
                Wrote::Settled(settlements) => {
                    for one in settlements {
                        let &Settlement { index, generation, state, attempt, reason, due_ms } = one;
                        let state = state.number();
                        known.last.insert(index, Last { generation, state, attempt, reason, due_ms });
                    }
                }
                Wrote::Received(receipts, most) => known.received.push((receipts.clone(), *most)),
                Wrote::Appended(chunk) => known.appended.push_back(chunk.clone()),
            }
        }
        lanes
    }
}

impl Last {
    /// Whether a message that is not there was more than loaded.
    pub fn is_more_than_loaded(&self) -> bool {
        self.state != GIVEN_BACK || self.generation > 1
    }
}

impl Again {
    /// Writes it, lane by lane and chunk by chunk. What is there already stays as it is.
    pub async fn replay(&self, connection: &mut Connection, now_ms: u64) -> Result<Replayed, QueueError> {
        let mut replayed = self.append_again(connection).await?;
        for batch in self.batches() {
            let count = batch.messages.len() as u64;
            match write(connection, &batch, now_ms).await? {
                Written::Done(written, beyond) => {
                    replayed.written += written;
                    replayed.missing += beyond;
                }
                Written::Differs => replayed.homeless += count,
                Written::Missing => replayed.missing += count,
            }
        }
        for (lane, receipts, most) in self.receipts() {
            let outcomes = receipt::receive(connection, lane, &mut receipts.to_vec(), most).await?;
            replayed.missing += outcomes.iter().filter(|outcome| outcome.nowhere).count() as u64;
        }
        Ok(replayed)
    }

    /// What is said of messages, call by call.
    pub fn batches(&self) -> Vec<Batch> {
        let of = |(lane, known): (&LaneId, &Known)| {
            let (lane, request) = (*lane, known.request);
            let groups = known.by_chunk().into_iter().flat_map(move |(held, messages)| {
                let parts: Vec<Vec<(u32, Last)>> = messages.chunks(BATCH_MAX).map(<[_]>::to_vec).collect();
                parts.into_iter().map(move |messages| {
                    let tokens = known.tokens.clone();
                    Batch { lane, tokens, request, held, messages }
                })
            });
            groups.collect::<Vec<_>>()
        };
        self.lanes.iter().flat_map(of).collect()
    }

    /// What receipts said after that, and how many attempts a message has.
    pub fn receipts(&self) -> impl Iterator<Item = (LaneId, &[Receipt], u8)> {
        let of = |(lane, known): (&LaneId, _)| (*lane, known);
        self.lanes.iter().map(of).flat_map(|(lane, known): (_, &Known)| {
            known.received.iter().map(move |(receipts, most)| (lane, receipts.as_slice(), *most))
        })
    }

    /// Puts chunks in their places again, those first that came first; by their hashes it is known which are there. A chunk
    /// of another load that stood before is waited for: its load is at this, too.
    async fn append_again(&self, connection: &mut Connection) -> Result<Replayed, QueueError> {
        let mut replayed = Replayed::default();
        let pending = |(lane, known): (&LaneId, &Known)| (*lane, known.appended.clone());
        let mut left: Vec<(LaneId, VecDeque<Rc<Chunk>>)> =
            self.lanes.iter().map(pending).filter(|(_, chunks)| !chunks.is_empty()).collect();
        let patience = clock::mono().after(OTHERS.0);
        while !left.is_empty() {
            for (lane, chunks) in &mut left {
                let count: Option<u32> = connection.hget(LaneKeys::new(*lane).meta, "n").await?;
                let mut count = count.unwrap_or(0);
                let waits = clock::mono() < patience;
                while let Some(chunk) = chunks.pop_front_if(|chunk| chunk.first <= count || !waits) {
                    let rows = chunk.rows as u64;
                    match append(connection, *lane, &chunk.order()).await? {
                        Appended::Done(first) => {
                            count = first.saturating_add(u32::try_from(chunk.rows).unwrap_or(u32::MAX));
                            replayed.written += rows;
                        }
                        Appended::Duplicates(known) => replayed.homeless += rows - known.len() as u64,
                    }
                }
            }
            left.retain(|(_, chunks)| !chunks.is_empty());
            if !left.is_empty() {
                tokio::time::sleep(OTHERS.1).await;
            }
        }
        Ok(replayed)
    }
}

/// What the script answered.
enum Written {
    Done(u64, u64),
    Differs,
    Missing,
}

impl Known {
    fn held_under(&mut self, token: u64) {
        if self.tokens.last() != Some(&token) {
            self.tokens.push(token);
        }
        if self.tokens.len() > TOKENS_MAX {
            self.tokens.remove(0);
        }
    }

    /// Messages by the chunk that holds them. Those without one were claimed before the window: their chunk is older still.
    fn by_chunk(&self) -> Vec<Group> {
        let chunk = |index: u32| {
            let (_, held) = self.chunks.range(..=index).next_back()?;
            (index < held.first.saturating_add(held.rows)).then_some(*held)
        };
        let mut groups: Vec<Group> = Vec::new();
        for (index, last) in &self.last {
            let held = chunk(*index);
            match groups.last_mut() {
                Some((same, messages)) if *same == held => messages.push((*index, *last)),
                _ => groups.push((held, vec![(*index, *last)])),
            }
        }
        groups
    }
}

async fn write(connection: &mut Connection, batch: &Batch, now_ms: u64) -> Result<Written, QueueError> {
    let Batch { lane, tokens, request, held, messages } = batch;
    let keys = LaneKeys::new(*lane);
    let mut call = script::REPLAY.prepare_invoke();
    call.key(&keys.meta).key(&keys.state).key(&keys.retry).key(&keys.log).key(&keys.doubt);
    call.arg(request).arg(now_ms).arg(held.map_or(0, |held| held.first));
    call.arg(held.map(|held| held.tail.to_vec()).unwrap_or_default()).arg(reasons::OWNER_LOST);
    let mut packed = Vec::with_capacity(MESSAGE_BYTES * messages.len());
    for (index, last) in messages {
        packed.extend_from_slice(&index.to_le_bytes());
        packed.extend_from_slice(&[last.generation, last.state, last.attempt.min(15), last.reason]);
        #[allow(clippy::cast_precision_loss, reason = "wall milliseconds stay far below 2^53")]
        packed.extend_from_slice(&(last.due_ms as f64).to_le_bytes());
    }
    call.arg(packed).arg(tokens);
    let reply: Vec<Value> = script::run(connection, &call).await?;
    let mut reply = reply.into_iter();
    let mut next = || reply.next().unwrap_or(Value::Nil);
    let strange = |error: redis::ParsingError| QueueError::Refused(error.to_string());
    match from_redis_value::<String>(next()).map_err(strange)?.as_str() {
        "ok" => {
            let mut count = || from_redis_value(next()).map_err(strange);
            Ok(Written::Done(count()?, count()?))
        }
        "missing" => Ok(Written::Missing),
        _ => Ok(Written::Differs),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::CampaignSeq;

    const LANE: LaneId = LaneId { campaign: CampaignSeq(1), lane: 0 };

    fn at(seconds: u64) -> Mono {
        Mono(Duration::from_secs(seconds))
    }

    fn claimed(indices: std::ops::Range<u32>) -> Wrote {
        let chunks = vec![Held { first: 0, rows: 10, tail: [1; 4] }];
        Wrote::Claimed { token: 7, messages: indices.map(|index| (index, 1, 0)).collect(), chunks }
    }

    #[test]
    fn the_last_word_on_each_message_counts() {
        let mut recent = Recent::new(Duration::from_secs(5));
        recent.push(at(0), LANE, claimed(0..3));
        recent.push(at(1), LANE, Wrote::Released { token: 8, request: 3, messages: vec![(2, 1)] });
        let accepted =
            Settlement { index: 0, generation: 1, state: State::Accepted, attempt: 1, reason: 0, due_ms: 0 };
        recent.push(at(2), LANE, Wrote::Settled(vec![accepted, Settlement { index: 40, ..accepted }]));
        let known = recent.known().remove(&LANE).unwrap();
        let groups = known.by_chunk();
        let states =
            |at: usize| groups[at].1.iter().map(|(index, last)| (*index, last.state)).collect::<Vec<_>>();
        assert_eq!((&known.tokens[..], known.request, groups.len()), (&[7, 8][..], 3, 2));
        assert_eq!((groups[0].0.is_some(), states(0)), (true, vec![(0, 2), (1, 1), (2, GIVEN_BACK)]));
        assert_eq!((groups[1].0, states(1)), (None, vec![(40, 2)]));
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
