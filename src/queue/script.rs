//! The scripts, compiled in, and the one way to run them.
//!
//! A script that the server does not know (NOSCRIPT: it restarted or was flushed) is loaded and run again: it
//! did not run the first time. No other answer is retried here, since a script whose reply was lost may have run.

use std::sync::LazyLock;

use super::connection::Connection;
use redis::{ErrorKind, FromRedisValue, ServerErrorKind, ToRedisArgs};

use super::QueueError;

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
    UNSENT = "unsent.lua";
    CAMPAIGN_SET = "campaign_set.lua";
    COUNT_ONE = "count_one.lua";
    ANNOUNCE = "announce.lua";
    HALT = "halt.lua";
    SUPPRESS = "suppress.lua";
    STOP = "stop.lua";
    STOP_BASE = "stop_base.lua";
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

/// Runs a prepared script.
pub(super) async fn run<T: FromRedisValue>(
    connection: &mut Connection,
    call: &Call,
) -> Result<T, QueueError> {
    let command = call.command();
    match command.query_async(connection).await {
        Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
            let () = redis::cmd("SCRIPT").arg("LOAD").arg(call.script.code).query_async(connection).await?;
            Ok(command.query_async(connection).await?)
        }
        answer => Ok(answer?),
    }
}
