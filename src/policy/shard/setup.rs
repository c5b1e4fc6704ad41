//! What a shard is told of its world, and how it shows itself: bounds, numbers, campaigns, lanes.

use std::sync::Arc;
use std::time::Duration;

use super::hours::LaneHours;
use crate::clock::{Mono, WallMs};
use crate::config::BreakerConfig;
use crate::domain::campaign::RetryPolicy;
use crate::domain::contact::CapChoice;
use crate::domain::ids::{CampaignSeq, LaneId, NumberId};
use crate::policy::adapt::AdaptConfig;
use crate::policy::first::First;
use crate::policy::pace::Exactness;

/// Both clocks, read together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Monotonic time.
    pub mono: Mono,
    /// Wall time.
    pub wall: WallMs,
}

/// Bounds and manners of a shard.
#[derive(Clone, Debug)]
pub struct ShardConfig {
    /// How exact the pace is.
    pub exactness: Exactness,
    /// How a number's pace follows refusals.
    pub adapt: AdaptConfig,
    /// The part of a number's messages that every lower priority with something to send gets.
    pub guaranteed_share: f64,
    /// How much of a number's pace is claimed ahead, for each priority.
    pub claim_ahead: Duration,
    /// Requests in flight at most per number.
    pub max_in_flight: usize,
    /// Connections at most.
    pub max_connections: usize,
    /// Messages sent whose settle Redis has not answered, at most; above it nothing is claimed.
    pub max_unsettled: usize,
    /// A settle waits this long for company.
    pub settle_delay: Duration,
    /// When trouble that is not the messages' own closes a number.
    pub breaker: BreakerConfig,
    /// How long a number rests after a throttle that does not say.
    pub throttle_base: Duration,
    /// How long it rests at most.
    pub throttle_max: Duration,
    /// First and longest wait of a pair that Meta refused.
    pub pair_wait: (Duration, Duration),
}

/// A number of this shard.
#[derive(Clone, Debug, PartialEq)]
pub struct NumberSetup {
    /// Its id.
    pub id: NumberId,
    /// Its account.
    pub account: String,
    /// The portfolio whose budget of people it shares; None: none.
    pub portfolio: Option<Arc<str>>,
    /// Messages per second at most.
    pub rate_per_s: Option<f64>,
    /// Why it may not act, if so.
    pub stopped: Option<Blocked>,
}

/// A campaign as far as sending it goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CampaignSetup {
    /// Its sequence number.
    pub seq: CampaignSeq,
    /// Rank of its priority, 0 first.
    pub rank: u8,
    /// Whether it is running.
    pub running: bool,
    /// `account/name` of its template.
    pub template: String,
    /// Whether its template is halted or paused.
    pub template_stopped: bool,
    /// A message older than this is expired.
    pub validity: Duration,
    /// From then on its messages are expired, at any hour.
    pub valid_until: Option<WallMs>,
    /// When its lanes may send.
    pub hours: LaneHours,
    /// Its retries.
    pub retry: RetryPolicy,
    /// Whether its own hours allow sending now.
    pub open: bool,
    /// How far into its lanes messages may be claimed fresh; None: to the end.
    pub first: Option<Arc<First>>,
    /// The most that it may use of each number's rate, in thousandths; None: all of it.
    pub pace_share_per_mille: Option<u16>,
    /// How many messages it gets for each of another campaign of its priority with weight 1.
    pub weight: u32,
    /// What becomes of messages to people who were written to often enough.
    pub cap: CapChoice,
}

/// A lane with something to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaneSetup {
    /// The lane.
    pub id: LaneId,
    /// The number that sends it.
    pub number: NumberId,
}

/// Why a number may not act: the words of `status`, `why` and metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Blocked {
    /// An operator paused it.
    Paused,
    /// A verdict halted it.
    Halted,
    /// Meta refused for a limit.
    Throttle,
    /// Trouble that is not the messages' own: closed until a probe answers.
    Breaker,
    /// Redis does not answer.
    Redis,
    /// Redis was emptied, restored or exchanged: it does not know what was sent.
    RolledBack,
    /// The lease on the number could not be renewed.
    Ownership,
    /// The journal takes no writes.
    Journal,
    /// The process is stopping, or the number is on its way to another one.
    Draining,
    /// This machine's clock is far off Redis', so that hours cannot be judged.
    Clock,
    /// The copy of the stop list is too old to send by.
    StopList,
    /// Outside the hours of all that it has to send.
    Hours,
    /// Its portfolio has written to as many people as it may in a day.
    Budget,
    /// All its slots are in flight.
    Slots,
    /// No connection is ready.
    Connection,
}

/// What one number is doing, for `status` and metrics.
#[derive(Clone, Debug, PartialEq)]
pub struct NumberView {
    /// Its id.
    pub id: NumberId,
    /// The pace that it keeps: its limit, or less after refusals.
    pub rate_per_s: Option<f64>,
    /// Its limit.
    pub limit_per_s: Option<f64>,
    /// Requests in flight.
    pub in_flight: usize,
    /// Messages claimed and not begun.
    pub claimed: usize,
    /// Requests begun so far.
    pub begun: u64,
    /// Why it may not act, and until when as far as is known.
    pub blocked: Option<(Blocked, Option<Mono>)>,
}
