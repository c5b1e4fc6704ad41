//! What is paused by an operator or halted by a verdict: numbers, templates, accounts, everything.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use super::connection::Connection;
use redis::AsyncCommands;

use super::{QueueError, keys, script};
use crate::domain::ids::NumberId;

/// A scope that can be stopped.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scope {
    /// One sending number.
    Number(NumberId),
    /// One template of one account, `account/name`.
    Template(String),
    /// One WhatsApp Business Account.
    Account(String),
    /// Everything.
    App,
}

/// Why a scope is stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// An operator paused it.
    Operator,
    /// Meta refused with this row of the error table.
    Halted(u8),
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(id) => write!(f, "number:{id}"),
            Self::Template(name) => write!(f, "template:{name}"),
            Self::Account(id) => write!(f, "account:{id}"),
            Self::App => f.write_str("app:all"),
        }
    }
}

impl FromStr for Scope {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (kind, name) = text.split_once(':').ok_or(())?;
        Ok(match kind {
            "number" => Self::Number(NumberId::from(name)),
            "template" => Self::Template(name.to_owned()),
            "account" => Self::Account(name.to_owned()),
            "app" => Self::App,
            _ => return Err(()),
        })
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Operator => f.write_str("operator"),
            Self::Halted(reason) => write!(f, "halted:{reason}"),
        }
    }
}

impl Why {
    fn parse(text: &str) -> Self {
        let halted = text.strip_prefix("halted:").and_then(|reason| reason.parse().ok());
        halted.map_or(Self::Operator, Self::Halted)
    }

    /// The word for it among the reasons for being blocked.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Operator => "paused",
            Self::Halted(_) => "halted",
        }
    }
}

/// Everything that is stopped.
pub async fn read(connection: &mut Connection) -> Result<BTreeMap<Scope, Why>, QueueError> {
    let fields: BTreeMap<String, String> = connection.hgetall(keys::HALTS).await?;
    Ok(fields.iter().filter_map(|(scope, why)| Some((scope.parse().ok()?, Why::parse(why)))).collect())
}

/// Stops a scope. An operator's pause is not overwritten by a verdict. Returns whether it was going before.
pub async fn stop(connection: &mut Connection, scope: &Scope, why: &Why) -> Result<bool, QueueError> {
    let known = if *why == Why::Operator { "over" } else { "keep" };
    let mut call = script::HALT.prepare_invoke();
    call.key(keys::HALTS).arg(scope.to_string()).arg(why.to_string()).arg(known);
    script::run(connection, &call).await
}

/// Lets a scope go on. Returns whether it was stopped.
pub async fn resume(connection: &mut Connection, scope: &Scope) -> Result<bool, QueueError> {
    Ok(connection.hdel::<_, _, i64>(keys::HALTS, scope.to_string()).await? > 0)
}

/// Lets a scope go on if it is stopped for this reason and no other. Returns whether it was.
pub async fn go_on(connection: &mut Connection, scope: &Scope, why: &Why) -> Result<bool, QueueError> {
    let mut call = script::GO_ON.prepare_invoke();
    call.key(keys::HALTS).arg(scope.to_string()).arg(why.to_string());
    script::run(connection, &call).await
}
