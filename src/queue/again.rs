//! Trying again what failed: one script call per slice of a lane, as often as it takes.
//!
//! Which reasons may be tried again is not decided here: the caller asks the error table.

use super::connection::Connection;

use super::keys::LaneKeys;
use super::lane::BATCH_MAX;
use super::{QueueError, script};
use crate::domain::ids::LaneId;

/// Whether messages are turned or only counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Turn them.
    Turn,
    /// Only count them.
    Count,
}

/// Turns every message of a lane that failed for `reason` into one that is due at `now_ms`. Returns how many.
pub async fn retry(
    connection: &mut Connection,
    lane: LaneId,
    reason: u8,
    now_ms: u64,
    ask: Ask,
) -> Result<u64, QueueError> {
    let keys = LaneKeys::new(lane);
    let (mut from, mut turned) = (0i64, 0);
    while from >= 0 {
        let mut call = script::RETRY.prepare_invoke();
        call.key(&keys.meta).key(&keys.state).key(&keys.retry);
        call.arg(from).arg(BATCH_MAX).arg(reason).arg(now_ms).arg(u8::from(ask == Ask::Count));
        let (_, next, more): (String, i64, u64) = script::run(connection, &call).await?;
        // Slices only go forward, so a lane has an end.
        from = if next > from { next } else { -1 };
        turned += more;
    }
    Ok(turned)
}
