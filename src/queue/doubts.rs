//! Messages in doubt: which there are and since when, how they end, and what is known of their numbers' receipts.
//!
//! Nothing here decides: [`crate::policy::doubt`] does. Ending a doubt asks for no token: it applies only to a record that
//! is as it was seen, so that two who decide at once end it once.

use redis::AsyncCommands;

use super::connection::Connection;
use super::keys::{self, LaneKeys};
use super::lane::{BATCH_MAX, reasons};
use super::{QueueError, script};
use crate::domain::ids::{LaneId, NumberId};
use crate::domain::record::{RECORD_BYTES, Record, State};
use crate::policy::doubt::Hearing;

/// Lanes asked in one round trip.
const LANES_SLICE: usize = 128;

/// Bytes of a message in the answer of `doubts.lua`.
const ENTRY_BYTES: usize = 16;

/// What a lane holds that may be or come to be in doubt.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Doubtful {
    /// Messages in doubt.
    pub in_doubt: u64,
    /// Messages being sent.
    pub sending: u64,
    /// Messages that Meta holds back.
    pub held: u64,
    /// Its number.
    pub number: Option<NumberId>,
}

/// A message in doubt, or one that was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message {
    /// Position in the lane.
    pub index: u32,
    /// Its record.
    pub record: Record,
    /// Since when it is in doubt, in wall ms by Redis' clock; 0 where that was not asked.
    pub since_ms: u64,
}

/// Some messages of a lane that are in doubt.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// Messages in doubt, as counted.
    pub counted: u64,
    /// Entries of the index.
    pub indexed: u64,
    /// Those of the page.
    pub messages: Vec<Message>,
}

/// How a doubt ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ending {
    /// The message, as it was seen: in doubt, unresolved or held.
    pub seen: Message,
    /// What it becomes: accepted, waiting (due now) or unresolved.
    pub to: State,
    /// Attempts that it has had, to be counted on from.
    pub attempt: u8,
}

/// What lanes hold.
pub async fn look(connection: &mut Connection, lanes: &[LaneId]) -> Result<Vec<Doubtful>, QueueError> {
    let mut all = Vec::with_capacity(lanes.len());
    for slice in lanes.chunks(LANES_SLICE) {
        let mut pipeline = redis::pipe();
        for lane in slice {
            pipeline.cmd("HMGET").arg(LaneKeys::new(*lane).meta).arg(&["s6", "s1", "s3", "num"]);
        }
        type Found = (Option<i64>, Option<i64>, Option<i64>, Option<String>);
        let found: Vec<Found> = pipeline.query_async(connection).await?;
        let count = |count: Option<i64>| count.and_then(|count| u64::try_from(count).ok()).unwrap_or(0);
        all.extend(found.into_iter().map(|(in_doubt, sending, held, number)| Doubtful {
            in_doubt: count(in_doubt),
            sending: count(sending),
            held: count(held),
            number: number.as_deref().map(NumberId::from),
        }));
    }
    Ok(all)
}

/// Messages of a lane in doubt from the `from`th on, those first that are so longest.
pub async fn page(connection: &mut Connection, lane: LaneId, from: u64) -> Result<Page, QueueError> {
    let keys = LaneKeys::new(lane);
    let mut call = script::DOUBTS.prepare_invoke();
    call.key(&keys.meta).key(&keys.state).key(&keys.doubt).arg(from).arg(BATCH_MAX);
    let (counted, indexed, bytes): (i64, u64, Vec<u8>) = script::run(connection, &call).await?;
    let mut messages = Vec::with_capacity(bytes.len() / ENTRY_BYTES);
    for entry in bytes.chunks_exact(ENTRY_BYTES) {
        let (index, rest) = entry.split_at(4);
        let (record, since) = rest.split_at(RECORD_BYTES);
        let since = f64::from_le_bytes(since.try_into().unwrap_or_default());
        messages.push(Message {
            index: u32::from_le_bytes(index.try_into().unwrap_or_default()),
            record: read(&keys, record)?,
            #[allow(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "wall milliseconds are whole and far below 2^53"
            )]
            since_ms: since.max(0.0) as u64,
        });
    }
    Ok(Page { counted: u64::try_from(counted).unwrap_or(0), indexed, messages })
}

/// Makes the index of a lane what its records say.
pub async fn reindex(connection: &mut Connection, lane: LaneId) -> Result<(), QueueError> {
    let keys = LaneKeys::new(lane);
    let mut from = 0i64;
    while from >= 0 {
        let mut call = script::REINDEX.prepare_invoke();
        call.key(&keys.meta).key(&keys.state).key(&keys.doubt).arg(from).arg(BATCH_MAX);
        let next: i64 = script::run(connection, &call).await?;
        // Slices only go forward, so a lane has an end.
        from = if next > from { next } else { -1 };
    }
    Ok(())
}

/// Ends doubts. Returns how many were as they had been seen. Asked again, nothing is left to change.
pub async fn end(
    connection: &mut Connection,
    lane: LaneId,
    now_ms: u64,
    endings: &[Ending],
) -> Result<u64, QueueError> {
    let keys = LaneKeys::new(lane);
    let mut changed = 0;
    for batch in endings.chunks(BATCH_MAX) {
        let mut packed = Vec::with_capacity(8 * batch.len());
        for Ending { seen, to, attempt } in batch {
            packed.extend_from_slice(&seen.index.to_le_bytes());
            let record = seen.record;
            packed.extend_from_slice(&[record.generation, record.state.number(), to.number(), *attempt]);
        }
        let mut call = script::RESOLVE.prepare_invoke();
        call.key(&keys.meta).key(&keys.state).key(&keys.retry).key(&keys.doubt).arg(now_ms).arg(packed);
        call.arg(reasons::HELD_UNHEARD);
        changed += script::run::<u64>(connection, &call).await?;
    }
    Ok(changed)
}

/// Messages of a lane in one of `states`, among the thousand from `from` on; None: the lane ends before.
pub async fn records(
    connection: &mut Connection,
    lane: LaneId,
    from: u32,
    states: &[State],
) -> Result<Option<Vec<Message>>, QueueError> {
    let keys = LaneKeys::new(lane);
    let count: Option<u32> = connection.hget(&keys.meta, "n").await?;
    let upto = count.unwrap_or(0).min(from.saturating_add(u32::try_from(BATCH_MAX).unwrap_or(u32::MAX)));
    if from >= upto {
        return Ok(None);
    }
    let at = |index: u32| isize::try_from(index).unwrap_or(isize::MAX).saturating_mul(4);
    let bytes: Vec<u8> = connection.getrange(&keys.state, at(from), at(upto) - 1).await?;
    let mut found = Vec::new();
    for (index, record) in (from..).zip(bytes.chunks_exact(RECORD_BYTES)) {
        let record = read(&keys, record)?;
        if states.contains(&record.state) {
            found.push(Message { index, record, since_ms: 0 });
        }
    }
    Ok(Some(found))
}

/// What is known of the receipts of numbers: the latest send that was heard of, and what their owners noted.
pub async fn hearings(
    connection: &mut Connection,
    numbers: &[NumberId],
) -> Result<Vec<(Option<u64>, Hearing)>, QueueError> {
    if numbers.is_empty() {
        return Ok(Vec::new());
    }
    let fields: Vec<String> =
        numbers.iter().flat_map(|number| [format!("sent:{number}"), format!("doubt:{number}")]).collect();
    let found: Vec<Option<String>> =
        redis::cmd("HMGET").arg(keys::WEBHOOKS).arg(&fields).query_async(connection).await?;
    let pairs = found.chunks_exact(2).map(|pair| {
        let sent = pair[0].as_ref().and_then(|text| text.parse().ok());
        (sent, pair[1].as_deref().map(Hearing::from_text).unwrap_or_default())
    });
    Ok(pairs.collect())
}

/// Notes what an owner knows of the receipts of its numbers.
pub async fn note_hearings(
    connection: &mut Connection,
    hearings: &[(NumberId, Hearing)],
) -> Result<(), QueueError> {
    if hearings.is_empty() {
        return Ok(());
    }
    let fields: Vec<(String, String)> =
        hearings.iter().map(|(number, one)| (format!("doubt:{number}"), one.to_text())).collect();
    Ok(connection.hset_multiple(keys::WEBHOOKS, &fields).await?)
}

fn read(keys: &LaneKeys, bytes: &[u8]) -> Result<Record, QueueError> {
    let record = bytes.try_into().ok().and_then(Record::from_bytes);
    record.ok_or_else(|| QueueError::Corrupt {
        key: keys.state.clone(),
        what: "a record has no known state".to_owned(),
    })
}
