//! The operations on one lane: append, adopt, claim, release, settle.
//!
//! Each is one script call. None keeps state: the token and the request numbers come from the caller, and a
//! call whose reply was lost may be made again with the same request number.

use std::collections::BTreeMap;

use super::connection::Connection;
use redis::{AsyncCommands as _, FromRedisValue, Value, from_redis_value};

use super::keys::LaneKeys;
use super::{QueueError, claims, script};
use crate::domain::ids::{LaneId, NumberId};
use crate::domain::receipt::flags;
use crate::domain::record::{RECORD_BYTES, Record, Settlement, State};

/// Messages at most in one call of a script.
pub const BATCH_MAX: usize = 1000;

/// Lanes whose counters are read in one round trip: so many that the trip does not matter, so few that memory does not
/// grow with the campaign.
const COUNTERS_SLICE: usize = 128;

/// Reasons that the scripts write by themselves: rows of the error table.
pub mod reasons {
    /// The message was claimed 255 times.
    pub const GENERATION_LIMIT: u8 = 9;
    /// The process that was sending it is gone.
    pub const OWNER_LOST: u8 = 10;
    /// Meta held the message back, and no receipt said what became of it.
    pub const HELD_UNHEARD: u8 = 15;
}

/// Untouched messages are what most claims return: one range, no record each.
pub const FRESH_CLAIMED: Record =
    Record { state: State::Sending, attempt: 0, generation: 1, reason: 0, flags: 0 };

/// One chunk to append.
#[derive(Debug)]
pub struct Append<'a> {
    /// Names this append for as long as it may be repeated; unique over all loads.
    pub tag: &'a str,
    /// The lane's number, used when the lane is new.
    pub number: &'a NumberId,
    /// The lane's calendar class, used when the lane is new.
    pub class: u8,
    /// Messages the lane is expected to hold.
    pub capacity: u32,
    /// Rows in the chunk.
    pub rows: usize,
    /// The packed rows.
    pub chunk: &'a [u8],
    /// Keyed hashes of the rows' dedup keys, in groups by bucket; order as in the chunk is not needed.
    pub buckets: &'a BTreeMap<u32, Vec<i64>>,
}

/// What became of an append.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Appended {
    /// All rows are in, the first at this index.
    Done(u32),
    /// Nothing was written: these hashes are in the lane already.
    Duplicates(Vec<i64>),
}

/// How a lane stands after a call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Messages in the lane.
    pub count: u32,
    /// First message never claimed.
    pub next: u32,
    /// When the first retry is due, in wall ms.
    pub next_due_ms: Option<u64>,
}

/// What a lane looked like when it was adopted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Adopted {
    /// How it stands.
    pub standing: Standing,
    /// Messages of a lost owner put in doubt.
    pub in_doubt: u32,
    /// The lane's number as stored.
    pub number: NumberId,
}

/// Messages taken for sending.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claimed {
    /// Index and record after the claim, due ones first.
    pub messages: Vec<(u32, Record)>,
    /// How the lane stands after the claim.
    pub standing: Standing,
    /// Whether enough replicas have the claim. If not, nothing may be sent on it: it is to be released.
    pub kept: bool,
}

/// Counters of a lane.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LaneCounters {
    /// Messages in the lane.
    pub count: u64,
    /// Messages by state; queued is what the others leave.
    pub states: [u64; State::ALL.len()],
    /// Failed, in-doubt and expired messages by state and reason.
    pub reasons: BTreeMap<(State, u8), u64>,
    /// First message never claimed.
    pub next: u64,
    /// Messages by receipt, in the order of [`flags::COUNTED`].
    pub receipts: [u64; flags::COUNTED.len()],
    /// Messages that receipts prove to have arrived twice.
    pub duplicates: u64,
    /// The lane's number.
    pub number: Option<NumberId>,
    /// Token of its last owner.
    pub token: u64,
}

/// Appends one chunk.
pub async fn append(
    connection: &mut Connection,
    lane: LaneId,
    append: &Append<'_>,
) -> Result<Appended, QueueError> {
    let keys = LaneKeys::new(lane);
    let mut call = script::APPEND.prepare_invoke();
    call.key(&keys.meta).key(&keys.log).key(&keys.state);
    for bucket in append.buckets.keys() {
        call.key(keys.seen(*bucket));
    }
    call.arg(append.tag).arg(&*append.number.0).arg(append.class).arg(append.capacity);
    call.arg(append.rows).arg(append.chunk);
    for hashes in append.buckets.values() {
        call.arg(hashes.len()).arg(hashes);
    }
    let (word, rest): (String, Value) = script::run(connection, &call).await?;
    match word.as_str() {
        "ok" => Ok(Appended::Done(value(rest)?)),
        _ => {
            let positions: Vec<usize> = value(rest)?;
            let hashes: Vec<i64> = append.buckets.values().flatten().copied().collect();
            Ok(Appended::Duplicates(positions.iter().filter_map(|at| hashes.get(at - 1).copied()).collect()))
        }
    }
}

/// Makes a lane ours under `token`; with `sweep`, what is sending belongs to a lost owner and goes in doubt.
pub async fn adopt(
    connection: &mut Connection,
    lane: LaneId,
    token: u64,
    sweep: bool,
) -> Result<Adopted, QueueError> {
    let keys = LaneKeys::new(lane);
    let (mut from, mut in_doubt) = (if sweep { 0 } else { -1 }, 0);
    loop {
        let mut call = script::ADOPT.prepare_invoke();
        call.key(&keys.meta).key(&keys.state).key(&keys.retry).key(&keys.doubt);
        call.arg(token).arg(from).arg(BATCH_MAX).arg(reasons::OWNER_LOST);
        call.arg(claims::run());
        let reply: Vec<Value> = script::run(connection, &call).await?;
        let mut fields = Fields::new(&keys.meta, reply)?;
        from = fields.take()?;
        in_doubt += fields.take::<u32>()?;
        let (count, next, due) = (fields.take()?, fields.take()?, fields.take::<i64>()?);
        if from < 0 {
            let number = NumberId::from(fields.take::<String>()?.as_str());
            let standing = Standing { count, next, next_due_ms: u64::try_from(due).ok() };
            return Ok(Adopted { standing, in_doubt, number });
        }
    }
}

/// The token under which a lane was last adopted; None: it never was, as far as this Redis knows.
pub async fn token(connection: &mut Connection, lane: LaneId) -> Result<Option<u64>, QueueError> {
    Ok(connection.hget(LaneKeys::new(lane).meta, "tok").await?)
}

/// Claims up to `fresh` untouched and `due` due messages.
pub async fn claim(
    connection: &mut Connection,
    lane: LaneId,
    (token, request): (u64, u64),
    now_ms: u64,
    (fresh, due): (usize, usize),
) -> Result<Claimed, QueueError> {
    let keys = LaneKeys::new(lane);
    let mut call = script::CLAIM.prepare_invoke();
    call.key(&keys.meta).key(&keys.state).key(&keys.retry).key(&keys.asked);
    call.arg(token).arg(request).arg(now_ms).arg(fresh.min(BATCH_MAX)).arg(due.min(BATCH_MAX));
    call.arg(reasons::GENERATION_LIMIT);
    let done = script::run_promised(connection, &call).await?;
    let kept = done.acked >= done.wanted;
    let mut fields = Fields::new(&keys.meta, done.answer)?;
    let (first, fresh): (u32, u32) = (fields.take()?, fields.take()?);
    let others: Vec<u8> = fields.take()?;
    let (due, count): (i64, u32) = (fields.take()?, fields.take()?);
    let mut messages = Vec::with_capacity(others.len() / 8 + fresh as usize);
    for other in others.chunks_exact(4 + RECORD_BYTES) {
        let (index, record) = other.split_at(4);
        let record = record_of(record).ok_or_else(|| corrupt(&keys.state, "a record has no known state"))?;
        messages.push((u32_of(index), record));
    }
    messages.extend((first..first + fresh).map(|index| (index, FRESH_CLAIMED)));
    let standing = Standing { count, next: first + fresh, next_due_ms: u64::try_from(due).ok() };
    Ok(Claimed { messages, standing, kept })
}

/// Gives back claimed messages `(index, generation)`, unsent. Returns how the lane stands then.
pub async fn release(
    connection: &mut Connection,
    lane: LaneId,
    (token, request): (u64, u64),
    now_ms: u64,
    messages: &mut [(u32, u8)],
) -> Result<Standing, QueueError> {
    messages.sort_unstable_by(|one, other| other.cmp(one));
    let keys = LaneKeys::new(lane);
    let mut call = script::RELEASE.prepare_invoke();
    call.key(&keys.meta).key(&keys.state).key(&keys.retry);
    call.arg(token).arg(request).arg(now_ms).arg(packed(messages));
    // A release that is forgotten leaves its messages in doubt, never twice.
    let mut fields = Fields::new(&keys.meta, script::run_alone(connection, &call).await?)?;
    let _released: u32 = fields.take()?;
    let (count, next, due) = (fields.take()?, fields.take()?, fields.take::<i64>()?);
    Ok(Standing { count, next, next_due_ms: u64::try_from(due).ok() })
}

/// Queues again messages `(index, generation)` that certainly never left, after another owner put them in doubt: it could
/// not know. Returns how many.
pub async fn unsent(
    connection: &mut Connection,
    lane: LaneId,
    now_ms: u64,
    messages: &[(u32, u8)],
) -> Result<u32, QueueError> {
    let keys = LaneKeys::new(lane);
    let mut call = script::UNSENT.prepare_invoke();
    call.key(&keys.meta).key(&keys.state).key(&keys.retry).key(&keys.doubt);
    call.arg(now_ms).arg(reasons::OWNER_LOST).arg(packed(messages));
    script::run(connection, &call).await
}

/// Records what became of messages. Returns how many records were written and how many were left alone.
pub async fn settle(
    connection: &mut Connection,
    lane: LaneId,
    settlements: &mut [Settlement],
) -> Result<(u32, u32), QueueError> {
    let keys = LaneKeys::new(lane);
    let mut call = script::SETTLE.prepare_invoke();
    call.key(&keys.meta).key(&keys.state).key(&keys.retry).key(&keys.doubt).arg(settlement_runs(settlements));
    script::run(connection, &call).await
}

/// Reads the packed chunk that should hold `index`, and the index of its first message.
pub async fn chunk(
    connection: &mut Connection,
    lane: LaneId,
    index: u32,
) -> Result<(u32, Vec<u8>), QueueError> {
    let log = LaneKeys::new(lane).log;
    let mut call = redis::cmd("XREVRANGE");
    call.arg(&log).arg(format!("{}-0", u64::from(index) + 1)).arg("-").arg("COUNT").arg(1);
    let mut entries: Vec<(String, Vec<Vec<u8>>)> = call.query_async(connection).await?;
    let (id, fields) = entries.pop().ok_or_else(|| corrupt(&log, "no chunk holds an index of the lane"))?;
    entry(&log, &id, fields)
}

/// One entry of a lane's log: the index of its first message, and the packed chunk.
pub fn entry(log: &str, id: &str, fields: Vec<Vec<u8>>) -> Result<(u32, Vec<u8>), QueueError> {
    let first =
        id.split('-').next().and_then(|first| first.parse::<u32>().ok()).and_then(|id| id.checked_sub(1));
    let first = first.ok_or_else(|| corrupt(log, "an entry's id is no index"))?;
    let packed = fields.into_iter().nth(1).ok_or_else(|| corrupt(log, "an entry has no chunk"))?;
    Ok((first, packed))
}

/// A chunk that does not unpack, as trouble of its lane.
pub fn undecodable(lane: LaneId, first: u32, error: &super::codec::CodecError) -> QueueError {
    corrupt(&LaneKeys::new(lane).log, &format!("chunk of index {first}: {error}"))
}

/// Counters of many lanes, in few round trips.
pub async fn counters(
    connection: &mut Connection,
    lanes: &[LaneId],
) -> Result<Vec<LaneCounters>, QueueError> {
    let mut all = Vec::with_capacity(lanes.len());
    for slice in lanes.chunks(COUNTERS_SLICE) {
        let mut pipeline = redis::pipe();
        for lane in slice {
            pipeline.cmd("HGETALL").arg(LaneKeys::new(*lane).meta);
        }
        let replies: Vec<Vec<(String, String)>> = pipeline.query_async(connection).await?;
        all.extend(replies.into_iter().map(LaneCounters::from_fields));
    }
    Ok(all)
}

impl LaneCounters {
    fn from_fields(fields: Vec<(String, String)>) -> Self {
        let mut counters = Self::default();
        for (name, text) in fields {
            let number = || text.parse::<i64>().ok().and_then(|n| u64::try_from(n).ok()).unwrap_or(0);
            match name.as_str() {
                "n" => counters.count = number(),
                "next" => counters.next = number(),
                "tok" => counters.token = number(),
                "dup" => counters.duplicates = number(),
                "num" => counters.number = Some(NumberId::from(text.as_str())),
                _ => counters.counter(&name, number()),
            }
        }
        let others: u64 = counters.states.iter().sum();
        counters.states[usize::from(State::Queued.number())] = counters.count.saturating_sub(others);
        counters
    }

    fn counter(&mut self, name: &str, count: u64) {
        if let Some(bit) = name.strip_prefix('f').and_then(|bit| bit.parse::<usize>().ok()) {
            if let Some(slot) = self.receipts.get_mut(bit) {
                *slot = count;
            }
        } else if let Some(state) = name.strip_prefix('s').and_then(|state| state.parse::<usize>().ok()) {
            if let Some(slot) = self.states.get_mut(state) {
                *slot = count;
            }
        } else if let Some((state, reason)) = name.strip_prefix('r').and_then(|rest| rest.split_once('.'))
            && let (Ok(state), Ok(reason)) = (state.parse::<u8>(), reason.parse::<u8>())
            && let Some(state) = State::from_number(state)
            && count > 0
        {
            self.reasons.insert((state, reason), count);
        }
    }

    /// Messages in `state`.
    pub fn of(&self, state: State) -> u64 {
        self.states[usize::from(state.number())]
    }

    /// Adds another lane's counters.
    pub fn add(&mut self, other: &Self) {
        self.count += other.count;
        self.next += other.next;
        for (sum, one) in self.states.iter_mut().zip(other.states) {
            *sum += one;
        }
        for (sum, one) in self.receipts.iter_mut().zip(other.receipts) {
            *sum += one;
        }
        self.duplicates += other.duplicates;
        for (key, count) in &other.reasons {
            *self.reasons.entry(*key).or_default() += count;
        }
    }

    /// Whether nothing is queued, waiting or sending.
    pub fn settled(&self) -> bool {
        State::ALL.into_iter().filter(|state| state.open()).all(|state| self.of(state) == 0)
    }
}

/// Packs settlements as runs of neighbours that became the same.
fn settlement_runs(settlements: &mut [Settlement]) -> Vec<u8> {
    settlements.sort_unstable_by_key(|one| (one.index, one.generation));
    let same = |one: &Settlement, other: &Settlement| {
        other.index == one.index + 1 && Settlement { index: 0, ..*one } == Settlement { index: 0, ..*other }
    };
    let mut packed = Vec::with_capacity(18 * settlements.len());
    for run in settlements.chunk_by(same).flat_map(|run| run.chunks(BATCH_MAX)) {
        let [one, ..] = run else { continue };
        packed.extend_from_slice(&one.index.to_le_bytes());
        packed.extend_from_slice(&u16::try_from(run.len()).unwrap_or(u16::MAX).to_le_bytes());
        packed.extend_from_slice(&[one.generation, one.state.number(), one.attempt.min(15), one.reason]);
        #[allow(clippy::cast_precision_loss, reason = "wall milliseconds stay far below 2^53")]
        packed.extend_from_slice(&(one.due_ms as f64).to_le_bytes());
    }
    packed
}

/// Indices and generations as the scripts read them.
fn packed(messages: &[(u32, u8)]) -> Vec<u8> {
    let five = |(index, generation): &(u32, u8)| {
        let [a, b, c, d] = index.to_le_bytes();
        [a, b, c, d, *generation]
    };
    messages.iter().flat_map(five).collect()
}

fn u32_of(bytes: &[u8]) -> u32 {
    bytes.try_into().map(u32::from_le_bytes).unwrap_or_default()
}

fn record_of(bytes: &[u8]) -> Option<Record> {
    Record::from_bytes(bytes.try_into().ok()?)
}

fn corrupt(key: &str, what: &str) -> QueueError {
    QueueError::Corrupt { key: key.to_owned(), what: what.to_owned() }
}

fn value<T: FromRedisValue>(value: Value) -> Result<T, QueueError> {
    from_redis_value(value).map_err(|error| QueueError::Refused(error.to_string()))
}

/// The fields of a script's answer after its first word.
struct Fields {
    rest: std::vec::IntoIter<Value>,
}

impl Fields {
    fn new(key: &str, reply: Vec<Value>) -> Result<Self, QueueError> {
        let mut rest = reply.into_iter();
        let word: String = rest.next().map(value).transpose()?.unwrap_or_default();
        match word.as_str() {
            "token" => Err(QueueError::Fenced),
            "gone" => Err(QueueError::Forgotten(key.to_owned())),
            // A release asked twice is "stale": it is done. A claim never is, since a shard has one at a time per lane.
            "ok" | "stale" => Ok(Self { rest }),
            _ => Err(corrupt(key, "a script gave an unknown answer")),
        }
    }

    fn take<T: FromRedisValue>(&mut self) -> Result<T, QueueError> {
        let next = self
            .rest
            .next()
            .ok_or_else(|| QueueError::Refused("a script's answer is too short".to_owned()))?;
        value(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settlement(index: u32, state: State) -> Settlement {
        Settlement { index, generation: 1, state, attempt: 1, reason: 0, due_ms: 0 }
    }

    #[test]
    fn neighbours_that_became_the_same_are_one_run() {
        let mut all = [
            settlement(9, State::Accepted),
            settlement(4, State::Accepted),
            settlement(3, State::Accepted),
            settlement(5, State::Failed),
            settlement(2, State::Accepted),
        ];
        let packed = settlement_runs(&mut all);
        let heads: Vec<(u32, u16, u8)> = packed
            .chunks(18)
            .map(|run| (u32_of(&run[..4]), u16::from_le_bytes([run[4], run[5]]), run[7]))
            .collect();
        assert_eq!(heads, [(2, 3, 2), (5, 1, 5), (9, 1, 2)]);
    }

    #[test]
    fn queued_is_what_the_counters_leave() {
        let fields = [
            ("n", "10"),
            ("s1", "2"),
            ("s2", "3"),
            ("r5.12", "1"),
            ("s5", "1"),
            ("num", "42"),
            ("r6.2", "0"),
        ];
        let counters = LaneCounters::from_fields(fields.map(|(k, v)| (k.to_owned(), v.to_owned())).to_vec());
        assert_eq!(counters.of(State::Queued), 4);
        assert_eq!(counters.reasons, BTreeMap::from([((State::Failed, 12), 1)]));
        assert!(!counters.settled());
    }
}
