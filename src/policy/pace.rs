//! The pace of one number: never more than R messages in any sliding second, and nearly all of R used.
//!
//! A cell-rate limiter (`governor`) whose clock is set from the argument `now`. One message is
//! [`CELLS`] cells, so that the tolerance can be a fraction of an interval. The interval is
//! `T = (1 + τ + j) / R`: with tolerance τ for our own lateness and slack j for the jitter of arrivals, the R + 1st
//! message comes at least one second plus j after the first even if the first used all of τ. That leaves 98.5% of
//! R usable at τ = 5 ms and j = 10 ms.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};

use crate::clock::Mono;

/// Cells of one message.
pub const CELLS: u32 = 100;

/// Slowest pace that can be asked for, in messages per second.
pub const RATE_MIN_PER_S: f64 = 0.01;

/// Fastest pace that can be asked for, in messages per second; Meta's highest is 1,000.
pub const RATE_MAX_PER_S: f64 = 10_000.0;

/// How exact a pace is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exactness {
    /// Lateness of our own timers that is caught up (τ).
    pub tolerance: Duration,
    /// Jitter of arrivals on the other side (j).
    pub arrival_slack: Duration,
}

/// The pace of one number.
#[derive(Debug)]
pub struct Pace {
    rate_per_s: Option<f64>,
    limiter: Option<Limiter>,
}

#[derive(Debug)]
struct Limiter {
    gcra: RateLimiter<NotKeyed, InMemoryState, SetClock, NoOpMiddleware<Nanos>>,
    clock: SetClock,
    /// From one message to the next, tolerance and slack included.
    spacing: Duration,
}

/// A clock that says what it was told: time stays an argument.
#[derive(Clone, Debug, Default)]
struct SetClock(Arc<AtomicU64>);

impl Clock for SetClock {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        Nanos::new(self.0.load(Ordering::Relaxed))
    }
}

impl SetClock {
    fn set(&self, now: Mono) {
        self.0.store(u64::try_from(now.0.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

impl Pace {
    /// A limiter for `rate_per_s`, drained: its first message is due one interval from `now`. None is unlimited.
    pub fn new(rate_per_s: Option<f64>, exactness: Exactness, now: Mono) -> Self {
        let rate_per_s = rate_per_s.map(|rate| rate.clamp(RATE_MIN_PER_S, RATE_MAX_PER_S));
        Self { rate_per_s, limiter: rate_per_s.map(|rate| Limiter::drained(rate, exactness, now)) }
    }

    /// A limiter that goes on where another one stood: its first message is due at `next`.
    pub fn resumed(rate_per_s: Option<f64>, exactness: Exactness, next: Mono) -> Self {
        let fresh = Self::new(rate_per_s, exactness, Mono::default());
        let spacing = fresh.limiter.as_ref().map_or(Duration::ZERO, |limiter| limiter.spacing);
        Self::new(rate_per_s, exactness, Mono(next.0.saturating_sub(spacing)))
    }

    /// When the next message is due, for a limiter that goes on elsewhere. This one has seen its last message.
    pub fn hand_over(&mut self, now: Mono) -> Mono {
        self.take(now).err().unwrap_or(now)
    }

    /// The limit, or None when there is none.
    pub fn rate_per_s(&self) -> Option<f64> {
        self.rate_per_s
    }

    /// Time from one message to the next; zero when there is no limit.
    pub fn interval(&self) -> Duration {
        self.rate_per_s.map_or(Duration::ZERO, |rate| Duration::from_secs_f64(1.0 / rate))
    }

    /// Takes the slot of one message, or says when there will be one.
    pub fn take(&mut self, now: Mono) -> Result<(), Mono> {
        self.limiter.as_ref().map_or(Ok(()), |limiter| limiter.take(now))
    }

    /// Messages that this pace sends in `period`, rounded up; None when unlimited.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bounded by RATE_MAX_PER_S")]
    pub fn messages_in(&self, period: Duration) -> Option<usize> {
        self.rate_per_s.map(|rate| (rate * period.as_secs_f64()).ceil() as usize)
    }
}

impl Limiter {
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "rates are clamped, so are intervals"
    )]
    fn drained(rate_per_s: f64, exactness: Exactness, now: Mono) -> Self {
        let second = 1.0 + exactness.tolerance.as_secs_f64() + exactness.arrival_slack.as_secs_f64();
        // Rounded up to whole nanoseconds: a cell that is too short by a fraction would add up over a second.
        let cell_ns = (second * 1e9 / rate_per_s / f64::from(CELLS)).ceil().max(1.0);
        let extra = (exactness.tolerance.as_secs_f64() * 1e9 / cell_ns).floor() as u32;
        let burst = NonZeroU32::MIN.saturating_add(CELLS - 1).saturating_add(extra);
        let quota = Quota::with_period(Duration::from_nanos(cell_ns as u64))
            .expect("a cell lasts at least one nanosecond")
            .allow_burst(burst);
        let clock = SetClock::default();
        clock.set(now);
        let spacing = Duration::from_nanos(cell_ns as u64) * CELLS;
        let limiter = Self { gcra: RateLimiter::direct_with_clock(quota, clock.clone()), clock, spacing };
        let drained = limiter.gcra.check_n(burst);
        debug_assert!(matches!(drained, Ok(Ok(()))), "a fresh limiter holds its whole burst");
        limiter
    }

    fn take(&self, now: Mono) -> Result<(), Mono> {
        const MESSAGE: NonZeroU32 = NonZeroU32::new(CELLS).expect("a message has cells");
        self.clock.set(now);
        match self.gcra.check_n(MESSAGE) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(not_until)) => Err(now.after(not_until.wait_time_from(self.clock.now()))),
            Err(_) => unreachable!("the burst holds one message"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const EXACT: Exactness =
        Exactness { tolerance: Duration::from_millis(5), arrival_slack: Duration::from_millis(10) };

    /// Sends as fast as the pace allows, each wake-up late by what `late` says; returns the instants.
    fn run(rate: f64, seconds: u64, mut late: impl FnMut(usize) -> Duration) -> Vec<Mono> {
        let mut pace = Pace::new(Some(rate), EXACT, Mono::default());
        let (mut now, end, mut sent) = (Mono::default(), Duration::from_secs(seconds), Vec::new());
        while now.0 < end {
            match pace.take(now) {
                Ok(()) => sent.push(now),
                Err(at) => now = at.after(late(sent.len())),
            }
        }
        sent
    }

    fn worst_second(sent: &[Mono]) -> usize {
        let mut from = 0;
        sent.iter()
            .enumerate()
            .map(|(at, now)| {
                while now.since(sent[from]) >= Duration::from_secs(1) {
                    from += 1;
                }
                at - from + 1
            })
            .max()
            .unwrap_or(0)
    }

    #[test]
    fn a_fresh_pace_is_drained() {
        let mut pace = Pace::new(Some(80.0), EXACT, Mono::default());
        let first = pace.take(Mono::default()).unwrap_err();
        assert_eq!(first.0.as_micros(), 12_687);
        assert_eq!(pace.take(first), Ok(()));
    }

    #[test]
    fn a_pace_that_was_handed_over_goes_on_where_it_stood() {
        let second = |ms: u64| Mono(Duration::from_secs(9) + Duration::from_millis(ms));
        let mut first = Pace::new(Some(80.0), EXACT, second(0));
        let at = first.take(second(0)).unwrap_err();
        assert_eq!(first.take(at), Ok(()));
        let next = first.hand_over(at);
        assert_eq!(next.since(at).as_micros(), 12_687);
        let mut other = Pace::resumed(Some(80.0), EXACT, next);
        assert_eq!(other.take(at), Err(next));
        assert_eq!(other.take(next), Ok(()));
        assert_eq!(other.take(next).unwrap_err().since(next).as_micros(), 12_687);
        // One that rested may go on at once.
        assert_eq!(Pace::resumed(Some(80.0), EXACT, second(500)).hand_over(second(800)), second(800));
        assert_eq!(Pace::resumed(None, EXACT, second(500)).take(second(0)), Ok(()));
    }

    #[test]
    fn no_limit_means_no_limit() {
        let mut pace = Pace::new(None, EXACT, Mono::default());
        assert!((0..10_000).all(|_| pace.take(Mono::default()).is_ok()));
        assert_eq!(pace.messages_in(Duration::from_secs(1)), None);
    }

    #[test]
    fn nearly_all_of_the_rate_is_used_when_timers_are_a_little_late() {
        for rate in [20.0, 80.0, 1000.0] {
            let sent = run(rate, 30, |at| Duration::from_micros(at as u64 * 7919 % 2500));
            let used = sent.len() as f64 / 30.0 / rate;
            assert!(used > 0.98, "{used} of {rate}/s");
            assert!(worst_second(&sent) as f64 <= rate);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
        /// However often a number changes hands, no sliding second sees more than R.
        #[test]
        fn handovers_never_add_to_the_rate(
            rate in prop::sample::select(vec![1.0, 20.0, 80.0, 1000.0]),
            tenures in prop::collection::vec((1usize..40, 0u64..30_000), 1..20),
            jitter_us in prop::collection::vec(0u64..10_000, 53),
        ) {
            let mut now = Mono(Duration::from_secs(100));
            let (mut pace, mut sent) = (Pace::new(Some(rate), EXACT, now), Vec::new());
            for (messages, away_us) in tenures {
                for _ in 0..messages {
                    while let Err(at) = pace.take(now) {
                        now = at;
                    }
                    sent.push(now.after(Duration::from_micros(jitter_us[sent.len() % jitter_us.len()])));
                }
                let next = pace.hand_over(now);
                now = now.after(Duration::from_micros(away_us));
                pace = Pace::resumed(Some(rate), EXACT, next);
            }
            sent.sort();
            prop_assert!(worst_second(&sent) as f64 <= rate, "{} of {rate}", worst_second(&sent));
        }

        /// Whatever the lateness of our timers and the jitter of the way, no sliding second sees more than R.
        #[test]
        fn never_more_than_the_rate_in_any_sliding_second(
            rate in prop::sample::select(vec![1.0, 20.0, 80.0, 250.0, 1000.0]),
            late_us in prop::collection::vec(0u64..40_000, 50),
            jitter_us in prop::collection::vec(0u64..10_000, 53),
        ) {
            let sent = run(rate, 4, |at| Duration::from_micros(late_us[at % late_us.len()]));
            let mut arrived: Vec<Mono> = sent.iter().enumerate()
                .map(|(at, now)| now.after(Duration::from_micros(jitter_us[at % jitter_us.len()])))
                .collect();
            arrived.sort();
            prop_assert!(worst_second(&arrived) as f64 <= rate, "{} of {rate}", worst_second(&arrived));
        }
    }
}
