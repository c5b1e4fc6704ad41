//! A rig: the private Redis, the simulator and the engine as real processes in a folder of their own, driven through
//! the program's own commands, as an operator would. `demo` and `bench` stand on it.
//!
//! It measures nothing and judges nothing; the ledger of the simulator does. Whatever way a rig ends, its processes
//! end with it: they are killed when it is dropped, and when this process is killed they notice by themselves.
//! Everything it needs comes as arguments; the environment's own configuration is kept from its children.

mod command;
mod folder;
mod process;
mod settings;
pub mod usage;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use crate::app::store::{Store, StoreError};
use crate::clock;
use crate::config::{Config, ConfigError, LoadOptions};
use crate::queue::connection::Connection;
use crate::queue::{QueueError, owner};
use crate::redis_server::RedisServer;
use crate::sim::LedgerReport;

pub use command::Ran;
pub use folder::Folder;
pub use settings::{ACCOUNT, APP_SECRET, RigPlan};

use process::Process;

/// How long a process may take until it is ready, or until it has ended when asked to.
const PROCESS_TIMEOUT: Duration = Duration::from_secs(60);

/// Pause between two looks at a process.
const POLL: Duration = Duration::from_millis(10);

/// Lines of a log that are shown when its process ended on its own.
const LOG_TAIL_LINES: usize = 8;

/// Why a rig does not stand, or fell.
#[derive(Debug, thiserror::Error)]
pub enum RigError {
    /// The system.
    #[error("{what}: {source}")]
    System {
        /// What was tried.
        what: String,
        /// Why it failed.
        source: std::io::Error,
    },
    /// The configuration that the rig wrote for itself.
    #[error("{0}")]
    Config(#[from] ConfigError),
    /// The private Redis cannot be used.
    #[error("{0}")]
    Redis(#[from] StoreError),
    /// Redis did not answer as it should.
    #[error("{0}")]
    Queue(#[from] QueueError),
    /// A process ended, or was not ready in time.
    #[error("{name} {what}")]
    Process {
        /// Which.
        name: &'static str,
        /// What happened to it, with the end of its log.
        what: String,
    },
    /// A command of the program failed.
    #[error("carteiro {verb}: {message}")]
    Command {
        /// Its verb.
        verb: String,
        /// What it said.
        message: String,
    },
    /// The simulator's ledger cannot be read.
    #[error("cannot read the ledger of the simulator: {0}")]
    Ledger(#[from] reqwest::Error),
    /// Anything else a trial needs and does not have.
    #[error("{0}")]
    Unusable(String),
}

/// The processes of a trial.
#[derive(Debug)]
pub struct Rig {
    /// What it was made from.
    pub plan: RigPlan,
    /// One connection to Redis.
    pub redis: Connection,
    /// Base URL of the simulator.
    pub url: String,
    control_url: String,
    /// Asks the simulator, over connections that it keeps.
    client: reqwest::Client,
    // Dropped in this order: first who writes, then what is written to, then where it lies.
    serves: Vec<Process>,
    sim: Option<Process>,
    store: Option<Store>,
    folder: Folder,
}

impl Rig {
    /// Starts Redis and the simulator; [`Rig::serve`] starts the engine.
    ///
    /// # Errors
    /// When one of them cannot be started; the message says what to do.
    pub async fn start(folder: Folder, plan: RigPlan) -> Result<Self, RigError> {
        crate::tls::install_default();
        let (sim, url, control_url) = start_sim(&plan, folder.path()).await?;
        let path = folder.file("carteiro.toml");
        let text = settings::configuration(&plan, folder.path(), &url);
        std::fs::write(&path, text)
            .map_err(|source| system(format!("cannot write {}", path.display()), source))?;
        let options =
            LoadOptions { env: settings::environment(), ..LoadOptions::of_process(Some(path), Vec::new()) };
        let store = Store::open(&Config::load(&options)?.config).await?;
        let redis = store.connection.clone();
        let (serves, sim, store) = (Vec::new(), Some(sim), Some(store));
        let client = reqwest::Client::new();
        Ok(Self { plan, redis, url, control_url, client, serves, sim, store, folder })
    }

    /// Its folder.
    pub fn folder(&self) -> &Folder {
        &self.folder
    }

    /// Name of its installation, as ids of messages on their way have it.
    pub fn installation(&self) -> String {
        self.store.as_ref().map(|store| store.installation.name.clone()).unwrap_or_default()
    }

    /// Version of its Redis.
    pub fn redis_version(&self) -> String {
        self.store.as_ref().map(|store| store.facts.version.clone()).unwrap_or_default()
    }

    /// Starts the engine and waits until it has taken ownership.
    ///
    /// # Errors
    /// When it ends or does not become ready; the message holds the end of its log.
    pub async fn serve(&mut self) -> Result<(), RigError> {
        self.serve_with("carteiro.toml", &[]).await
    }

    /// Starts one more engine with another file of the folder as its configuration and more words on its command line.
    ///
    /// # Errors
    /// Those of [`Rig::serve`].
    pub async fn serve_with(&mut self, config: &str, words: &[&str]) -> Result<(), RigError> {
        let mut command = command::carteiro()?;
        command.arg("--config").arg(self.folder.file(config)).arg("serve").args(words).stdin(Stdio::null());
        let at = self.serves.len();
        self.serves.push(Process::start("serve", command, &self.log(at))?);
        let begun = clock::mono();
        loop {
            let nodes = owner::live_nodes(&mut self.redis).await?;
            if nodes.len() > at && nodes.iter().all(|node| node.acknowledged > 0) {
                return Ok(());
            }
            let (alive, waited) = (self.serves[at].alive(), clock::mono().since(begun));
            if !alive || waited > PROCESS_TIMEOUT {
                let what = if alive { "is not ready in time" } else { "ended at its start" };
                return Err(self.serve_trouble(at, what));
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Writes a configuration with only these of the numbers, by place, to a file of the folder.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn configure(&self, file: &str, numbers: impl Iterator<Item = u32>) -> Result<(), RigError> {
        let text = settings::configuration_of(&self.plan, self.folder.path(), &self.url, numbers);
        let path = self.folder.file(file);
        std::fs::write(&path, text)
            .map_err(|source| system(format!("cannot write {}", path.display()), source))
    }

    /// Has the engine at this place, in the order of their starts, read its configuration again.
    pub fn reload(&self, at: usize) {
        if let Some(serve) = self.serves.get(at) {
            serve.hang_up();
        }
    }

    /// Stops every engine as an operator would, and waits for their ends.
    pub async fn stop_serving(&mut self) {
        for mut serve in self.serves.drain(..) {
            serve.terminate(PROCESS_TIMEOUT).await;
        }
    }

    /// Process id of the engine that was started first, if one was.
    pub fn serve_id(&self) -> Option<u32> {
        self.serves.first().map(Process::id)
    }

    /// Process id of Redis.
    pub fn redis_id(&self) -> Option<u32> {
        self.store.as_ref().map(|store| store.facts.process_id)
    }

    /// An error if an engine has ended.
    ///
    /// # Errors
    /// With the end of its log.
    pub fn check_serve(&mut self) -> Result<(), RigError> {
        match self.serves.iter_mut().position(|serve| !serve.alive()) {
            Some(at) => Err(self.serve_trouble(at, "ended in the middle of its work")),
            None => Ok(()),
        }
    }

    /// What the simulator saw.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn ledger(&self) -> Result<LedgerReport, RigError> {
        let url = format!("{}/_sim/ledger", self.control_url);
        Ok(self.client.get(url).send().await?.error_for_status()?.json().await?)
    }

    /// Whether it took a message, by its id.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn has_taken(&self, id: &str) -> Result<bool, RigError> {
        let url = format!("{}/_sim/taken?id={id}", self.control_url);
        let said: serde_json::Value = self.client.get(url).send().await?.error_for_status()?.json().await?;
        Ok(said["taken"].as_u64().is_some_and(|times| times > 0))
    }

    /// The ids of the messages it took, one a line; needs `keep_ids`.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn taken_ids(&self) -> Result<bytes::Bytes, RigError> {
        let url = format!("{}/_sim/taken_ids", self.control_url);
        Ok(self.client.get(url).send().await?.error_for_status()?.bytes().await?)
    }

    /// Stops the engine as an operator would, then the rest.
    ///
    /// # Errors
    /// When Redis refuses to stop.
    pub async fn close(mut self) -> Result<(), RigError> {
        self.stop_serving().await;
        if let Some(sim) = &mut self.sim {
            sim.terminate(PROCESS_TIMEOUT).await;
        }
        match self.store.take() {
            Some(store) => Ok(store.close().await?),
            None => Ok(()),
        }
    }

    fn log(&self, at: usize) -> PathBuf {
        self.folder.file(&if at == 0 { "serve.log".to_owned() } else { format!("serve-{at}.log") })
    }

    fn serve_trouble(&self, at: usize, what: &str) -> RigError {
        let what = format!("{what}; the end of its log:\n{}", tail(&self.log(at)));
        RigError::Process { name: "serve", what }
    }
}

impl Drop for Rig {
    /// A rig that was not closed is given up: nothing in its folder is worth waiting for.
    fn drop(&mut self) {
        self.serves.clear();
        drop(self.sim.take());
        let server = self.store.as_ref().and_then(|store| store.server.as_ref());
        if let Some(Ok(client)) = server.map(RedisServer::client)
            && let Ok(mut connection) = client.get_connection_with_timeout(POLL)
        {
            // Commands that were killed a moment ago may still count as its users; it stops all the same. It closes
            // the connection without an answer.
            let _gone = redis::cmd("SHUTDOWN").arg("NOSAVE").exec(&mut connection);
        }
    }
}

/// Starts the simulator; its process, its base URL and that of its ledger.
async fn start_sim(plan: &RigPlan, folder: &Path) -> Result<(Process, String, String), RigError> {
    let mut command = command::carteiro()?;
    command.args(settings::sim_arguments(plan)).stdin(Stdio::piped()).stdout(Stdio::piped());
    let log = folder.join("sim.log");
    let mut sim = Process::start("sim", command, &log)?;
    let Some(stdout) = sim.stdout() else {
        return Err(RigError::Unusable("the simulator has no output".to_owned()));
    };
    // A simulator that never speaks is killed with the rig, and that ends the thread.
    let read = tokio::task::spawn_blocking(move || {
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line).map(|_| line)
    });
    let line = match tokio::time::timeout(PROCESS_TIMEOUT, read).await {
        Ok(Ok(Ok(line))) => line,
        _ => String::new(),
    };
    let said: serde_json::Value = serde_json::from_str(&line).unwrap_or_default();
    match (said["url"].as_str(), said["control_url"].as_str()) {
        (Some(url), Some(control)) => Ok((sim, url.to_owned(), control.to_owned())),
        _ => Err(RigError::Process { name: "sim", what: format!("did not start:\n{}", tail(&log)) }),
    }
}

fn system(what: String, source: std::io::Error) -> RigError {
    RigError::System { what, source }
}

/// The last lines of a log.
fn tail(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LOG_TAIL_LINES)..].join("\n")
}
