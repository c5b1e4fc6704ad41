//! Configuration, resolved and validated: what the rest of the program sees.
//!
//! `config/raw.rs` collects raw values from file, environment and command line and refuses unknown keys;
//! `config/resolve.rs` turns them into these types. Every duration here is already divided by `time_scale`,
//! except those marked "Not scaled". Nothing here is read again by itself.

pub mod calendars;
mod error;
mod hours;
mod load;
mod proxy;
mod raw;
mod resolve;
mod secret;
mod value;

pub use error::ConfigError;
pub use load::{LoadOptions, Loaded, find_file};
pub use proxy::ProxyConfig;
pub use raw::{KEYS, Origin, TABLES};
pub use resolve::OriginLine;
pub use resolve::redis::urls as redis_urls;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::domain::calendar::OwnHours;
use crate::domain::contact::ContactRules;
use crate::domain::ids::NumberId;

/// A secret read from the environment or a file. Never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub Arc<str>);

/// The whole configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// Folder of the private Redis, of locks and (later) of the journal.
    pub data_dir: PathBuf,
    /// `[redis]`
    pub redis: RedisConfig,
    /// `[cloud]`
    pub cloud: CloudConfig,
    /// `[[portfolio]]`
    pub portfolios: Vec<PortfolioConfig>,
    /// `[[account]]`
    pub accounts: Vec<AccountConfig>,
    /// `[[number]]`
    pub numbers: Vec<NumberConfig>,
    /// `[pace]`
    pub pace: PaceConfig,
    /// `[sender]`
    pub sender: SenderConfig,
    /// `[breaker]`
    pub breaker: BreakerConfig,
    /// `[http]`
    pub http: HttpConfig,
    /// `[ownership]`
    pub ownership: OwnershipConfig,
    /// `[webhooks]`
    pub webhooks: WebhooksConfig,
    /// `[doubt]`
    pub doubt: DoubtConfig,
    /// `[budget]`
    pub budget: BudgetConfig,
    /// `[journal]`
    pub journal: JournalConfig,
    /// `[calendar]`
    pub calendar: CalendarConfig,
    /// `[retention]`
    pub retention: RetentionConfig,
    /// `[stops]`
    pub stops: StopsConfig,
    /// `[cap]`: how often a person may be written to. Default once in 24 hours and twice in seven days.
    pub cap: ContactRules,
    /// Every wait is divided by this; more than 1 only with a loopback `cloud.url`.
    pub time_scale: u32,
}

/// `[redis]`
#[derive(Clone, Debug)]
pub struct RedisConfig {
    /// `redis://`, `rediss://` or `redis+unix://` (also `unix://`); None: a private child in `data_dir`. With sentinels or
    /// a cluster it may name several, separated by commas, that differ in host and port only.
    pub url: Option<Secret>,
    /// What `url` leads to. Default standalone.
    pub mode: RedisMode,
    /// Extra certificate authority (PEM) for `rediss://`.
    pub ca_file: Option<PathBuf>,
    /// Accept an `appendfsync` other than `always`, or no AOF at all. Default false.
    pub allow_weak_durability: bool,
    /// Default 5s. Not scaled: Redis runs in real time.
    pub connect_timeout: Duration,
    /// How long a command may take before its reply counts as lost. Default 10s. Not scaled.
    pub response_timeout: Duration,
    /// Replicas that must have a write before it counts. Default: none of a single server, all with sentinels or a cluster.
    pub wait_replicas: WaitFor,
    /// How long they are waited for. Default 1s, at most half of `response_timeout`. Not scaled.
    pub wait_timeout: Duration,
    /// What a Redis may forget of its last writes without being another one: so much is written again after a failover
    /// or a crash. Default 5s. Not scaled.
    pub replay_window: Duration,
}

/// The replicas that must have a write before it counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WaitFor {
    /// None: the disk of the master alone keeps the promise.
    #[default]
    Nobody,
    /// All that the master has in sync when a connection is made, and at least one: a master without any is perhaps cut
    /// off from those that have a new one.
    All,
    /// So many of each master.
    Count(u32),
}

/// What `redis.url` leads to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum RedisMode {
    /// One server.
    #[default]
    Standalone,
    /// Sentinels, which know where the master of this name is.
    Sentinel(String),
    /// Nodes of a Redis Cluster.
    Cluster,
}

impl Default for RedisConfig {
    fn default() -> Self {
        Self {
            url: None,
            mode: RedisMode::Standalone,
            ca_file: None,
            allow_weak_durability: false,
            connect_timeout: Duration::from_secs(5),
            response_timeout: Duration::from_secs(10),
            wait_replicas: WaitFor::Nobody,
            wait_timeout: Duration::from_secs(1),
            replay_window: Duration::from_secs(5),
        }
    }
}

/// `[cloud]`
#[derive(Clone, Debug)]
pub struct CloudConfig {
    /// Base URL without a trailing slash. Default `https://graph.facebook.com`.
    pub url: String,
    /// Graph API version. Default `v26.0`.
    pub version: String,
    /// Default 5s.
    pub connect_timeout: Duration,
    /// From the first byte of the request to the end of the reply. Default 30s.
    pub timeout: Duration,
    /// An idle connection is dropped after this, before the other side would. Default 10s.
    pub idle_timeout: Duration,
    /// Extra certificate authority (PEM).
    pub ca_file: Option<PathBuf>,
    /// The egress proxy that everything goes through, if there is one.
    pub proxy: Option<ProxyConfig>,
    /// Connections at most per shard, which bounds the requests in flight. Default 4096.
    pub max_connections: usize,
    /// Whether to speak HTTP/2 where it is offered over TLS. Default yes.
    pub http2: bool,
    /// Requests at once on a connection of HTTP/2, or fewer if the other side wants so. Default 100.
    pub max_streams: usize,
    /// The part of an account's management requests of an hour, as Meta counts them, from which on nothing is asked that
    /// can wait. Default 75%.
    pub max_request_usage: f64,
    /// The operator's copy of `config/errors.toml`; None: the table that is part of the program.
    pub errors_file: Option<PathBuf>,
}

/// `[[portfolio]]`
#[derive(Clone, Debug)]
pub struct PortfolioConfig {
    /// Id of the business portfolio.
    pub id: Arc<str>,
    /// People who are written to within 24 hours at most; None: as many as Meta said. Default none.
    pub people_per_day: Option<u64>,
}

/// `[budget]`
#[derive(Clone, Debug)]
pub struct BudgetConfig {
    /// How long a person counts. Less than 24h only with a loopback `cloud.url`.
    pub window: Duration,
    /// So much longer they count, since a message may arrive that much after it was counted. Less than 60s only with a
    /// loopback `cloud.url`. Not scaled: our own delays are not.
    pub margin: Duration,
}

/// `[[account]]`
#[derive(Clone, Debug)]
pub struct AccountConfig {
    /// WhatsApp Business Account id.
    pub id: String,
    /// Its portfolio, whose budget of people it shares; None: none is kept.
    pub portfolio: Option<Arc<str>>,
    /// Messages per second of all its numbers together at most, already divided among them; None: what they may.
    pub rate_per_s: Option<f64>,
    /// Access token.
    pub token: Secret,
    /// Secret of the app that is subscribed to the account: it signs the webhooks. None: its webhooks are refused.
    pub app_secret: Option<Secret>,
    /// Its creditor's own hours; where it says nothing, those of `[calendar]` count.
    pub calendar: OwnHours,
}

/// `[[number]]`
#[derive(Clone, Debug)]
pub struct NumberConfig {
    /// Meta's `phone_number_id`.
    pub id: NumberId,
    /// Id of its account.
    pub account: String,
    /// Messages per second at most, and no more than its part of its account's; None: unlimited (benchmarks, loopback
    /// only). Default 80/s.
    pub rate_per_s: Option<f64>,
}

/// `[pace]`
#[derive(Clone, Debug)]
pub struct PaceConfig {
    /// Lateness of our own timers that may be caught up. Default 5ms. Not scaled.
    pub tolerance: Duration,
    /// How much arrivals at Meta may jitter. Default 10ms. Not scaled.
    pub arrival_slack: Duration,
    /// How much of a number's pace is claimed ahead. Default 50ms. Not scaled.
    pub claim_ahead: Duration,
    /// Requests in flight at most per number. Default 1024.
    pub max_in_flight: usize,
    /// The part of a number's pace that a refusal for pace leaves. Default 70%.
    pub decrease: f64,
    /// The part of a number's rate that each second of accepted messages gives back. Default 1%.
    pub increase_per_s: f64,
    /// The part of a number's rate below which its pace does not sink. Default 5%.
    pub floor: f64,
    /// The part of every number's rate that is kept free for replies, which Meta counts too. Default 0%.
    pub keep_free: f64,
    /// The part of a number's messages that every lower priority with something to send gets. Default 5%.
    pub guaranteed_share: f64,
    /// How often Meta's own fields of the numbers are read. Default 15m.
    pub read_every: Duration,
    /// How long a number is paused or halted before its lanes move to others. Default 5m.
    pub failover_after: Duration,
}

/// `[sender]`
#[derive(Clone, Debug)]
pub struct SenderConfig {
    /// Shard threads. Default: half the cores, at least 1.
    pub shards: usize,
    /// How long SIGTERM waits for requests in flight. Default 25s.
    pub drain_timeout: Duration,
    /// A settle waits this long for company. Default 100ms: a settle of many costs Redis little more than one. Not scaled.
    pub settle_delay: Duration,
    /// Decoded chunks kept per shard at most. Default 512.
    pub max_chunks: usize,
    /// Messages per shard whose outcome Redis has not yet acknowledged, at most; above it nothing is claimed. Default
    /// 65536.
    pub max_unsettled: usize,
}

/// `[breaker]`
#[derive(Clone, Debug)]
pub struct BreakerConfig {
    /// Consecutive failures that are not the message's own which close a number. Default 3.
    pub failures: u32,
    /// First wait before a probe. Default 1s.
    pub base: Duration,
    /// Longest wait between probes. Default 60s.
    pub max: Duration,
}

/// `[doubt]`
#[derive(Clone, Debug)]
pub struct DoubtConfig {
    /// A send without a receipt for so long means that webhooks are silent. Default 30s.
    pub silent_after: Duration,
    /// A message in doubt for so long ends unresolved although webhooks are silent. Default 7d: so long Meta repeats them.
    pub give_up: Duration,
}

/// `[retention]`
#[derive(Clone, Debug, Default)]
pub struct RetentionConfig {
    /// How long after its end a campaign is archived by itself; None: never. Default none.
    pub campaigns: Option<Duration>,
}

/// `[stops]`
#[derive(Clone, Debug)]
pub struct StopsConfig {
    /// A copy of the stop list that was not found current for so long stops the process. Default 5s. Not scaled: Redis
    /// runs in real time.
    pub stale_after: Duration,
    /// The operator's copy of `config/stop_words.toml`; None: the words that are part of the program.
    pub words_file: Option<PathBuf>,
}

/// `[http]`
#[derive(Clone, Debug)]
pub struct HttpConfig {
    /// Address of `/metrics`, `/livez`, `/readyz`. Default `127.0.0.1:9464`; port 0 picks a free one.
    pub listen: std::net::SocketAddr,
}

/// `[ownership]`
#[derive(Clone, Debug)]
pub struct OwnershipConfig {
    /// Name of this process among those that share the numbers; None: a random one.
    pub node: Option<String>,
    /// How long after its last sign of life a process' numbers go to the others. Default 10s. Not scaled: Redis runs in
    /// real time.
    pub lease: Duration,
}

/// `[calendar]`
#[derive(Clone, Debug)]
pub struct CalendarConfig {
    /// Hours of every account that has none of its own.
    pub hours: OwnHours,
    /// Whether calendars count at all. False only with a loopback `cloud.url`. Default true.
    pub enforce: bool,
    /// How far the clock of calendars is ahead, in ms: `serve --clock-at`, only with a loopback `cloud.url`.
    pub clock_shift_ms: i64,
}

impl Config {
    /// What the creditor of an account says of its hours.
    pub fn creditor_hours(&self, account: &str) -> OwnHours {
        let own = self.accounts.iter().find(|known| known.id == account).map(|known| known.calendar.clone());
        let (own, all) = (own.unwrap_or_default(), &self.calendar.hours);
        OwnHours {
            hours: own.hours.or_else(|| all.hours.clone()),
            optional_days: own.optional_days.or(all.optional_days),
            closed: own.closed.union(&all.closed).copied().collect(),
            municipality: own.municipality.or(all.municipality),
        }
    }
}

/// `[webhooks]`
#[derive(Clone, Debug)]
pub struct WebhooksConfig {
    /// Where Meta's webhooks are taken, behind something that speaks TLS; None: nowhere. Port 0 picks a free one.
    pub listen: Option<std::net::SocketAddr>,
    /// What Meta must say in the handshake.
    pub verify_token: Option<Secret>,
    /// The address that Meta was given, for `webhooks check`.
    pub public_url: Option<String>,
}

/// `[journal]`
#[derive(Clone, Debug)]
pub struct JournalConfig {
    /// Whether attempts and receipts are written down. Default true. What operators do always is.
    pub enabled: bool,
    /// Its folder. Default `journal` in `data_dir`.
    pub dir: PathBuf,
    /// How long its files are kept. Default 180d, at least 1d. Not scaled.
    pub keep: Duration,
    /// A file of this size is followed by the next and compressed. Default 64MB.
    pub segment_bytes: u64,
    /// A file of this age too. Default 1h. Not scaled.
    pub segment_age: Duration,
}

impl CloudConfig {
    /// True when `url` leads to this machine: only then may calendars be ignored, the pace be unlimited and the clock be
    /// scaled or shifted.
    pub fn is_loopback(&self) -> bool {
        value::is_loopback_url(&self.url)
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}
