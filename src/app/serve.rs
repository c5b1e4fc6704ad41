//! `serve`: one process that owns the numbers, from the start checks to the last settle.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use futures_util::StreamExt as _;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Notify, mpsc};
use tokio::task::{JoinHandle, LocalSet};
use tokio::time::timeout;

use super::control::{Control, Knowledge};
use super::store::{Installation, Store, StoreError};
use crate::cloud::endpoint::{Endpoint, EndpointError};
use crate::config::Config;
use crate::domain::ids::LaneId;
use crate::domain::record::State;
use crate::http::{self, HttpError, HttpState, Readiness};
use crate::limits;
use crate::metrics::{self, Metrics};
use crate::policy::classify::ErrorTable;
use crate::policy::pace::Exactness;
use crate::policy::shard::ShardConfig;
use crate::queue::link::Link;
use crate::queue::owner::{self, Ask, LEASE, Ownership};
use crate::queue::{QueueError, campaigns, keys, lane};
use crate::redis_server::RedisServer;
use crate::sender::driver::Report;
use crate::sender::thread::{ShardHandle, ShardStart};

/// What `/readyz` calls the engine.
const READY_PART: &str = "engine";

/// First wait of a number after a throttle that does not say, and the longest.
const THROTTLE: (std::time::Duration, std::time::Duration) =
    (std::time::Duration::from_millis(250), std::time::Duration::from_secs(60));

/// First and longest wait of a pair that Meta refused: 4^x seconds.
const PAIR_WAIT: (std::time::Duration, std::time::Duration) =
    (std::time::Duration::from_secs(1), std::time::Duration::from_secs(3600));

/// Why `serve` cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// No Redis to work with.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// Redis refused a command.
    #[error("{0}")]
    Queue(#[from] QueueError),
    /// Another process sends.
    #[error(
        "another serve ({node}) owns these numbers; its last heartbeat was {age_ms} ms ago. Stop it, or wait {} s after its death",
        LEASE.as_secs()
    )]
    Owned {
        /// Its name.
        node: String,
        /// Age of its heartbeat.
        age_ms: u128,
    },
    /// Another process took over.
    #[error("the ownership was lost to another process; everything was stopped at once")]
    Lost,
    /// The Cloud API's address.
    #[error("{0}")]
    Endpoint(#[from] EndpointError),
    /// The port of the metrics.
    #[error("{0}")]
    Http(#[from] HttpError),
    /// A file, port or thread.
    #[error("{what}: {source}")]
    System {
        /// What was tried.
        what: String,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The second signal came before everything in flight had its answer.
    #[error("stopped at once; what was in flight is in doubt")]
    Interrupted,
}

/// Serves until a signal. The first SIGTERM or SIGINT drains, the second stops at once.
pub fn run(config: Config) -> Result<(), ServeError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| system("the runtime", source))?;
    LocalSet::new().block_on(&runtime, serve(config))
}

async fn serve(config: Config) -> Result<(), ServeError> {
    crate::tls::install_default();
    limits::raise_open_files().map_err(|source| system("the limit of open files", source))?;
    let mut terminate = signal(SignalKind::terminate()).map_err(|source| system("SIGTERM", source))?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(|source| system("SIGINT", source))?;
    let endpoint = Endpoint::new(&config.cloud)?;
    let mut store = Store::open(&config).await?;
    let node = format!("{:08x}", rand::random::<u32>());
    let token = match owner::own(&mut store.connection, &node, Ask::Take, 0).await? {
        Ownership::Ours(token) => token,
        Ownership::Held { node, age } => {
            store.close().await?;
            return Err(ServeError::Owned { node, age_ms: age.as_millis() });
        }
    };
    tracing::info!(node, redis = store.facts.version, numbers = config.numbers.len(), "serving");
    sweep(&mut store, token).await?;
    let drain_timeout = config.sender.drain_timeout;
    let mut serving = Serving::start(config, endpoint, store, node, token).await?;
    let outcome = tokio::select! {
        ended = serving.control.run() => ended.map_err(ServeError::from),
        () = serving.lost.notified() => Err(ServeError::Lost),
        () = either(&mut terminate, &mut interrupt) => Ok(()),
    };
    if outcome.is_ok() {
        tracing::info!("draining; a second signal stops at once");
        tokio::select! {
            drained = timeout(drain_timeout, serving.control.drain()) => {
                if drained.is_err() {
                    tracing::warn!("drain_timeout is over; what is in flight stays in doubt");
                }
            }
            () = either(&mut terminate, &mut interrupt) => return Err(ServeError::Interrupted),
        }
    }
    serving.stop().await?;
    outcome
}

async fn either(one: &mut Signal, other: &mut Signal) {
    tokio::select! { _ = one.recv() => {}, _ = other.recv() => {} }
}

/// Puts what a lost owner was sending in doubt, in every campaign, whether it runs or not.
async fn sweep(store: &mut Store, token: u64) -> Result<(), QueueError> {
    let seqs: Vec<_> =
        campaigns::list(&mut store.connection).await?.into_iter().map(|(seq, _)| seq).collect();
    let mut in_doubt = 0;
    for record in campaigns::read_all(&mut store.connection, &seqs).await? {
        let all: Vec<LaneId> =
            (0..record.lanes()).map(|lane| LaneId { campaign: record.seq, lane }).collect();
        let counters = lane::counters(&mut store.connection, &all).await?;
        for (id, _) in all.into_iter().zip(counters).filter(|(_, one)| one.of(State::Sending) > 0) {
            in_doubt += lane::adopt(&mut store.connection, id, token, true).await?.in_doubt;
        }
    }
    if in_doubt > 0 {
        tracing::warn!(in_doubt, "messages that a lost process was sending are in doubt");
    }
    Ok(())
}

/// Everything that runs.
struct Serving {
    control: Control,
    lost: Rc<Notify>,
    store: Store,
    watcher: Option<(JoinHandle<RedisServer>, Rc<Notify>)>,
    helpers: Vec<JoinHandle<()>>,
    node: String,
}

impl Serving {
    async fn start(
        config: Config,
        endpoint: Endpoint,
        mut store: Store,
        node: String,
        token: u64,
    ) -> Result<Self, ServeError> {
        let metrics = Metrics::new();
        let table = Arc::new(ErrorTable::builtin().scaled(config.time_scale));
        let (reports, incoming) = mpsc::unbounded_channel();
        let loopback = config.cloud.is_loopback();
        let shards = shards(&config, &endpoint, &store, &table, &metrics, token, &reports)?;
        let link = Link::new(store.client.clone(), store.timeouts, |_| ());
        let (announced, lost) = (Rc::new(Notify::new()), Rc::new(Notify::new()));
        let acknowledged = Rc::new(Cell::new(0));
        let readiness = Readiness::starting(READY_PART);
        let listener = http::bind(config.http.listen).await?;
        let http = listener.local_addr().map_err(|source| system("http.listen", source))?;
        tracing::info!(%http, "listening");
        let shown = HttpState { metrics: metrics.clone(), readiness: readiness.clone() };
        let mut helpers = vec![tokio::task::spawn_local(async move {
            if let Err(error) = http::serve(listener, shown, std::future::pending()).await {
                tracing::error!(%error, "metrics cannot be read any more");
            }
        })];
        helpers.push(tokio::task::spawn_local(upkeep(metrics.clone())));
        helpers.push(tokio::task::spawn_local(heartbeat(
            link.clone(),
            node.clone(),
            acknowledged.clone(),
            lost.clone(),
        )));
        helpers.push(tokio::task::spawn_local(listen(store.client.clone(), announced.clone())));
        let watcher = store.server.take().map(watch);
        let control = Control {
            node: node.clone(),
            http: http.to_string(),
            link,
            shards,
            reports: incoming,
            table,
            metrics,
            acknowledged,
            announced,
            ready: Box::new(move |ready| {
                if ready { readiness.ready(READY_PART) } else { readiness.not_ready(READY_PART, "draining") }
            }),
            loopback,
            state: Knowledge::default(),
            config,
        };
        Ok(Self { control, lost, store, watcher, helpers, node })
    }

    async fn stop(self) -> Result<(), ServeError> {
        self.helpers.iter().for_each(JoinHandle::abort);
        self.control.stop();
        let mut store = self.store;
        // A Redis that is gone by now cannot be told; the heartbeat fades by itself.
        let _told = owner::own(&mut store.connection, &self.node, Ask::Leave, 0).await;
        if let Some((watcher, enough)) = self.watcher {
            enough.notify_one();
            store.server = watcher.await.ok();
        }
        Ok(store.close().await?)
    }
}

fn shards(
    config: &Config,
    endpoint: &Endpoint,
    store: &Store,
    table: &Arc<ErrorTable>,
    metrics: &Arc<Metrics>,
    token: u64,
    reports: &mpsc::UnboundedSender<Report>,
) -> Result<Vec<ShardHandle>, ServeError> {
    let Installation { name, .. } = &store.installation;
    let start = |shard: usize| {
        ShardHandle::start(ShardStart {
            shard,
            config: shard_config(config),
            seed: rand::random(),
            cloud: config.cloud.clone(),
            endpoint: endpoint.clone(),
            table: table.clone(),
            redis: store.client.clone(),
            timeouts: store.timeouts,
            token,
            installation: name.clone(),
            max_chunks: config.sender.max_chunks,
            metrics: metrics.clone(),
            reports: reports.clone(),
        })
        .map_err(|source| system("a shard's thread", source))
    };
    (0..config.sender.shards.max(1)).map(start).collect()
}

fn shard_config(config: &Config) -> ShardConfig {
    let scale = config.time_scale.max(1);
    ShardConfig {
        exactness: Exactness { tolerance: config.pace.tolerance, arrival_slack: config.pace.arrival_slack },
        claim_ahead: config.pace.claim_ahead,
        max_in_flight: config.pace.max_in_flight,
        max_connections: config.cloud.max_connections,
        max_unsettled: config.sender.max_unsettled,
        settle_delay: config.sender.settle_delay,
        breaker: config.breaker.clone(),
        throttle_base: THROTTLE.0 / scale,
        throttle_max: THROTTLE.1 / scale,
        pair_wait: (PAIR_WAIT.0 / scale, PAIR_WAIT.1 / scale),
    }
}

/// Sorts the samples of histograms even when nobody asks for them.
async fn upkeep(all: Arc<Metrics>) {
    let mut tick = tokio::time::interval(metrics::UPKEEP_INTERVAL);
    loop {
        tick.tick().await;
        all.upkeep();
    }
}

/// Renews the ownership well within the lease, and says which version was acted on.
async fn heartbeat(link: Link, node: String, acknowledged: Rc<Cell<u64>>, lost: Rc<Notify>) {
    let mut beat = tokio::time::interval(LEASE / 4);
    loop {
        beat.tick().await;
        let kept =
            link.call(async |redis| owner::own(redis, &node, Ask::Keep, acknowledged.get()).await).await;
        if !matches!(kept, Ok(Ownership::Ours(_))) {
            tracing::error!("the ownership is lost");
            lost.notify_one();
            return;
        }
    }
}

/// Hears announcements, and looks at the version once a second in case one was not heard.
async fn listen(client: redis::Client, announced: Rc<Notify>) {
    let mut seen = None;
    loop {
        if let Ok(mut heard) = client.get_async_pubsub().await
            && heard.subscribe(keys::EVENTS).await.is_ok()
        {
            announced.notify_one();
            let mut messages = heard.on_message();
            while messages.next().await.is_some() {
                announced.notify_one();
            }
        }
        // Without the subscription the version key tells.
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        if let Ok(mut connection) = client.get_multiplexed_async_connection().await
            && let Ok(version) = campaigns::version(&mut connection).await
            && seen.replace(version) != Some(version)
        {
            announced.notify_one();
        }
    }
}

/// Starts a Redis child again when it dies. Gives the child back when told that it is enough.
fn watch(mut server: RedisServer) -> (JoinHandle<RedisServer>, Rc<Notify>) {
    let enough = Rc::new(Notify::new());
    let told = enough.clone();
    let task = tokio::task::spawn_local(async move {
        loop {
            tokio::select! {
                () = told.notified() => return server,
                () = server.exited() => {}
            }
            match server.ensure_alive().await {
                Ok(true) => tracing::warn!("redis died and was started again"),
                Ok(false) => {}
                Err(error) => tracing::error!(%error, "redis died and cannot be started"),
            }
        }
    });
    (task, enough)
}

fn system(what: &str, source: std::io::Error) -> ServeError {
    ServeError::System { what: what.to_owned(), source }
}
