//! Whose claims are in a lane: each process has a run, which its lanes name beside their token.

use std::sync::LazyLock;

use super::connection::Connection;

use super::QueueError;
use super::keys::LaneKeys;
use crate::domain::ids::LaneId;
use crate::domain::receipt::flags;
use crate::domain::record::{RECORD_BYTES, Record, State};

/// Bytes of records read at once.
const SLICE_BYTES: usize = 256 * 1024;

/// Drawn once by each process.
static RUN: LazyLock<String> = LazyLock::new(|| format!("{:016x}", rand::random::<u64>()));

/// What a run has claimed in a lane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims {
    /// The token under which it owns the lane.
    pub token: u64,
    /// The number of its last request.
    pub request: u64,
    /// What is being sent, as index and generation.
    pub sending: Vec<(u32, u8)>,
}

/// The run of this process: no other ever has the same.
pub fn run() -> &'static str {
    &RUN
}

/// What a run has claimed in a lane; those of whose current generation a receipt came are left out, since they left. None:
/// the lane has another owner by now, or some of what is sending may be another's.
pub async fn of_run(
    connection: &mut Connection,
    lane: LaneId,
    run: &str,
) -> Result<Option<Claims>, QueueError> {
    let keys = LaneKeys::new(lane);
    let mut call = redis::cmd("HMGET");
    call.arg(&keys.meta).arg(&["tok", "by", "part", "req", "said"]);
    type Reply = (Option<u64>, Option<String>, Option<u8>, Option<u64>, Option<u64>);
    let (token, by, part, request, said): Reply = call.query_async(connection).await?;
    let ours = |token: &u64| by == Some(format!("{run}:{token}")) && said.is_none_or(|said| said <= *token);
    let Some(token) = token.filter(|token| ours(token) && part.is_none()) else {
        return Ok(None);
    };
    let (mut sending, mut from) = (Vec::new(), 0);
    loop {
        let mut call = redis::cmd("GETRANGE");
        call.arg(&keys.state).arg(from).arg(from + SLICE_BYTES - 1);
        let records: Vec<u8> = call.query_async(connection).await?;
        for (at, bytes) in records.chunks_exact(RECORD_BYTES).enumerate() {
            let record = bytes.try_into().ok().and_then(Record::from_bytes);
            let heard = flags::NOW_FAILED | flags::NOW_REACHED;
            let is_sending = |one: &Record| one.state == State::Sending && one.flags & heard == 0;
            if let Some(record) = record.filter(is_sending) {
                let index = u32::try_from(from / RECORD_BYTES + at).unwrap_or(u32::MAX);
                sending.push((index, record.generation));
            }
        }
        from += SLICE_BYTES;
        if records.len() < SLICE_BYTES {
            return Ok(Some(Claims { token, request: request.unwrap_or(0), sending }));
        }
    }
}
