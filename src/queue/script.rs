//! The scripts, compiled in, and the one way to run them.
//!
//! A script that the server does not know (NOSCRIPT: it restarted or was flushed) is loaded and run again: it
//! did not run the first time. No other answer is retried here, since a script whose reply was lost may have run.

use std::sync::LazyLock;
use std::time::Duration;

use redis::aio::ConnectionLike as _;
use redis::{ErrorKind, FromRedisValue, RedisError, ServerErrorKind, ToRedisArgs, Value, from_redis_value};

use super::QueueError;
use super::connection::{Connection, kept, wait};

/// A script and the name under which Redis remembers it.
pub(super) struct Script {
    code: &'static str,
    hash: String,
}

/// A script with its keys and arguments.
pub(super) struct Call {
    script: &'static Script,
    keys: Vec<Vec<u8>>,
    args: Vec<Vec<u8>>,
}

macro_rules! scripts {
    ($($name:ident = $file:literal;)*) => {
        $(pub(super) static $name: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!($file)));)*
    };
}

scripts! {
    APPEND = "append.lua";
    CLAIM = "claim.lua";
    RELEASE = "release.lua";
    RETRY = "retry.lua";
    SETTLE = "settle.lua";
    RECEIPT = "receipt.lua";
    ADOPT = "adopt.lua";
    DOUBTS = "doubts.lua";
    REINDEX = "reindex.lua";
    RESOLVE = "resolve.lua";
    OWN = "own.lua";
    GRACE = "grace.lua";
    EXPIRE = "expire.lua";
    BUDGET = "budget.lua";
    UNSENT = "unsent.lua";
    CAMPAIGN_SET = "campaign_set.lua";
    COUNT_ONE = "count_one.lua";
    ANNOUNCE = "announce.lua";
    REPLAY = "replay.lua";
    HALT = "halt.lua";
    GO_ON = "go_on.lua";
    SUPPRESS = "suppress.lua";
    STOP = "stop.lua";
    STOP_BASE = "stop_base.lua";
    CAP = "cap.lua";
    CAP_JOIN = "cap_join.lua";
}

impl Script {
    fn new(code: &'static str) -> Self {
        Self { code, hash: redis::Script::new(code).get_hash().to_owned() }
    }

    /// A call without keys and arguments yet.
    pub(super) fn prepare_invoke(&'static self) -> Call {
        Call { script: self, keys: Vec::new(), args: Vec::new() }
    }
}

impl Call {
    /// Adds keys; all of a call are of one slot.
    pub(super) fn key(&mut self, key: impl ToRedisArgs) -> &mut Self {
        key.write_redis_args(&mut self.keys);
        self
    }

    /// Adds arguments.
    pub(super) fn arg(&mut self, arg: impl ToRedisArgs) -> &mut Self {
        arg.write_redis_args(&mut self.args);
        self
    }

    fn command(&self) -> redis::Cmd {
        let mut command = redis::cmd("EVALSHA");
        command.arg(&self.script.hash).arg(self.keys.len()).arg(&*self.keys).arg(&*self.args);
        command
    }
}

/// What a script answered, and whether enough replicas have what it wrote.
pub(super) struct Promised<T> {
    pub(super) answer: T,
    pub(super) acked: u32,
    pub(super) wanted: u32,
}

/// Runs a prepared script whose writes count only when enough replicas have them.
pub(super) async fn run<T: FromRedisValue>(
    connection: &mut Connection,
    call: &Call,
) -> Result<T, QueueError> {
    let done = run_promised(connection, call).await?;
    kept(done.acked, done.wanted)?;
    Ok(done.answer)
}

/// The same, for a caller that has something to take back. The replicas are waited for on the same connection, in the
/// same round trip.
pub(super) async fn run_promised<T: FromRedisValue>(
    connection: &mut Connection,
    call: &Call,
) -> Result<Promised<T>, QueueError> {
    let (wanted, patience) = call.keys.first().map_or((0, Duration::ZERO), |key| connection.promise(key));
    if wanted == 0 {
        return Ok(Promised { answer: run_alone(connection, call).await?, acked: 0, wanted });
    }
    let mut pipeline = redis::pipe();
    pipeline.add_command(call.command()).add_command(wait(wanted, patience));
    let mut loaded = false;
    loop {
        let mut replies = connection.req_packed_commands(&pipeline, 0, 2).await?.into_iter();
        let mut next = || replies.next().unwrap_or(Value::Nil).extract_error();
        match next() {
            Err(error) if is_unknown(&error) && !loaded => {
                load(connection, call).await?;
                loaded = true;
            }
            answer => {
                let answer = from_redis_value(answer?).map_err(RedisError::from)?;
                let acked = from_redis_value(next()?).map_err(RedisError::from)?;
                return Ok(Promised { answer, acked, wanted });
            }
        }
    }
}

/// Runs a prepared script whose loss is no harm, without waiting for replicas.
pub(super) async fn run_alone<T: FromRedisValue>(
    connection: &mut Connection,
    call: &Call,
) -> Result<T, QueueError> {
    let command = call.command();
    match command.query_async(connection).await {
        Err(error) if is_unknown(&error) => {
            load(connection, call).await?;
            Ok(command.query_async(connection).await?)
        }
        answer => Ok(answer?),
    }
}

async fn load(connection: &mut Connection, call: &Call) -> Result<(), QueueError> {
    Ok(redis::cmd("SCRIPT").arg("LOAD").arg(call.script.code).query_async(connection).await?)
}

fn is_unknown(error: &RedisError) -> bool {
    error.kind() == ErrorKind::Server(ServerErrorKind::NoScript)
}
