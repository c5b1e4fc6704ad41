//! The masters of a Redis Cluster: which of them holds a key, and a pipeline divided among them.
//!
//! The map of slots is read once, when the connection is made. A slot that has moved since is an error (`MOVED`): only a
//! new connection knows whether its new server has everything that the old one had acknowledged. A slot that is being
//! moved at this moment (`ASK`) is followed.

use std::collections::BTreeMap;

use crc::{CRC_16_XMODEM, Crc};
use futures_util::future::try_join_all;
use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::{Arg, Cmd, ErrorKind, Pipeline, RedisError, RedisResult, Value, from_redis_value};

use super::QueueError;
use super::client::{Address, Maker, Promise};
use super::link::Timeouts;

/// Slots of every cluster.
const SLOTS: u16 = 16_384;

/// How Redis hashes a key.
const CRC16: Crc<u16> = Crc::<u16>::new(&CRC_16_XMODEM);

/// Commands that name no key: any server may answer.
const WITHOUT_KEY: [&str; 12] = [
    "CLIENT", "CLUSTER", "CONFIG", "DBSIZE", "INFO", "PING", "PUBLISH", "ROLE", "SHUTDOWN", "SLOWLOG",
    "TIME", "WAIT",
];

/// Every master, and the slots of each.
#[derive(Debug)]
pub(super) struct Cluster {
    masters: Vec<Master>,
    /// The master of each slot.
    slots: Box<[u16]>,
    make: Maker,
    timeouts: Timeouts,
}

#[derive(Debug)]
struct Master {
    address: Address,
    connection: MultiplexedConnection,
    /// Replicas that must have a write of it before it counts.
    replicas: u32,
}

/// Where a command goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Route {
    Slot(u16),
    Any,
    All,
}

impl Cluster {
    /// Asks one node for the map of slots, and connects to every master in it.
    pub(super) async fn connect(
        seed: &Address,
        make: Maker,
        timeouts: Timeouts,
        promise: Promise,
    ) -> Result<Self, QueueError> {
        let mut node = make.connect(seed, timeouts).await?;
        let info: String = redis::cmd("CLUSTER").arg("INFO").query_async(&mut node).await?;
        if !info.contains("cluster_state:ok") {
            return Err(QueueError::Lost(format!("{} says that the cluster is down", seed.host)));
        }
        let ranges: Vec<Vec<Value>> = redis::cmd("CLUSTER").arg("SLOTS").query_async(&mut node).await?;
        let (addresses, slots) = masters(&ranges, seed)?;
        let connecting = addresses.into_iter().map(async |address| {
            let mut connection = make.connect(&address, timeouts).await?;
            let replicas = promise.replicas_of(&mut connection).await?;
            Ok::<_, QueueError>(Master { address, connection, replicas })
        });
        let masters = try_join_all(connecting).await?;
        Ok(Self { masters, slots, make, timeouts })
    }

    pub(super) fn masters(&self) -> Vec<MultiplexedConnection> {
        self.masters.iter().map(|master| master.connection.clone()).collect()
    }

    /// Replicas that must have what each master writes.
    pub(super) fn replicas(&self) -> impl Iterator<Item = u32> {
        self.masters.iter().map(|master| master.replicas)
    }

    /// Replicas that must have what is written to a key.
    pub(super) fn replicas_of(&self, key: &[u8]) -> u32 {
        self.masters.get(self.holder(slot(key))).map_or(0, |master| master.replicas)
    }

    /// The master that holds a key.
    fn holder(&self, slot: u16) -> usize {
        self.slots.get(usize::from(slot)).map_or(0, |at| usize::from(*at))
    }

    /// One command. What concerns every server, such as loading a script, goes to all masters.
    pub(super) async fn command(&self, cmd: &Cmd) -> RedisResult<Value> {
        let at = match route(cmd) {
            Route::Slot(slot) => self.holder(slot),
            Route::Any => 0,
            Route::All => {
                let sent = self.masters().into_iter().map(async |mut one| one.req_packed_command(cmd).await);
                let mut replies = try_join_all(sent).await?;
                return replies.pop().ok_or_else(no_master);
            }
        };
        let Some(Master { connection, .. }) = self.masters.get(at) else { return Err(no_master()) };
        let reply = connection.clone().req_packed_command(cmd).await.and_then(Value::extract_error);
        match reply {
            Err(error) if error.code() == Some("ASK") => self.asked(cmd, &error).await,
            reply => reply,
        }
    }

    /// A pipeline, each command at its key's master, all masters at once; a command without a key follows the one before.
    /// What the commands of one master answer comes in their order; between masters there is none.
    pub(super) async fn pipeline(&self, pipeline: &Pipeline) -> RedisResult<Vec<Value>> {
        if pipeline.is_transaction() {
            let problem = "a transaction may touch several slots";
            return Err(RedisError::from((ErrorKind::Client, problem)));
        }
        let commands: Vec<&Cmd> = pipeline.cmd_iter().collect();
        let mut groups: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        let mut at = 0;
        for (position, cmd) in commands.iter().enumerate() {
            if let Route::Slot(slot) = route(cmd) {
                at = self.holder(slot);
            }
            groups.entry(at).or_default().push(position);
        }
        let sent = groups.into_iter().map(async |(at, positions)| {
            let mut part = redis::Pipeline::with_capacity(positions.len());
            for position in &positions {
                part.add_command(commands[*position].clone());
            }
            let Some(Master { connection, .. }) = self.masters.get(at) else { return Err(no_master()) };
            let replies = connection.clone().req_packed_commands(&part, 0, positions.len()).await?;
            Ok(positions.into_iter().zip(replies).collect::<Vec<_>>())
        });
        let mut replies: Vec<Value> = commands.iter().map(|_| Value::Nil).collect();
        for (position, reply) in try_join_all(sent).await?.into_iter().flatten() {
            replies[position] = match reply {
                Value::ServerError(error) if error.code() == "ASK" => {
                    self.asked(commands[position], &RedisError::from(error)).await?
                }
                reply => reply,
            };
        }
        Ok(replies)
    }

    /// Follows a key that is being moved.
    async fn asked(&self, cmd: &Cmd, error: &RedisError) -> RedisResult<Value> {
        let to = error.redirect_node().and_then(|(to, _)| to.rsplit_once(':'));
        let address = to.and_then(|(host, port)| Some(Address::new(host, port.parse().ok()?)));
        let address =
            address.ok_or_else(|| RedisError::from((ErrorKind::Client, "ASK without an address")))?;
        let known = self.masters.iter().find(|known| known.address == address);
        let mut connection = match known {
            Some(master) => master.connection.clone(),
            None => self.make.open(&address, self.timeouts).await?,
        };
        let mut pipeline = redis::pipe();
        pipeline.cmd("ASKING").add_command(cmd.clone());
        let mut replies = connection.req_packed_commands(&pipeline, 0, 2).await?;
        replies.pop().ok_or_else(no_master)?.extract_error()
    }
}

fn no_master() -> RedisError {
    RedisError::from((ErrorKind::Io, "no master holds this slot"))
}

/// The masters of an answer of `CLUSTER SLOTS`, and which of them holds each slot.
fn masters(ranges: &[Vec<Value>], seed: &Address) -> Result<(Vec<Address>, Box<[u16]>), QueueError> {
    let strange = || QueueError::Refused("CLUSTER SLOTS: an answer of unknown shape".to_owned());
    let (mut addresses, mut slots) = (Vec::<Address>::new(), vec![u16::MAX; usize::from(SLOTS)]);
    for range in ranges {
        let [first, last, master, ..] = range.as_slice() else { return Err(strange()) };
        let whole = |value: &Value| from_redis_value::<usize>(value.clone()).map_err(|_| strange());
        let node: Vec<Value> = from_redis_value(master.clone()).map_err(|_| strange())?;
        let [host, port, ..] = node.as_slice() else { return Err(strange()) };
        // A node that does not know its own name is the one that was asked.
        let host: Option<String> = from_redis_value(host.clone()).map_err(|_| strange())?;
        let host = host.filter(|host| !host.is_empty() && host != "?").unwrap_or_else(|| seed.host.clone());
        let port = from_redis_value::<u16>(port.clone()).map_err(|_| strange())?;
        let address = Address::new(&host, port);
        let at = addresses.iter().position(|known| *known == address).unwrap_or_else(|| {
            addresses.push(address);
            addresses.len() - 1
        });
        let at = u16::try_from(at).map_err(|_| strange())?;
        let (first, last) = (whole(first)?, whole(last)?);
        slots.get_mut(first..=last).ok_or_else(strange)?.fill(at);
    }
    match slots.iter().filter(|at| **at == u16::MAX).count() {
        0 => Ok((addresses, slots.into())),
        missing => Err(QueueError::Lost(format!("{missing} of {SLOTS} slots of the cluster have no master"))),
    }
}

/// Where a command goes, by its first key: our scripts and commands touch one slot each.
fn route(cmd: &Cmd) -> Route {
    let mut words = cmd.args_iter().map(|arg| match arg {
        Arg::Simple(bytes) => bytes,
        _ => b"0",
    });
    let name = String::from_utf8_lossy(words.next().unwrap_or_default()).to_ascii_uppercase();
    let key = match name.as_str() {
        "SCRIPT" | "FLUSHALL" => return Route::All,
        "EVAL" | "EVALSHA" => words.nth(2),
        "MEMORY" | "OBJECT" => words.nth(1),
        "XREAD" => words.find(|word| word.eq_ignore_ascii_case(b"STREAMS")).and_then(|_| words.next()),
        name if WITHOUT_KEY.contains(&name) => None,
        _ => words.next(),
    };
    key.map_or(Route::Any, |key| Route::Slot(slot(key)))
}

/// The slot of a key: of what stands between its first braces, if something does.
fn slot(key: &[u8]) -> u16 {
    let tag = key.iter().position(|byte| *byte == b'{').and_then(|open| {
        let rest = &key[open + 1..];
        let close = rest.iter().position(|byte| *byte == b'}')?;
        rest.get(..close).filter(|tag| !tag.is_empty())
    });
    CRC16.checksum(tag.unwrap_or(key)) % SLOTS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_the_slots_that_redis_gives_them() {
        // As CLUSTER KEYSLOT answers.
        for (key, expect) in
            [("foo", 12_182), ("{foo}bar", 12_182), ("x{foo}{y}", 12_182), ("123456789", 12_739)]
        {
            assert_eq!(slot(key.as_bytes()), expect, "{key}");
        }
        assert_ne!(slot(b"{}foo"), slot(b"{}bar"), "empty braces are no tag");
    }

    #[test]
    fn commands_go_by_their_first_key() {
        let check = |words: &[&str], expect: Route| {
            let mut cmd = redis::cmd(words[0]);
            words[1..].iter().for_each(|word| {
                cmd.arg(*word);
            });
            assert_eq!(route(&cmd), expect, "{words:?}");
        };
        check(&["get", "foo"], Route::Slot(12_182));
        check(&["EVALSHA", "abc", "2", "{foo}:a", "{foo}:b", "1"], Route::Slot(12_182));
        check(&["MEMORY", "USAGE", "foo"], Route::Slot(12_182));
        check(&["XREAD", "BLOCK", "9", "STREAMS", "foo", "1-0"], Route::Slot(12_182));
        check(&["INFO", "memory"], Route::Any);
        check(&["TIME"], Route::Any);
        check(&["SCRIPT", "LOAD", "return 1"], Route::All);
    }

    #[test]
    fn a_map_of_slots_must_be_whole() {
        let text = |text: &str| Value::BulkString(text.as_bytes().to_vec());
        let range = |first, last, host: &str, port| {
            let node = Value::Array(vec![text(host), Value::Int(port), text("id")]);
            vec![Value::Int(first), Value::Int(last), node]
        };
        let seed = Address::new("seed", 1);
        let whole = [range(0, 99, "", 7), range(200, 16_383, "b", 8), range(100, 199, "", 7)];
        let (addresses, slots) = masters(&whole, &seed).unwrap();
        assert_eq!(addresses, [Address::new("seed", 7), Address::new("b", 8)]);
        assert_eq!([slots[0], slots[150], slots[200], slots[16_383]], [0, 0, 1, 1]);
        let error = masters(&whole[..2], &seed).unwrap_err();
        assert!(
            matches!(&error, QueueError::Lost(text) if text.starts_with("100 of 16384 slots")),
            "{error}"
        );
        assert!(masters(&[range(0, 16_384, "a", 7)], &seed).is_err());
    }
}
