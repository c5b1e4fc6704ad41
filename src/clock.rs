//! The only reader of time.
//!
//! Monotonic time counts from the start of the process and goes on while the machine is suspended, since what a process
//! owns ends in the meantime; wall time is an instant for calendars and files. Everything else takes `now` as an
//! argument.

use std::sync::LazyLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nix::time::{ClockId, clock_gettime};

/// Monotonic time since the process read the clock first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Mono(pub Duration);

/// Wall time in milliseconds since 1970-01-01 UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WallMs(pub u64);

static START: LazyLock<Duration> = LazyLock::new(since_boot);

/// Time since the machine started, suspension included. `Instant` leaves that out on Linux.
fn since_boot() -> Duration {
    clock_gettime(ClockId::CLOCK_BOOTTIME).map(Duration::from).expect("linux has this clock since 2.6.39")
}

/// Reads the monotonic clock.
pub fn mono() -> Mono {
    let start = *START;
    Mono(since_boot().saturating_sub(start))
}

/// Reads the wall clock; a clock before 1970 reads as 1970.
#[allow(clippy::disallowed_methods, reason = "this file is the one place that reads time")]
pub fn wall() -> WallMs {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    WallMs(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

impl Mono {
    /// The instant as tokio's timers want it. They stand still while the machine is suspended, so a timer that was set
    /// before may fire late, never early.
    #[allow(clippy::disallowed_methods, reason = "this file is the one place that reads time")]
    pub fn to_tokio(self) -> tokio::time::Instant {
        tokio::time::Instant::from_std(Instant::now() + self.since(mono()))
    }

    /// `self + wait`, saturating.
    #[must_use]
    pub fn after(self, wait: Duration) -> Self {
        Self(self.0.saturating_add(wait))
    }

    /// Time from `earlier` to `self`, zero if it lies ahead.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}
