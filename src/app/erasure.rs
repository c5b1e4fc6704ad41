//! Erasure of one person: their messages found in every campaign, and those not yet sent taken out of the queue.
//!
//! A person has one lane per campaign, so this costs a few lanes, however large the campaigns are. The log of a lane is
//! never rewritten: it keeps what it held until the campaign is archived, but no report reads it out.

use std::collections::BTreeMap;

use crate::queue::connection::Connection;

use crate::domain::ids::LaneId;
use crate::domain::person::Phone;
use crate::domain::record::{RECORD_BYTES, Record, State};
use crate::intake::lanes::{HashKey, Lanes};
use crate::queue::campaigns;
use crate::queue::codec::Unpacker;
use crate::queue::keys::LaneKeys;
use crate::queue::{QueueError, erasure, lane};

/// Chunks read at once.
const CHUNKS_MAX: usize = 50;

/// A person's messages in one campaign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Traces {
    /// The campaign.
    pub id: String,
    /// A load runs: it may bring more.
    pub loading: bool,
    /// Their lane.
    pub lane: LaneId,
    /// Where in it they are.
    pub indices: Vec<u32>,
    /// How many are in which state.
    pub states: BTreeMap<&'static str, u64>,
}

impl Traces {
    /// Messages in a state.
    pub fn of(&self, state: State) -> u64 {
        self.states.get(state.as_str()).copied().unwrap_or(0)
    }
}

/// Finds a person in every campaign; those without a trace are left out, unless a load runs there.
pub async fn find(
    redis: &mut Connection,
    phone: Phone,
    key: HashKey,
    now_ms: u64,
) -> Result<Vec<Traces>, QueueError> {
    let seqs: Vec<_> = campaigns::list(redis).await?.into_iter().map(|(seq, _)| seq).collect();
    let mut all = Vec::new();
    for record in campaigns::read_all(redis, &seqs).await? {
        let Some(lanes) = Lanes::frozen(record.expected, &record.slices) else { continue };
        let lane = LaneId { campaign: record.seq, lane: lanes.lane_of(phone.class(), phone.person(), key) };
        let indices = indices(redis, lane, phone).await?;
        let states = states(redis, lane, &indices).await?;
        let traces = Traces { loading: record.loading(now_ms), id: record.id, lane, indices, states };
        if traces.loading || !traces.indices.is_empty() {
            all.push(traces);
        }
    }
    Ok(all)
}

/// Takes out of the queue what is still in it, and looks again; how many were taken out.
pub async fn suppress(redis: &mut Connection, traces: &mut Traces) -> Result<u64, QueueError> {
    let suppressed = erasure::suppress(redis, traces.lane, &traces.indices).await?;
    traces.states = states(redis, traces.lane, &traces.indices).await?;
    Ok(suppressed)
}

async fn indices(redis: &mut Connection, lane: LaneId, phone: Phone) -> Result<Vec<u32>, QueueError> {
    let log = LaneKeys::new(lane).log;
    let damaged = |_| QueueError::Corrupt { key: log.clone(), what: "no memory to unpack it".to_owned() };
    let mut unpacker = Unpacker::new().map_err(damaged)?;
    let (mut found, mut from) = (Vec::new(), "-".to_owned());
    loop {
        let mut call = redis::cmd("XRANGE");
        call.arg(&log).arg(&from).arg("+").arg("COUNT").arg(CHUNKS_MAX);
        let entries: Vec<(String, Vec<Vec<u8>>)> = call.query_async(redis).await?;
        let Some((last, _)) = entries.last() else { return Ok(found) };
        from = format!("({last}");
        for (id, fields) in entries {
            let (first, packed) = lane::entry(&log, &id, fields)?;
            let chunk =
                unpacker.chunk(first, &packed).map_err(|error| lane::undecodable(lane, first, &error))?;
            let same = |row: &usize| {
                Phone::from_digits(chunk.phone(*row)).is_some_and(|one| one.person() == phone.person())
            };
            let rows = (0..chunk.len()).filter(same);
            found.extend(rows.map(|row| first + u32::try_from(row).unwrap_or(u32::MAX)));
        }
    }
}

async fn states(
    redis: &mut Connection,
    lane: LaneId,
    indices: &[u32],
) -> Result<BTreeMap<&'static str, u64>, QueueError> {
    let mut states = BTreeMap::new();
    if indices.is_empty() {
        return Ok(states);
    }
    let key = LaneKeys::new(lane).state;
    let mut pipeline = redis::pipe();
    for index in indices {
        let at = *index as usize * RECORD_BYTES;
        pipeline.cmd("GETRANGE").arg(&key).arg(at).arg(at + RECORD_BYTES - 1);
    }
    let records: Vec<Vec<u8>> = pipeline.query_async(redis).await?;
    for bytes in records {
        let record = bytes.as_slice().try_into().ok().and_then(Record::from_bytes);
        let record = record.ok_or_else(|| QueueError::Corrupt {
            key: key.clone(),
            what: "a record has no known state".to_owned(),
        })?;
        *states.entry(record.state.as_str()).or_default() += 1;
    }
    Ok(states)
}
