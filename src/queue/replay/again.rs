//! What is to be written again, message by message, and how it is.

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use redis::{AsyncCommands, Value, from_redis_value};

use super::super::connection::Connection;
use super::super::keys::LaneKeys;
use super::super::lane::{Appended, BATCH_MAX, append, reasons};
use super::super::{QueueError, agenda, receipt, script};
use super::{Chunk, GIVEN_BACK, Held, Last, Move, Wrote};
use crate::clock;
use crate::domain::ids::LaneId;
use crate::domain::receipt::Receipt;
use crate::domain::record::{Settlement, State};

/// How long a load waits for chunks of others that stood before its own, and how often it looks.
const OTHERS: (Duration, Duration) = (Duration::from_secs(5), Duration::from_millis(50));

/// Bytes of one message in the script's arguments.
const MESSAGE_BYTES: usize = 16;

/// Tokens of one lane that are said at most, the latest: it changes hands once a lease, and the window is a few of those.
const TOKENS_MAX: usize = 16;

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
    moves: Vec<Move>,
}

/// Messages of one chunk, if it is known.
type Group = (Option<Held>, Vec<(u32, Last)>);

/// What one call of the script says: the last of messages of one chunk.
#[derive(Clone, Debug)]
pub struct Batch {
    /// Their lane.
    pub lane: LaneId,
    /// The tokens under which the lane was ours lately. Redis may have forgotten that it was adopted anew, and what was given
    /// back after that: it notes the newest that anybody says, and who has that one is its last owner.
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
    /// Messages whose lane ends before their chunk, receipts of such, and moves of lanes that are not there: whoever loaded
    /// them may put them there again.
    pub missing: u64,
}

impl Again {
    /// The last that is known of every message, by what was acknowledged in this order, of so many batches.
    pub(super) fn of<'a>(batches: impl Iterator<Item = (LaneId, &'a Wrote)>, pushed: u64) -> Self {
        let mut lanes: BTreeMap<LaneId, Known> = BTreeMap::new();
        batches.for_each(|(lane, wrote)| lanes.entry(lane).or_default().learn(wrote));
        Self { lanes, pushed }
    }

    /// Batches that had ever been kept then.
    pub(super) fn pushed(&self) -> u64 {
        self.pushed
    }

    /// Writes it, lane by lane and chunk by chunk. What is there already stays as it is.
    pub async fn replay(&self, connection: &mut Connection, now_ms: u64) -> Result<Replayed, QueueError> {
        let mut replayed = self.append_again(connection).await?;
        replayed.missing += self.move_again(connection).await?;
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

    /// Lanes that were given other numbers, in order.
    pub fn moves(&self) -> impl Iterator<Item = (LaneId, &Move)> {
        let of = |(lane, known): (&LaneId, _)| (*lane, known);
        self.lanes
            .iter()
            .map(of)
            .flat_map(|(lane, known): (_, &Known)| known.moves.iter().map(move |one| (lane, one)))
    }

    /// Gives lanes the numbers again that they were given, if Redis has forgotten that. Returns how many are not there.
    async fn move_again(&self, connection: &mut Connection) -> Result<u64, QueueError> {
        let mut missing = 0;
        for (lane, Move { from, to, priority }) in self.moves() {
            let number: Option<String> = connection.hget(LaneKeys::new(lane).meta, "num").await?;
            match number {
                Some(number) if *number == *from.0 => {
                    agenda::reassign(connection, lane, (from, to), *priority).await?;
                }
                Some(_) => {}
                None => missing += 1,
            }
        }
        Ok(missing)
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
    /// What was acknowledged after all that is known.
    fn learn(&mut self, wrote: &Wrote) {
        match wrote {
            Wrote::Claimed { call: (token, request), messages, chunks } => {
                self.held_under(*token);
                self.chunks.extend(chunks.iter().map(|held| (held.first, *held)));
                for &(index, generation, attempt) in messages {
                    let state = State::Sending.number();
                    let request = *request;
                    self.last
                        .insert(index, Last { generation, state, attempt, reason: 0, due_ms: 0, request });
                }
            }
            Wrote::Released { token, request, messages } => {
                self.held_under(*token);
                self.request = self.request.max(*request);
                for &(index, generation) in messages {
                    let claimed = self.last.get(&index).filter(|last| last.generation == generation);
                    let attempt = claimed.map_or(0, |last| last.attempt);
                    let last =
                        Last { generation, state: GIVEN_BACK, attempt, reason: 0, due_ms: 0, request: 0 };
                    self.last.insert(index, last);
                }
            }
            Wrote::Settled(settlements) => {
                for one in settlements {
                    let &Settlement { index, generation, state, attempt, reason, due_ms } = one;
                    let state = state.number();
                    self.last.insert(index, Last { generation, state, attempt, reason, due_ms, request: 0 });
                }
            }
            Wrote::Received(receipts, most) => self.received.push((receipts.clone(), *most)),
            Wrote::Appended(chunk) => self.appended.push_back(chunk.clone()),
            Wrote::Moved(one) => self.moves.push(one.clone()),
        }
    }

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
        #[allow(clippy::cast_precision_loss, reason = "wall milliseconds and requests stay far below 2^53")]
        packed.extend_from_slice(&(last.due_ms.max(last.request) as f64).to_le_bytes());
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
    use super::super::Recent;
    use super::super::tests::{LANE, at, claimed};
    use super::*;

    #[test]
    fn the_last_word_on_each_message_counts() {
        let mut recent = Recent::new(Duration::from_secs(5));
        recent.push(at(0), LANE, claimed(0..3));
        recent.push(at(1), LANE, Wrote::Released { token: 8, request: 3, messages: vec![(2, 1)] });
        let accepted =
            Settlement { index: 0, generation: 1, state: State::Accepted, attempt: 1, reason: 0, due_ms: 0 };
        recent.push(at(2), LANE, Wrote::Settled(vec![accepted, Settlement { index: 40, ..accepted }]));
        let known = recent.again().lanes.remove(&LANE).unwrap();
        let groups = known.by_chunk();
        let states =
            |at: usize| groups[at].1.iter().map(|(index, last)| (*index, last.state)).collect::<Vec<_>>();
        assert_eq!((&known.tokens[..], known.request, groups.len()), (&[7, 8][..], 3, 2));
        assert_eq!((groups[0].0.is_some(), states(0)), (true, vec![(0, 2), (1, 1), (2, GIVEN_BACK)]));
        assert_eq!((groups[1].0, states(1)), (None, vec![(40, 2)]));
    }
}
