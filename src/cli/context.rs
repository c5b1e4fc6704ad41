//! What every command shares: configuration, Redis, waiting for the engine, asking the operator.

use std::io::{self, BufRead};
use std::time::Duration;

use crate::queue::connection::Connection;
use tokio::sync::oneshot;

use super::Global;
use super::exit::{CliError, Exit};
use super::output::Output;
use crate::app::error_table::error_table;
use crate::app::store::Store;
use crate::clock;
use crate::config::{Config, LoadOptions, Loaded};
use crate::policy::classify::ErrorTable;
use crate::queue::{campaigns, owner};

/// How long the engine may take to acknowledge, beyond the lease of a node that died; divided by `time_scale` like every wait.
const ACKNOWLEDGE_TIMEOUT: Duration = Duration::from_secs(5);

/// Pause between two looks at its acknowledgement.
const ACKNOWLEDGE_POLL: Duration = Duration::from_millis(10);

/// What every command shares.
#[derive(Debug)]
pub struct Context {
    /// How and what to print.
    pub out: Output,
    /// The configuration.
    pub config: Config,
    /// Who does this, as they said.
    pub actor: Option<String>,
}

/// What the engine said to a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Acknowledged {
    /// All its nodes act on it.
    By(String),
    /// No engine runs.
    NobodyRuns,
    /// These live and did not answer in time.
    Missing(String),
}

impl Context {
    /// Loads the configuration.
    pub fn new(global: &Global, out: Output) -> Result<Self, CliError> {
        Ok(Self { out, config: load_config(global)?.config, actor: global.actor.clone() })
    }

    /// What replies mean: the operator's table, or the one that is part of the program.
    pub fn error_table(&self) -> Result<ErrorTable, CliError> {
        Ok(error_table(&self.config)?)
    }

    /// Runs `work` with Redis and lets go of it afterwards, whatever came of it.
    pub async fn with_store<T>(
        &self,
        work: impl AsyncFnOnce(&mut Store) -> Result<T, CliError>,
    ) -> Result<T, CliError> {
        let mut store = Store::open(&self.config).await?;
        let done = work(&mut store).await;
        if let Err(error) = store.close().await {
            tracing::error!(%error, "redis was not left in order");
        }
        done
    }

    /// Asks the operator; without a terminal only `--yes` will do.
    pub async fn confirm(&self, question: &str, yes: bool) -> Result<(), CliError> {
        if yes {
            return Ok(());
        }
        if !self.out.can_ask() {
            let message = "not confirmed, and nobody can be asked without a terminal; nothing was changed";
            return Err(CliError::not_confirmed(message).hint("add --yes if it shall be done"));
        }
        self.out.ask(&format!("{question} [y/N] "));
        let (tell, told) = oneshot::channel();
        // A thread of its own, so that Ctrl-C is heard while nobody types.
        std::thread::spawn(move || {
            let mut line = String::new();
            drop(io::stdin().lock().read_line(&mut line));
            drop(tell.send(line));
        });
        let answer = told.await.unwrap_or_default();
        if matches!(answer.trim(), "y" | "Y" | "yes" | "Yes" | "YES") {
            return Ok(());
        }
        Err(CliError::not_confirmed("not confirmed; nothing was changed"))
    }
}

impl Acknowledged {
    /// The node that runs, if one does.
    pub fn node(&self) -> Option<&str> {
        match self {
            Self::By(node) | Self::Missing(node) => Some(node),
            Self::NobodyRuns => None,
        }
    }

    /// An error when the engine lives and did not answer.
    pub fn check(&self) -> Result<(), CliError> {
        let Self::Missing(node) = self else { return Ok(()) };
        let message = format!(
            "the change is stored, but {node} lives and has not acknowledged it in time; it may still begin new sends"
        );
        let hint = "look at the node's log, then give the same command again";
        Err(CliError::new(Exit::Partial, "not_acknowledged", message).hint(hint))
    }
}

/// Loads the configuration.
pub fn load_config(global: &Global) -> Result<Loaded, CliError> {
    Ok(Config::load(&load_options(global)?)?)
}

/// What the configuration is loaded from.
pub fn load_options(global: &Global) -> Result<LoadOptions, CliError> {
    let mut overrides = Vec::new();
    for set in &global.set {
        let (key, value) = set.split_once('=').ok_or_else(|| {
            // The word is not repeated: it may be a secret that lost its key.
            CliError::usage("usage", "a value of --set has no \"=\"")
                .field("--set")
                .hint("write --set cloud.timeout=20s")
        })?;
        overrides.push((key.trim().to_owned(), value.trim().to_owned()));
    }
    if let Some(scale) = global.time_scale {
        overrides.push(("time_scale".to_owned(), scale.to_string()));
    }
    Ok(LoadOptions::of_process(global.config.clone(), overrides))
}

/// Tells the engine that something changed and waits until every node of it acts on it, or its ownership has ended.
pub async fn announce(connection: &mut Connection, config: &Config) -> Result<Acknowledged, CliError> {
    let timeout = (config.ownership.lease + ACKNOWLEDGE_TIMEOUT) / config.time_scale.max(1);
    let version = campaigns::announce(connection).await?;
    let (begun, mut expired) = (clock::mono(), false);
    loop {
        // A node that died is waited for until its lease has ended: until then it may not be dead.
        let nodes = owner::live_nodes(connection).await?;
        let names = |missing: bool| {
            let late = nodes.iter().filter(|node| !missing || node.acknowledged < version);
            late.map(|node| node.node.as_str()).collect::<Vec<_>>().join(", ")
        };
        if nodes.iter().any(|node| node.acknowledged < version) {
            if clock::mono().since(begun) > timeout {
                return Ok(Acknowledged::Missing(names(true)));
            }
            expired = false;
        } else if expired {
            let nobody = nodes.is_empty();
            return Ok(if nobody { Acknowledged::NobodyRuns } else { Acknowledged::By(names(false)) });
        } else if owner::expire(connection).await?.is_zero() {
            // Looked at once more: a node whose lease had ended may have renewed it before nobody could any more.
            expired = true;
            continue;
        }
        // A Redis that lost its last moments may have forgotten a lease: that is over within two leases at most.
        tokio::time::sleep(ACKNOWLEDGE_POLL).await;
    }
}
