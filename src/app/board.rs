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
        Blocked::Draining => "draining",
        Blocked::Hours => "hours",
        Blocked::Slots => "slots",
        Blocked::Connection => "connection",
    }
}
