//! Erasure of people: who was erased (by keyed hash), the messages taken out of the queue, and the proof.

use std::collections::HashSet;

use super::connection::Connection;
use redis::AsyncCommands;

use super::keys::{self, LaneKeys};
use super::lane::BATCH_MAX;
use super::{QueueError, script};
use crate::domain::ids::LaneId;

/// Reason of a message whose person was erased: a row of the error table.
pub const REASON: u8 = 30;

/// What is kept of an erasure: nothing of the person but a keyed hash.
#[derive(Clone, Debug)]
pub struct Proof<'a> {
    /// When, in wall ms.
    pub at_ms: u64,
    /// Who.
    pub hash: i64,
    /// Who did it.
    pub actor: &'a str,
    /// Why, in the operator's words.
    pub reason: &'a str,
    /// Campaigns and states touched, as JSON.
    pub touched: &'a str,
}

/// The hashes of all erased people.
pub async fn all(connection: &mut Connection) -> Result<HashSet<i64>, QueueError> {
    Ok(connection.smembers(keys::ERASED).await?)
}

/// Adds a person; false: was erased before.
pub async fn add(connection: &mut Connection, hash: i64) -> Result<bool, QueueError> {
    Ok(connection.sadd::<_, _, i64>(keys::ERASED, hash).await? > 0)
}

/// Writes down what was done.
pub async fn prove(connection: &mut Connection, proof: &Proof<'_>) -> Result<(), QueueError> {
    let fields = [
        ("at_ms", proof.at_ms.to_string()),
        ("person", proof.hash.to_string()),
        ("actor", proof.actor.to_owned()),
        ("reason", proof.reason.to_owned()),
        ("touched", proof.touched.to_owned()),
    ];
    let mut call = redis::cmd("XADD");
    call.arg(keys::ERASURES).arg("*").arg(&fields);
    let _: String = call.query_async(connection).await?;
    Ok(())
}

/// Takes messages of a lane out of the queue for good; how many of them were still in it.
pub async fn suppress(connection: &mut Connection, lane: LaneId, indices: &[u32]) -> Result<u64, QueueError> {
    let keys = LaneKeys::new(lane);
    let mut suppressed = 0u64;
    for batch in indices.chunks(BATCH_MAX) {
        let packed: Vec<u8> = batch.iter().flat_map(|index| index.to_le_bytes()).collect();
        let mut call = script::SUPPRESS.prepare_invoke();
        call.key(&keys.meta).key(&keys.state).key(&keys.retry).arg(REASON).arg(packed);
        suppressed += script::run::<u64>(connection, &call).await?;
    }
    Ok(suppressed)
}
