//! What a trial is told: how many kills, which seed, and how the engines are set up. Read from the environment by
//! `make chaos`; the short form has its own. Pure but for that.

use std::time::Duration;

use serde_json::{Value, json};

/// When Redis puts what it acknowledged on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fsync {
    /// Before it acknowledges.
    Always,
    /// Once a second: what was acknowledged in the last two seconds may be gone after a kill.
    EverySecond,
}

/// What Redis is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// One server.
    Alone,
    /// Three masters that share the slots.
    Cluster,
    /// A master with a replica, and sentinels.
    Sentinel,
}

/// One trial.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) seed: u64,
    pub(crate) engine_kills: u32,
    pub(crate) redis_kills: u32,
    /// Graceful stops, one after the other, before the storm begins.
    pub(crate) stops: u32,
    pub(crate) kind: Kind,
    pub(crate) fsync: Fsync,
    pub(crate) engines: usize,
    pub(crate) numbers: usize,
    /// Of each number.
    pub(crate) rate_per_s: u32,
    pub(crate) lease: Duration,
    /// Median of the simulated answers, and what 99 of 100 stay below.
    pub(crate) latency: (Duration, Duration),
    /// People a file of the creditor has.
    pub(crate) batch: usize,
}

impl Fsync {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Always => "always",
            Self::EverySecond => "everysec",
        }
    }
}

impl Kind {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Alone => "standalone",
            Self::Cluster => "cluster",
            Self::Sentinel => "sentinel",
        }
    }
}

impl Settings {
    /// A trial of the usual form.
    pub(crate) fn new(seed: u64, engine_kills: u32, redis_kills: u32) -> Self {
        Self {
            seed,
            engine_kills,
            redis_kills,
            stops: (engine_kills / 10).clamp(2, 8),
            kind: Kind::Alone,
            fsync: Fsync::Always,
            engines: 4,
            numbers: 8,
            rate_per_s: 20,
            lease: Duration::from_secs(1),
            latency: (Duration::from_millis(40), Duration::from_millis(150)),
            batch: 400,
        }
    }

    /// What the environment says, for `make chaos`.
    pub(crate) fn of_environment() -> Self {
        let number = |name: &str, default: u64| {
            let text = std::env::var(name).unwrap_or_default();
            let wrong = |_| panic!("{name} is {text:?}, it must be a whole number");
            if text.is_empty() { default } else { text.parse().unwrap_or_else(wrong) }
        };
        let kills = |name: &str, default| u32::try_from(number(name, default)).unwrap();
        Self::new(number("SEED", 1), kills("ENGINE_KILLS", 200), kills("REDIS_KILLS", 50))
    }

    /// Id of the number at a position.
    pub(crate) fn number(at: usize) -> String {
        (200_000_000_000_001 + at as u64).to_string()
    }

    /// How long the others may take to adopt what a killed engine had.
    pub(crate) fn takeover_max(&self) -> Duration {
        self.lease + Duration::from_secs(2)
    }

    /// Messages of one number that may be under way at once: claimed ahead, in flight, and answered without having been
    /// settled, with some room for a lost reply of a claim.
    pub(crate) fn under_way_max(&self) -> u64 {
        let (claimed_ahead_ms, unsettled_ms) = (50, 200);
        let in_flight_ms = 4 * u64::try_from(self.latency.1.as_millis()).unwrap_or(u64::MAX);
        let all_ms = claimed_ahead_ms + in_flight_ms + unsettled_ms;
        (u64::from(self.rate_per_s) * all_ms).div_ceil(1_000) + 2
    }

    pub(crate) fn shown(&self) -> Value {
        json!({
            "engines": self.engines,
            "numbers": self.numbers,
            "rate_per_s": self.rate_per_s,
            "lease_ms": self.lease.as_millis(),
            "latency_ms": [self.latency.0.as_millis(), self.latency.1.as_millis()],
            "redis": self.kind.word(),
            "appendfsync": self.fsync.word(),
        })
    }
}
