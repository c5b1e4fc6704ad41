//! The status board of a node: what it last said of itself, as `campaign status` and `number list` read it.

use serde::{Deserialize, Serialize};

use crate::clock::{Mono, WallMs};
use crate::policy::shard::{Blocked, NumberView};

/// What a node says of itself.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Board {
    /// Its name.
    pub node: String,
    /// Where its `/metrics` are.
    pub http: String,
    /// Whether Redis answers it.
    pub redis: bool,
    /// Requests per second over the last seconds, over all numbers.
    pub rate_per_s: f64,
    /// Its numbers.
    pub numbers: Vec<BoardNumber>,
    /// Numbers of it that have nothing left to send.
    #[serde(default)]
    pub dry: Vec<String>,
    /// Numbers of its configuration, whoever owns them.
    #[serde(default)]
    pub configured: Vec<String>,
    /// How far its clock of calendars is ahead, in ms.
    #[serde(default)]
    pub clock_shift_ms: i64,
}

/// One number of a node.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct BoardNumber {
    /// `phone_number_id`
    pub id: String,
    /// Its limit; null means none.
    pub limit_per_s: Option<f64>,
    /// Requests per second over the last seconds.
    pub rate_per_s: f64,
    /// Requests in flight.
    pub in_flight: usize,
    /// Why it does not send, in the words of the README; null: it may.
    pub blocked: Option<String>,
    /// Until when, in wall ms, as far as is known.
    pub blocked_until_ms: Option<u64>,
    /// The process that owns it.
    #[serde(default)]
    pub node: Option<String>,
    /// Since when, in wall ms.
    #[serde(default)]
    pub since_ms: Option<u64>,
    /// What Meta says of it: `CONNECTED`, `FLAGGED`, …
    #[serde(default)]
    pub meta_status: Option<String>,
    /// `GREEN`, `YELLOW`, `RED`.
    #[serde(default)]
    pub quality: Option<String>,
    /// `STANDARD`, `HIGH`.
    #[serde(default)]
    pub throughput: Option<String>,
    /// Since when it sends and no receipts come, in wall ms; None: they come, or nothing is sent.
    #[serde(default)]
    pub webhooks_silent_since_ms: Option<u64>,
}

impl Board {
    /// What several processes say, as one.
    pub fn merged(boards: impl IntoIterator<Item = Self>) -> Option<Self> {
        boards.into_iter().reduce(|mut all, one| {
            all.node = format!("{}, {}", all.node, one.node);
            all.redis |= one.redis;
            all.rate_per_s += one.rate_per_s;
            all.numbers.extend(one.numbers);
            all.dry.extend(one.dry);
            all.configured.extend(one.configured);
            all
        })
    }
}

impl BoardNumber {
    /// A number as its shard sees it.
    pub fn new(view: &NumberView, rate_per_s: f64, (mono, wall): (Mono, WallMs)) -> Self {
        let until = view.blocked.and_then(|(_, until)| until);
        Self {
            id: view.id.to_string(),
            limit_per_s: view.rate_per_s,
            rate_per_s,
            in_flight: view.in_flight,
            blocked: view.blocked.map(|(why, _)| word(why).to_owned()),
            blocked_until_ms: until
                .map(|until| wall.0 + u64::try_from(until.since(mono).as_millis()).unwrap_or(u64::MAX)),
            node: None,
            since_ms: None,
            meta_status: None,
            quality: None,
            throughput: None,
            webhooks_silent_since_ms: None,
        }
    }
}

/// The word for a reason, the same in `status`, `why` and metrics.
pub fn word(why: Blocked) -> &'static str {
    match why {
        Blocked::Paused => "paused",
        Blocked::Halted => "halted",
        Blocked::Throttle => "throttle",
        Blocked::Breaker => "breaker",
        Blocked::Redis => "redis",
        Blocked::RolledBack => "rolled_back",
        Blocked::Ownership => "ownership",
        Blocked::Journal => "journal",
        Blocked::Draining => "draining",
        Blocked::Clock => "clock",
        Blocked::StopList => "stop_list",
        Blocked::Hours => "hours",
        Blocked::Budget => "budget",
        Blocked::Slots => "slots",
        Blocked::Connection => "connection",
    }
}
