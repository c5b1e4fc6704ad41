//! Whether messages are in their lanes already. Read only: it is `append` that lets nobody in twice.

use super::connection::Connection;

use super::QueueError;
use super::keys::LaneKeys;
use crate::domain::ids::LaneId;

/// A message as its lane knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The lane of its person.
    pub lane: LaneId,
    /// The bucket of its hash there.
    pub bucket: u32,
    /// Keyed hash of its dedup key.
    pub hash: i64,
}

/// For each entry whether it is there, in one round trip.
pub async fn known(connection: &mut Connection, entries: &[Entry]) -> Result<Vec<bool>, QueueError> {
    if entries.is_empty() {
        return Ok(Vec::new());
    }
    let mut pipeline = redis::pipe();
    for Entry { lane, bucket, hash } in entries {
        pipeline.cmd("SISMEMBER").arg(LaneKeys::new(*lane).seen(*bucket)).arg(hash);
    }
    Ok(pipeline.query_async(connection).await?)
}
