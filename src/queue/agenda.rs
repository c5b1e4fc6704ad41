//! The priority queue of a number: its lanes by urgency. A hint; the lanes themselves are the truth.

use super::connection::Connection;
use redis::AsyncCommands;

use super::{QueueError, keys};
use crate::domain::campaign::Priority;
use crate::domain::ids::{LaneId, NumberId};

/// Puts lanes on the agenda of a number. Called before a lane's first append.
pub async fn register(
    connection: &mut Connection,
    number: &NumberId,
    lanes: &[LaneId],
    priority: Priority,
) -> Result<(), QueueError> {
    let entries: Vec<(u8, String)> = lanes.iter().map(|lane| (priority.rank(), lane.to_string())).collect();
    if entries.is_empty() {
        return Ok(());
    }
    Ok(connection.zadd_multiple(keys::agenda(number), &entries).await?)
}

/// Moves a lane to another number: the field first, then the hints.
pub async fn reassign(
    connection: &mut Connection,
    lane: LaneId,
    (from, to): (&NumberId, &NumberId),
    priority: Priority,
) -> Result<(), QueueError> {
    let mut pipeline = redis::pipe();
    pipeline.hset(keys::LaneKeys::new(lane).meta, "num", &*to.0).ignore();
    pipeline.zadd(keys::agenda(to), lane.to_string(), priority.rank()).ignore();
    pipeline.zrem(keys::agenda(from), lane.to_string()).ignore();
    Ok(pipeline.query_async(connection).await?)
}

/// Takes lanes that have nothing left off the agenda.
pub async fn remove(
    connection: &mut Connection,
    number: &NumberId,
    lanes: &[LaneId],
) -> Result<(), QueueError> {
    if lanes.is_empty() {
        return Ok(());
    }
    let names: Vec<String> = lanes.iter().map(LaneId::to_string).collect();
    Ok(connection.zrem(keys::agenda(number), names).await?)
}

/// Lanes on the agenda of a number, most urgent first.
pub async fn read(connection: &mut Connection, number: &NumberId) -> Result<Vec<LaneId>, QueueError> {
    let names: Vec<String> = connection.zrange(keys::agenda(number), 0, -1).await?;
    Ok(names.iter().filter_map(|name| name.parse().ok()).collect())
}
