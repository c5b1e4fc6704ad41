//! The log and its base in Redis: appended, read, waited for, and replaced.

use std::time::Duration;

use redis::Value;

use super::batch::{self, Batch, RawEntries};
use crate::queue::connection::Connection;
use crate::queue::{QueueError, keys, script};

/// Entries read at once: about a megabyte at most.
pub const SLICE: usize = 128;

/// A base that was never put in force is gone after this.
const UNUSED_BASE_S: u64 = 3_600;

/// A base: everything up to a version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Base {
    /// Its stream.
    pub key: String,
    /// The last entry of the log that it stands for.
    pub version: u64,
}

/// Adds an entry; its version. A call that is made again adds it twice, which changes nothing.
pub async fn append(connection: &mut Connection, batch: &Batch, now_ms: u64) -> Result<u64, QueueError> {
    let mut call = script::STOP.prepare_invoke();
    call.key(keys::STOP).key(keys::STOP_BASE);
    for (_, value) in batch.fields() {
        call.arg(value);
    }
    call.arg(batch.who.len()).arg(now_ms);
    script::run(connection, &call).await
}

/// The entries above `version`, at most [`SLICE`].
pub async fn after(connection: &mut Connection, version: u64) -> Result<Vec<(u64, Batch)>, QueueError> {
    range(connection, keys::STOP, &format!("({version}-0")).await
}

/// Waits for entries above `version`, for `most` at most. Needs a connection of its own, whose replies may take that long.
pub async fn wait(
    connection: &mut Connection,
    version: u64,
    most: Duration,
) -> Result<Vec<(u64, Batch)>, QueueError> {
    let mut call = redis::cmd("XREAD");
    call.arg("BLOCK").arg(u64::try_from(most.as_millis()).unwrap_or(u64::MAX)).arg("COUNT").arg(SLICE);
    call.arg("STREAMS").arg(keys::STOP).arg(format!("{version}-0"));
    let reply: Option<Vec<(String, Value)>> = call.query_async(connection).await?;
    let Some((_, value)) = reply.and_then(|mut streams| streams.pop()) else {
        return Ok(Vec::new());
    };
    batch::entries(value)?.into_iter().map(|(id, fields)| batch::entry(keys::STOP, &id, fields)).collect()
}

/// The last version that there is.
pub async fn last(connection: &mut Connection) -> Result<u64, QueueError> {
    let mut call = redis::cmd("XREVRANGE");
    call.arg(keys::STOP).arg("+").arg("-").arg("COUNT").arg(1);
    let last: Vec<(String, Value)> = call.query_async(connection).await?;
    let id = last.first().and_then(|(id, _)| id.split('-').next()?.parse().ok());
    Ok(id.unwrap_or(0))
}

/// Entries in the log.
pub async fn length(connection: &mut Connection) -> Result<u64, QueueError> {
    Ok(redis::cmd("XLEN").arg(keys::STOP).query_async(connection).await?)
}

/// The base in force.
pub async fn base(connection: &mut Connection) -> Result<Option<Base>, QueueError> {
    let mut call = redis::cmd("HMGET");
    call.arg(keys::STOP_BASE).arg("key").arg("version");
    let (key, version): (Option<String>, Option<u64>) = call.query_async(connection).await?;
    Ok(key.zip(version).map(|(key, version)| Base { key, version }))
}

/// Entries of a base behind the id `from`, at most [`SLICE`], and the id to go on from; None: that was the last.
pub async fn read_base(
    connection: &mut Connection,
    base: &Base,
    from: &str,
) -> Result<(Vec<Batch>, Option<String>), QueueError> {
    let entries = raw_range(connection, &base.key, from).await?;
    let next = (entries.len() == SLICE).then(|| entries.last().map(|(id, _)| format!("({id}"))).flatten();
    let read = |(id, fields): (String, Vec<Vec<u8>>)| batch::entry(&base.key, &id, fields);
    let batches: Result<Vec<(u64, Batch)>, QueueError> = entries.into_iter().map(read).collect();
    Ok((batches?.into_iter().map(|(_, batch)| batch).collect(), next))
}

/// Adds entries to a base that is not in force yet.
pub async fn write_base(
    connection: &mut Connection,
    base: &Base,
    batches: &[Batch],
) -> Result<(), QueueError> {
    let mut pipeline = redis::pipe();
    for batch in batches {
        let call = pipeline.cmd("XADD").arg(&base.key).arg("*");
        for (name, value) in batch.fields() {
            call.arg(name).arg(value);
        }
        call.ignore();
    }
    pipeline.cmd("EXPIRE").arg(&base.key).arg(UNUSED_BASE_S).ignore();
    Ok(pipeline.query_async(connection).await?)
}

/// Puts a base in force instead of `before`. False: somebody else was faster.
pub async fn put_in_force(
    connection: &mut Connection,
    base: &Base,
    before: Option<&Base>,
    now_ms: u64,
) -> Result<bool, QueueError> {
    let mut call = script::STOP_BASE.prepare_invoke();
    call.key(keys::STOP).key(keys::STOP_BASE).key(&base.key);
    call.arg(before.map_or("", |before| before.key.as_str())).arg(base.version).arg(now_ms);
    let put: i64 = script::run(connection, &call).await?;
    let useless = if put == 1 { before } else { Some(base) };
    if let Some(useless) = useless {
        redis::cmd("UNLINK").arg(&useless.key).query_async::<i64>(connection).await?;
    }
    Ok(put == 1)
}

async fn range(connection: &mut Connection, key: &str, from: &str) -> Result<Vec<(u64, Batch)>, QueueError> {
    let entries = raw_range(connection, key, from).await?;
    entries.into_iter().map(|(id, fields)| batch::entry(key, &id, fields)).collect()
}

async fn raw_range(connection: &mut Connection, key: &str, from: &str) -> Result<RawEntries, QueueError> {
    let mut call = redis::cmd("XRANGE");
    call.arg(key).arg(from).arg("+").arg("COUNT").arg(SLICE);
    Ok(call.query_async(connection).await?)
}
