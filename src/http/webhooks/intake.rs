//! The intake: bodies are gathered for a moment over all requests, so that a lane is written once for many receipts.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::{Instant, timeout, timeout_at};

use super::WebhooksStart;
use super::apply::Writer;
use super::secrets::Accounts;
use crate::clock;
use crate::cloud::webhook::Event;

/// How long the first body waits for company: far less than the quarter of a second in which Meta wants its answer.
const GATHER: Duration = Duration::from_millis(15);

/// Events gathered at most.
const EVENTS_MAX: usize = 20_000;

/// Gatherings that are written at the same time.
const WRITES_MAX: usize = 4;

/// Redis has this long, then the bodies are refused and Meta sends them again. It may have written them by then, which
/// does no harm.
const REDIS_PATIENCE: Duration = Duration::from_secs(5);

/// How often owners are told of messages that wait anew.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// One body, read.
pub(super) struct Delivery {
    pub(super) events: Vec<Event>,
    /// Accounts that the signer speaks for.
    pub(super) accounts: Accounts,
    pub(super) heard_at_ms: u64,
    /// Told whether Redis has it.
    pub(super) done: oneshot::Sender<bool>,
    /// Its bytes under way.
    pub(super) _room: OwnedSemaphorePermit,
}

/// Gathers and writes.
pub(super) struct Intake {
    writer: Rc<Writer>,
    address: SocketAddr,
}

impl Intake {
    pub(super) fn new(start: WebhooksStart, address: SocketAddr) -> Self {
        Self { writer: Rc::new(Writer::new(start)), address }
    }

    /// Runs until nobody delivers any more.
    pub(super) async fn run(self, mut incoming: mpsc::Receiver<Delivery>) {
        let upkeep = tokio::task::spawn_local(upkeep(self.writer.clone(), self.address));
        let writes = Arc::new(Semaphore::new(WRITES_MAX));
        while let Some(first) = incoming.recv().await {
            let gathered = gather(first, &mut incoming).await;
            let Ok(turn) = writes.clone().acquire_owned().await else { break };
            let writer = self.writer.clone();
            tokio::task::spawn_local(async move {
                write(&writer, gathered).await;
                drop(turn);
            });
        }
        upkeep.abort();
    }
}

async fn upkeep(writer: Rc<Writer>, address: SocketAddr) {
    writer.note_listen(&address.to_string()).await;
    loop {
        tokio::time::sleep(LOOK_AGAIN).await;
        writer.look_again().await;
    }
}

async fn gather(first: Delivery, incoming: &mut mpsc::Receiver<Delivery>) -> Vec<Delivery> {
    let until: Instant = clock::mono().after(GATHER).to_tokio();
    let mut events = first.events.len();
    let mut gathered = vec![first];
    while events < EVENTS_MAX {
        let Ok(Some(next)) = timeout_at(until, incoming.recv()).await else { break };
        events += next.events.len();
        gathered.push(next);
    }
    gathered
}

async fn write(writer: &Writer, mut gathered: Vec<Delivery>) {
    let written = match timeout(REDIS_PATIENCE, writer.write(&mut gathered)).await {
        Ok(Ok(())) => true,
        Ok(Err(error)) => {
            tracing::error!(%error, bodies = gathered.len(), "webhooks are refused, Meta will send them again");
            false
        }
        Err(_) => {
            tracing::warn!(
                bodies = gathered.len(),
                "redis does not take webhooks now, Meta will send them again"
            );
            false
        }
    };
    for delivery in gathered {
        // Who has hung up meanwhile will ask again.
        let _gone = delivery.done.send(written);
    }
}
