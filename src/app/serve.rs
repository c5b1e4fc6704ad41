//! `serve`: one process that owns numbers, from the start checks to the last settle.

use std::rc::Rc;
use std::sync::Arc;

use futures_util::StreamExt as _;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc::{self, UnboundedReceiver};
use tokio::sync::{Notify, watch};
use tokio::task::{JoinHandle, LocalSet};
use tokio::time::timeout;

use super::control::{Control, Far, Knowledge, Reloader};
use super::error_table::{ErrorsFileError, error_table};
use super::hours::HoursBook;
use super::mark;
use super::ownership::{JoinError, News, Ownership};
use super::receipts;
use super::retention::Retention;
use super::stop_words::{StopWordsFileError, stop_words};
use super::stops::Stops;
use super::store::{Installation, Store, StoreError};
use super::unbegun;
use crate::clock;
use crate::cloud::endpoint::{Endpoint, EndpointError};
use crate::config::calendars::CalendarsError;
use crate::config::{Config, LoadOptions};
use crate::http::webhooks::{Bound, Meaning, Webhooks, WebhooksStart};
use crate::http::{self, HttpError, HttpState, Readiness};
use crate::journal::{self, Journal, JournalError, Keeper};
use crate::limits;
use crate::metrics::{self, Metrics};
use crate::policy::adapt::AdaptConfig;
use crate::policy::classify::ErrorTable;
use crate::policy::pace::Exactness;
use crate::policy::shard::ShardConfig;
use crate::queue::cap::ContactBook;
use crate::queue::client::Client;
use crate::queue::guard::Guard;
use crate::queue::link::{Link, Timeouts};
use crate::queue::{QueueError, campaigns, claims, keys};
use crate::redis_server::RedisServer;
use crate::sender::report::Report;
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
    /// It cannot join those that share the numbers.
    #[error("{0}")]
    Join(#[from] JoinError),
    /// The table of calendars.
    #[error("{0}")]
    Calendars(#[from] CalendarsError),
    /// The Cloud API's address.
    #[error("{0}")]
    Endpoint(#[from] EndpointError),
    /// What replies mean.
    #[error("{0}")]
    Errors(#[from] ErrorsFileError),
    /// What people write to hear no more.
    #[error("{0}")]
    StopWords(#[from] StopWordsFileError),
    /// The port of the metrics.
    #[error("{0}")]
    Http(#[from] HttpError),
    /// The journal.
    #[error("{0}, or set journal.enabled = false")]
    Journal(#[from] JournalError),
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

/// Serves until a signal. The first SIGTERM or SIGINT drains, the second stops at once; SIGHUP has tokens, numbers and
/// the error table read again from `source`, which is what `config` was loaded from.
pub fn run(config: Config, source: LoadOptions) -> Result<(), ServeError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| system("the runtime", source))?;
    LocalSet::new().block_on(&runtime, serve(config, source))
}

async fn serve(config: Config, source: LoadOptions) -> Result<(), ServeError> {
    let reloader = Reloader::new(source).map_err(|source| system("SIGHUP", source))?;
    crate::tls::install_default();
    limits::raise_open_files().map_err(|source| system("the limit of open files", source))?;
    let mut terminate = signal(SignalKind::terminate()).map_err(|source| system("SIGTERM", source))?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(|source| system("SIGINT", source))?;
    // A file that reaches a limit of the system shall be an error of the write, not the end of the process.
    let too_large = SignalKind::from_raw(nix::sys::signal::Signal::SIGXFSZ as i32);
    let _too_large = signal(too_large).map_err(|source| system("SIGXFSZ", source))?;
    let endpoint = Endpoint::new(&config.cloud)?;
    // Before anything is joined or opened: with words that cannot be read it does not start at all, and whoever cannot listen
    // must take no number from those who can.
    let meaning = Meaning {
        table: Arc::new(error_table(&config)?.scaled(config.time_scale)),
        words: Arc::new(stop_words(&config)?),
    };
    let ports = Ports {
        http: http::bind(config.http.listen).await?,
        webhooks: config.webhooks.listen.map(Bound::open).transpose()?,
    };
    let mut store = Store::open(&config).await?;
    let guard = guard(&mut store, &config).await?;
    // In the name of a dead process, so before anything is ours; and before a keeper compresses its files.
    if !guard.stopped() {
        unbegun::release(&mut store, &config).await?;
    }
    let joined = match Ownership::join(&store, &config, config.sender.shards.max(1)).await {
        Ok(joined) => joined,
        Err(error) => {
            store.close().await?;
            return Err(error.into());
        }
    };
    tracing::info!(
        node = joined.0.node(),
        redis = store.facts.version,
        numbers = config.numbers.len(),
        "serving"
    );
    let drain_timeout = config.sender.drain_timeout;
    let journal = open_journal(&config, &store.installation.name, joined.0.node())?;
    let ways = (store.client.clone(), store.timeouts);
    let retention = Retention::start(&config, ways, store.installation.clone())
        .map_err(|source| system("the retention's thread", source))?;
    let mut serving =
        Serving::start(config, (endpoint, meaning, reloader, ports), (store, guard), joined, journal).await?;
    let outcome = tokio::select! {
        ended = serving.control.run() => ended.map_err(ServeError::from),
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
    // Before Redis goes.
    drop(retention);
    serving.stop().await?;
    outcome
}

/// What this process remembers of Redis, and a first look at the one it found: an emptied or older one is no error of the
/// start, since the right one may come back.
async fn guard(store: &mut Store, config: &Config) -> Result<Arc<Guard>, ServeError> {
    let mark =
        mark::load(&config.data_dir).map_err(|source| system("what is remembered of redis", source))?;
    let guard = Guard::new(mark);
    match guard.check(&mut store.connection).await {
        Ok(_) | Err(QueueError::RolledBack(_)) => Ok(guard),
        Err(error) => Err(error.into()),
    }
}

/// A keeper, and a place for every writer of this process. None: there is no journal.
fn open_journal(
    config: &Config,
    installation: &str,
    node: &str,
) -> Result<Option<(Keeper, journal::Place)>, JournalError> {
    if !config.journal.enabled {
        tracing::warn!("journal.enabled is false: reports will have no times, and why knows Redis only");
        return Ok(None);
    }
    let settings = &config.journal;
    let bounds = (settings.segment_bytes, settings.segment_age);
    let place = journal::Place::start(&settings.dir, (installation, node), bounds)?;
    let keeper = Keeper::start(&settings.dir, settings.keep)?;
    let place = place.kept_by(&keeper);
    // Every start says so: one without a word would look like a gap. It also finds out now whether there is room.
    let who = journal::operators::Who::of_process(None);
    let started = journal::Started { run: claims::run().to_owned(), shards: config.sender.shards.max(1) };
    let began = who.did(clock::wall().0, "serve", node, &started.to_detail());
    let mut engine = Journal::open(&place, journal::operators::ENGINE);
    engine.append(&[began])?;
    // Its file stays locked until the process is gone with all its threads: by that a later start knows.
    let _locked = Box::leak(Box::new(engine));
    Ok(Some((keeper, place)))
}

async fn either(one: &mut Signal, other: &mut Signal) {
    tokio::select! { _ = one.recv() => {}, _ = other.recv() => {} }
}

/// Everything that runs.
struct Serving {
    control: Control,
    store: Store,
    watcher: Option<(JoinHandle<RedisServer>, Rc<Notify>)>,
    webhooks: Option<Webhooks>,
    helpers: Vec<JoinHandle<()>>,
    ownership: Rc<Ownership>,
    /// Ends with this process, after the shards' threads.
    keeper: Option<Keeper>,
}

impl Serving {
    async fn start(
        config: Config,
        (endpoint, meaning, reloader, ports): (Endpoint, Meaning, Reloader, Ports),
        (mut store, guard): (Store, Arc<Guard>),
        (ownership, news): (Rc<Ownership>, UnboundedReceiver<News>),
        journal: Option<(Keeper, journal::Place)>,
    ) -> Result<Self, ServeError> {
        let metrics = Metrics::new();
        let (reports, incoming) = mpsc::unbounded_channel();
        let hours = HoursBook::new()?;
        let (keeper, place) = journal.unzip();
        let token = ownership.token();
        let shift = config.calendar.clock_shift_ms;
        let stops = Stops::start(&mut store, &config.stops, shift, metrics.clone()).await?;
        let senders = store.client.clone().guarded(guard.clone()).remembering(config.redis.replay_window);
        let journal = place.as_ref();
        let common =
            Common { endpoint: &endpoint, store: &store, redis: &senders, token, journal, stops: &stops };
        let shards = shards(&config, &common, &meaning.table, &metrics, &reports)?;
        ownership.attach(shards.iter().map(|shard| shard.events.clone()).collect());
        stops.attach(shards.iter().map(|shard| shard.events.clone()).collect());
        let remembering = store.client.clone().remembering(config.redis.replay_window);
        let link = Link::new(remembering, store.timeouts, |_| ());
        let announced = Rc::new(Notify::new());
        let readiness = Readiness::starting(READY_PART);
        let http = ports.http.local_addr().map_err(|source| system("http.listen", source))?;
        tracing::info!(%http, "listening");
        let shown = HttpState { metrics: metrics.clone(), readiness: readiness.clone() };
        let mut helpers = vec![tokio::task::spawn_local(async move {
            if let Err(error) = http::serve(ports.http, shown, std::future::pending()).await {
                tracing::error!(%error, "metrics cannot be read any more");
            }
        })];
        helpers.push(tokio::task::spawn_local(upkeep(metrics.clone())));
        helpers.push(tokio::task::spawn_local(ownership.clone().run()));
        let leader = ownership.clone();
        helpers.push(tokio::task::spawn_local(stops.clone().run(move || leader.leads())));
        helpers.push(tokio::task::spawn_local(listen(
            (store.client.clone(), store.timeouts),
            announced.clone(),
            ownership.clone(),
        )));
        let (meaning, heard) = watch::channel(meaning);
        let webhooks = webhooks((&config, ports.webhooks), &common, heard, &metrics)?;
        let watcher = store.server.take().map(watch);
        let control = Control {
            ownership: ownership.clone(),
            stops,
            news,
            http: http.to_string(),
            link,
            shards,
            reports: incoming,
            meaning,
            metrics,
            announced,
            ready: Box::new(move |ready| {
                if ready { readiness.ready(READY_PART) } else { readiness.not_ready(READY_PART, "draining") }
            }),
            hours,
            reloader,
            far: Far::new(guard, &store.installation.name),
            state: Knowledge::default(),
            config,
        };
        Ok(Self { control, store, watcher, webhooks, helpers, ownership, keeper })
    }

    async fn stop(self) -> Result<(), ServeError> {
        self.helpers.iter().for_each(JoinHandle::abort);
        self.control.stop();
        if let Some(webhooks) = self.webhooks {
            webhooks.stop();
        }
        drop(self.keeper);
        let mut store = self.store;
        // A Redis that is gone by now cannot be told; the lease ends by itself.
        let _told = self.ownership.end(&mut store).await;
        if let Some((watcher, enough)) = self.watcher {
            enough.notify_one();
            store.server = watcher.await.ok();
        }
        Ok(store.close().await?)
    }
}

/// Where others reach this process.
struct Ports {
    http: TcpListener,
    webhooks: Option<Bound>,
}

/// What all shards have in common.
struct Common<'a> {
    endpoint: &'a Endpoint,
    store: &'a Store,
    /// Redis, guarded.
    redis: &'a Client,
    token: u64,
    journal: Option<&'a journal::Place>,
    stops: &'a Stops,
}

fn shards(
    config: &Config,
    &Common { endpoint, store, redis, token, journal, stops }: &Common<'_>,
    table: &Arc<ErrorTable>,
    metrics: &Arc<Metrics>,
    reports: &mpsc::UnboundedSender<Report>,
) -> Result<Vec<ShardHandle>, ServeError> {
    let Installation { name, .. } = &store.installation;
    let contacts = Arc::new(ContactBook::new(config.cap));
    let start = |shard: usize| {
        ShardHandle::start(ShardStart {
            shard,
            config: shard_config(config),
            seed: rand::random(),
            cloud: config.cloud.clone(),
            endpoint: endpoint.clone(),
            table: table.clone(),
            redis: redis.clone(),
            timeouts: store.timeouts,
            token,
            grace: config.ownership.lease,
            installation: name.clone(),
            max_chunks: config.sender.max_chunks,
            stops: stops.list.clone(),
            contacts: contacts.clone(),
            metrics: metrics.clone(),
            journal: journal.cloned(),
            reports: reports.clone(),
        })
        .map_err(|source| system("a shard's thread", source))
    };
    (0..config.sender.shards.max(1)).map(start).collect()
}

/// Takes webhooks, if the configuration says where.
fn webhooks(
    (config, bound): (&Config, Option<Bound>),
    &Common { store, redis, journal, stops, .. }: &Common<'_>,
    meaning: watch::Receiver<Meaning>,
    metrics: &Arc<Metrics>,
) -> Result<Option<Webhooks>, ServeError> {
    let (Some(bound), Some(verify_token)) = (bound, &config.webhooks.verify_token) else {
        return Ok(None);
    };
    let start = WebhooksStart {
        verify_token: verify_token.clone(),
        accounts: config.accounts.clone(),
        numbers: config.numbers.clone(),
        redis: redis.clone(),
        timeouts: store.timeouts,
        installation: store.installation.name.clone(),
        meaning,
        stops: stops.list.clone(),
        time_scale: config.time_scale,
        metrics: metrics.clone(),
        sink: receipts::sink(journal, metrics.webhooks()),
    };
    let webhooks = Webhooks::start(bound, start)?;
    tracing::info!(address = %webhooks.address, "taking webhooks");
    Ok(Some(webhooks))
}

fn shard_config(config: &Config) -> ShardConfig {
    let scale = config.time_scale.max(1);
    ShardConfig {
        exactness: Exactness { tolerance: config.pace.tolerance, arrival_slack: config.pace.arrival_slack },
        adapt: AdaptConfig {
            decrease: config.pace.decrease,
            increase_per_s: config.pace.increase_per_s * f64::from(scale),
            floor: config.pace.floor,
        },
        guaranteed_share: config.pace.guaranteed_share,
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

/// Hears announcements, and looks at the version once a second in case one was not heard.
async fn listen((client, timeouts): (Client, Timeouts), announced: Rc<Notify>, ownership: Rc<Ownership>) {
    let mut seen = None;
    loop {
        if let Ok(mut heard) = client.pubsub(timeouts).await
            && heard.subscribe(&[keys::EVENTS, keys::OWN_EVENTS]).await.is_ok()
        {
            announced.notify_one();
            let mut messages = heard.on_message();
            while let Some(message) = messages.next().await {
                match message.get_channel_name() {
                    keys::OWN_EVENTS => ownership.poke(),
                    _ => announced.notify_one(),
                }
            }
        }
        // Without the subscription the version key tells.
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        if let Ok(mut connection) = client.connect(timeouts).await
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
