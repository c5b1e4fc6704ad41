//! Who may send: one process at a time for now, with a heartbeat and a fencing token.

use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncCommands, Value, from_redis_value};

use super::{QueueError, keys, script};

/// How long a heartbeat counts; a second process is refused for as long.
pub const LEASE: Duration = Duration::from_secs(10);

/// What came of asking for ownership.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ownership {
    /// We own it, under this token.
    Ours(u64),
    /// Another node's heartbeat is fresh.
    Held {
        /// The other node.
        node: String,
        /// Age of its heartbeat.
        age: Duration,
    },
}

/// What a caller wants of the ownership.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Become the owner.
    Take,
    /// Stay the owner: a heartbeat.
    Keep,
    /// Stop being the owner.
    Leave,
}

/// The owner as others see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Its name.
    pub node: String,
    /// Age of its heartbeat by Redis' clock.
    pub age: Duration,
    /// The last version of the campaign records it acted on.
    pub acknowledged: u64,
}

/// Takes, keeps or leaves the ownership, and says which version was acted on.
pub async fn own(
    connection: &mut MultiplexedConnection,
    node: &str,
    ask: Ask,
    acknowledged: u64,
) -> Result<Ownership, QueueError> {
    let word = match ask {
        Ask::Take => "take",
        Ask::Keep => "keep",
        Ask::Leave => "leave",
    };
    let mut call = script::OWN.prepare_invoke();
    call.key(keys::OWN).arg(node).arg(LEASE.as_millis().to_string()).arg(word).arg(acknowledged);
    let (word, rest, age): (String, Value, Option<u64>) =
        match script::run::<Vec<Value>>(connection, &call).await?.as_slice() {
            [word, rest] => (text(word)?, rest.clone(), None),
            [word, rest, age] => (text(word)?, rest.clone(), from_redis_value(age.clone()).ok()),
            _ => return Err(QueueError::Refused("own: an answer of unknown shape".to_owned())),
        };
    if word == "ok" {
        let token =
            text(&rest)?.parse().map_err(|_| QueueError::Refused("own: a token is no number".to_owned()))?;
        return Ok(Ownership::Ours(token));
    }
    Ok(Ownership::Held { node: text(&rest)?, age: Duration::from_millis(age.unwrap_or(0)) })
}

/// The live owner, if there is one.
pub async fn live_owner(connection: &mut MultiplexedConnection) -> Result<Option<Owner>, QueueError> {
    let mut pipeline = redis::pipe();
    pipeline.cmd("TIME").cmd("HMGET").arg(keys::OWN).arg("node").arg("beat").arg("ack");
    type Reply = ((u64, u64), (Option<String>, Option<u64>, Option<u64>));
    let ((seconds, micros), (node, beat, acknowledged)): Reply = pipeline.query_async(connection).await?;
    let now_ms = seconds * 1000 + micros / 1000;
    let (Some(node), Some(beat)) = (node, beat) else {
        return Ok(None);
    };
    let age = Duration::from_millis(now_ms.saturating_sub(beat));
    Ok((age < LEASE).then_some(Owner { node, age, acknowledged: acknowledged.unwrap_or(0) }))
}

/// Says at once which version was acted on.
pub async fn acknowledge(
    connection: &mut MultiplexedConnection,
    node: &str,
    version: u64,
) -> Result<(), QueueError> {
    own(connection, node, Ask::Keep, version).await.map(|_| ())
}

/// Stores what this node last said of itself, for `status`; it fades when the node is gone.
pub async fn publish_status(
    connection: &mut MultiplexedConnection,
    node: &str,
    status: &str,
) -> Result<(), QueueError> {
    Ok(connection.set_ex(keys::node_status(node), status, LEASE.as_secs()).await?)
}

/// What the node last said of itself.
pub async fn read_status(
    connection: &mut MultiplexedConnection,
    node: &str,
) -> Result<Option<String>, QueueError> {
    Ok(connection.get(keys::node_status(node)).await?)
}

fn text(value: &Value) -> Result<String, QueueError> {
    from_redis_value(value.clone()).map_err(|error| QueueError::Refused(error.to_string()))
}
