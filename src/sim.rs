//! The simulator of the Cloud API: a server that speaks Meta's protocol and is hostile, and whose ledger is the
//! judge of tests, demo and load tests.
//!
//! It enforces throughput per number and the pair limit, refuses what Meta would refuse, serves the management API
//! (templates, numbers, media), and injects the faults of a plan, drawn from a seed. It tells what became of messages by
//! webhooks. It imports nothing of policy, queue, intake or sender, so that it can judge them. It knows no budget of
//! people yet. Input: requests, a [`SimConfig`] and a [`FaultPlan`].
//!
//! `judge` and below are pure (time and bytes are arguments); `server`, `service`, `socket` are the shell.

use std::net::SocketAddr;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;

use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

pub use config::{SimConfig, SimError};
pub use contacts::ContactCap;
pub use ledger::{LagReport, LedgerReport, NumberReport, StoppedReport};
pub use library::Library;
pub use plan::FaultPlan;
pub use webhook::{Told, WebhookConfig, WebhookPlan, WebhookReport, signed_body, signed_text};

mod allowance;
mod codes;
pub mod config;
mod contacts;
mod draw;
mod hash;
mod hours;
mod identity;
mod judge;
mod ledger;
pub mod library;
mod manage;
mod media;
mod pair;
mod people;
pub mod plan;
mod rate;
mod reply;
mod request;
mod server;
mod service;
mod socket;
mod streams;
mod taken_ids;
mod tls;
mod upload;
pub mod webhook;

use server::Command;

/// A simulator that runs on a thread of its own; dropping it stops it.
#[derive(Debug)]
pub struct Server {
    /// Base URL of the Cloud API, without a trailing slash.
    pub url: String,
    /// Base URL of `/_sim/…` in plain HTTP; outages leave it alone.
    pub control_url: String,
    /// Certificate (PEM) of the authority that signed the server's, with TLS.
    pub ca_pem: Option<String>,
    commands: UnboundedSender<Command>,
    thread: Option<JoinHandle<Result<(), SimError>>>,
}

/// Stops a running server from anywhere.
#[derive(Clone, Debug)]
pub struct Stopper(UnboundedSender<Command>);

struct Started {
    address: SocketAddr,
    control: SocketAddr,
    ca_pem: Option<String>,
}

impl Server {
    /// Starts a simulator; it listens when this returns.
    ///
    /// # Errors
    /// When the configuration is not valid, the address is taken, or the system refuses a thread.
    pub fn start(config: SimConfig) -> Result<Self, SimError> {
        config.validate()?;
        let scheme = if config.tls { "https" } else { "http" };
        let (commands, receiver) = unbounded_channel();
        let (started, starting) = sync_channel(1);
        let run = move || run(config, &started, receiver);
        let thread = std::thread::Builder::new().name("sim".to_owned()).spawn(run);
        let thread = thread.map_err(|source| SimError::Io {
            what: "cannot start the simulator's thread".to_owned(),
            source,
        })?;
        // The thread says where it listens, or ends and says why not.
        match starting.recv() {
            Ok(Started { address, control, ca_pem }) => Ok(Self {
                url: format!("{scheme}://{address}"),
                control_url: format!("http://{control}"),
                ca_pem,
                commands,
                thread: Some(thread),
            }),
            Err(_) => Err(join(thread).err().unwrap_or(SimError::Stopped)),
        }
    }

    /// The ledger as it stands.
    ///
    /// # Errors
    /// When the simulator has stopped.
    pub fn ledger(&self) -> Result<LedgerReport, SimError> {
        self.ask(Command::Ledger)
    }

    /// Clears the ledger; the plan stays and begins anew with the next message request.
    ///
    /// # Errors
    /// When the simulator has stopped.
    pub fn reset(&self) -> Result<(), SimError> {
        self.ask(Command::Reset)
    }

    /// Stops it and returns the last ledger. Open connections are closed.
    ///
    /// # Errors
    /// When it had stopped before by itself: the reason.
    pub fn stop(mut self) -> Result<LedgerReport, SimError> {
        let ledger = self.ledger();
        self.stopper().stop();
        match self.thread.take().map(join) {
            Some(Err(error)) => Err(error),
            _ => ledger,
        }
    }

    /// Waits until it is stopped from elsewhere.
    ///
    /// # Errors
    /// When it stops because it cannot go on.
    pub fn wait(mut self) -> Result<(), SimError> {
        self.thread.take().map_or(Ok(()), join)
    }

    /// Something that can stop it from elsewhere.
    pub fn stopper(&self) -> Stopper {
        Stopper(self.commands.clone())
    }

    fn ask<T>(&self, command: impl FnOnce(SyncSender<T>) -> Command) -> Result<T, SimError> {
        let (to, from) = sync_channel(1);
        let sent = self.commands.send(command(to));
        sent.map_err(|_| SimError::Stopped)?;
        from.recv().map_err(|_| SimError::Stopped)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stopper().stop();
        if let Some(thread) = self.thread.take() {
            // Nobody is left to hear why it stopped.
            let _ = join(thread);
        }
    }
}

impl Stopper {
    /// Stops the server; one that has stopped already stays so.
    pub fn stop(&self) {
        let _ = self.0.send(Command::Stop);
    }
}

/// The whole life of the simulator's thread.
fn run(
    config: SimConfig,
    started: &SyncSender<Started>,
    commands: tokio::sync::mpsc::UnboundedReceiver<Command>,
) -> Result<(), SimError> {
    let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default());
    let runtime = runtime
        .map_err(|source| SimError::Io { what: "cannot start the simulator's runtime".to_owned(), source })?;
    runtime.block_on(async {
        let tls = config.tls.then(tls::make_identity).transpose()?;
        let listening = server::listen(&config)?;
        let told = started.send(Started {
            address: listening.address,
            control: listening.control_address,
            ca_pem: tls.as_ref().map(|identity| identity.ca_pem.clone()),
        });
        told.map_err(|_| SimError::Stopped)?;
        server::serve(listening, config, tls, commands).await
    })
}

fn join(thread: JoinHandle<Result<(), SimError>>) -> Result<(), SimError> {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}
