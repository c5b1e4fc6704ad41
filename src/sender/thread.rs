//! The thread of a shard: its runtime and everything that lives on it.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::mpsc::{self, UnboundedSender};

use super::chunks::Chunks;
use super::contacts::Contacts;
use super::driver::{Driver, Event};
use super::meters::Meters;
use super::orders::Orders;
use super::pool::Pool;
use super::report::Report;
use super::stops::Stops;
use super::turn::Turn;
use crate::cloud::connection::Gate;
use crate::cloud::endpoint::Endpoint;
use crate::cloud::probe;
use crate::config::CloudConfig;
use crate::journal::{self, Journal, Place};
use crate::metrics::Metrics;
use crate::policy::classify::ErrorTable;
use crate::policy::shard::{Shard, ShardConfig};
use crate::queue::cap::ContactBook;
use crate::queue::client::Client;
use crate::queue::codec::Unpacker;
use crate::queue::link::{Link, Timeouts};
use crate::queue::stops::StopList;

/// Everything a shard is started with.
#[derive(Debug)]
pub struct ShardStart {
    /// Its number, from 0.
    pub shard: usize,
    /// The machine's bounds.
    pub config: ShardConfig,
    /// Seed of the machine's randomness.
    pub seed: u64,
    /// The Cloud API.
    pub cloud: CloudConfig,
    /// Where it is.
    pub endpoint: Endpoint,
    /// What replies mean.
    pub table: Arc<ErrorTable>,
    /// Redis.
    pub redis: Client,
    /// How long to wait for it.
    pub timeouts: Timeouts,
    /// First fencing token of the process; [`Event::Token`] brings newer ones.
    pub token: u64,
    /// How long after a failover others have to say what Redis forgot of them.
    pub grace: Duration,
    /// Name of the installation, part of every message's id.
    pub installation: String,
    /// Chunks kept at most.
    pub max_chunks: usize,
    /// Who is not to be written to.
    pub stops: Arc<StopList>,
    /// Whom this process wrote to, and others.
    pub contacts: Arc<ContactBook>,
    /// Where it counts.
    pub metrics: Arc<Metrics>,
    /// Where its journal goes; None: it has none.
    pub journal: Option<Place>,
    /// Where it reports.
    pub reports: UnboundedSender<Report>,
}

/// A running shard.
#[derive(Debug)]
pub struct ShardHandle {
    /// Where it listens.
    pub events: UnboundedSender<Event>,
    thread: JoinHandle<()>,
}

impl ShardHandle {
    /// Starts the thread of a shard.
    pub fn start(start: ShardStart) -> std::io::Result<Self> {
        let (events, incoming) = mpsc::unbounded_channel();
        let own = events.clone();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let unpacker = Unpacker::new()?;
        let probes = probe::client(&start.cloud, &start.endpoint).map_err(std::io::Error::other)?;
        let thread = std::thread::Builder::new().name(format!("shard-{}", start.shard)).spawn(move || {
            let local = tokio::task::LocalSet::new();
            local.block_on(&runtime, async move {
                let driver = driver(start, probes, unpacker, own);
                driver.run(incoming).await;
            });
        })?;
        Ok(Self { events, thread })
    }

    /// Waits for the thread's end.
    pub fn join(self) {
        drop(self.events);
        let _panicked = self.thread.join();
    }
}

fn driver(
    start: ShardStart,
    probes: reqwest::Client,
    unpacker: Unpacker,
    events: UnboundedSender<Event>,
) -> Driver {
    let news = events.clone();
    let link = Link::new(start.redis, start.timeouts, move |told| drop(news.send(Event::Link(told))));
    let chunks = Rc::new(Chunks::new(start.max_chunks));
    let journal = start.journal.map(|place| {
        let mut journal = Journal::open(&place, &format!("{}{}", journal::SHARD, start.shard));
        // Its file is there from the beginning, so that a missing one is known to be missing. If this fails, so does
        // the first turn, and says so.
        let _later = journal.probe();
        journal
    });
    let limits = (Stops::new(start.stops), Contacts::new(start.contacts));
    Driver {
        shard: start.shard,
        machine: Shard::new(start.config, start.seed),
        orders: Orders::new(link, chunks, unpacker, (start.token, start.grace), limits),
        endpoint: Rc::new(start.endpoint),
        cloud: start.cloud,
        probes,
        table: start.table,
        installation: start.installation,
        events,
        reports: start.reports,
        meters: Meters::new(start.metrics),
        routes: HashMap::new(),
        bodies: HashMap::new(),
        pool: Pool::new(),
        gate: Gate::default(),
        busy: HashMap::new(),
        turn: Turn::new(journal),
        last_connection: 0,
    }
}
