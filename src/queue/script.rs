//! The scripts, compiled in, and the one way to run them.
//!
//! A script that the server does not know (NOSCRIPT: it restarted or was flushed) is loaded and run again: it
//! did not run the first time. No other answer is retried here, since a script whose reply was lost may have run.

use std::sync::LazyLock;

use super::connection::Connection;
use redis::{FromRedisValue, Script, ScriptInvocation};

use super::QueueError;

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
    OWN = "own.lua";
    UNSENT = "unsent.lua";
    CAMPAIGN_SET = "campaign_set.lua";
    COUNT_ONE = "count_one.lua";
    ANNOUNCE = "announce.lua";
    HALT = "halt.lua";
    SUPPRESS = "suppress.lua";
}

/// Runs a prepared script.
pub(super) async fn run<T: FromRedisValue>(
    connection: &mut Connection,
    script: &ScriptInvocation<'_>,
) -> Result<T, QueueError> {
    Ok(script.invoke_async(connection).await?)
}
