//! Redis' own clock: the one that several nodes share.

use super::connection::Connection;

use super::QueueError;

/// Redis' wall time in milliseconds.
pub async fn now_ms(connection: &mut Connection) -> Result<u64, QueueError> {
    let (seconds, micros): (u64, u64) = redis::cmd("TIME").query_async(connection).await?;
    Ok(seconds * 1000 + micros / 1000)
}
