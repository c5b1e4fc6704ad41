//! What a sliding second holds: the limit of a number, and the largest number of arrivals that any second saw.
//!
//! Pure: time is an argument. A window is half open: two arrivals exactly one window apart never share one.

use std::collections::VecDeque;
use std::time::Duration;

use crate::clock::Mono;

/// Arrivals that are remembered one by one per window at most; more than that in one window is counted as so
/// many. Meta's own ceiling is 1,000 a second.
pub(crate) const EXACT_ARRIVALS_MAX: usize = 65_536;

/// Lets at most so many through in any sliding second: exact, since it remembers as many arrivals as it lets through.
#[derive(Debug)]
pub(crate) struct RateLimiter {
    limit: usize,
    window: Duration,
    admitted: VecDeque<Mono>,
}

/// The largest number of arrivals in any sliding window.
#[derive(Debug)]
pub(crate) struct WorstWindow {
    window: Duration,
    arrivals: Arrivals,
    worst: u64,
}

#[derive(Debug)]
enum Arrivals {
    /// Every arrival of the last window.
    Exact(VecDeque<Mono>),
    /// Arrivals per thousandth of the window, for numbers without a limit. A window of whole buckets is
    /// shorter than a window by up to one bucket, so the count may miss up to one bucket's arrivals.
    Buckets { counts: Box<[u32; BUCKETS]>, newest: u64, sum: u64 },
}

const BUCKETS: usize = 1_000;

impl RateLimiter {
    /// `limit` 0 lets everything through.
    pub(crate) fn new(limit: u32, window: Duration) -> Self {
        Self { limit: usize::try_from(limit).unwrap_or(usize::MAX), window, admitted: VecDeque::new() }
    }

    /// Whether the arrival is within the limit; one that is not leaves no trace.
    pub(crate) fn admit(&mut self, now: Mono) -> bool {
        if self.limit == 0 {
            return true;
        }
        if self.admitted.len() >= self.limit {
            match self.admitted.front() {
                Some(oldest) if now.since(*oldest) < self.window => return false,
                _ => self.admitted.pop_front(),
            };
        }
        self.admitted.push_back(now);
        true
    }
}

impl WorstWindow {
    /// Counts every arrival exactly.
    pub(crate) fn exact(window: Duration) -> Self {
        Self::new(window, Arrivals::Exact(VecDeque::new()))
    }

    /// Counts by thousandths of the window, in memory that does not grow with the rate.
    pub(crate) fn buckets(window: Duration) -> Self {
        let arrivals = Arrivals::Buckets { counts: Box::new([0; BUCKETS]), newest: 0, sum: 0 };
        Self::new(window, arrivals)
    }

    fn new(window: Duration, arrivals: Arrivals) -> Self {
        Self { window, arrivals, worst: 0 }
    }

    pub(crate) fn record(&mut self, now: Mono) {
        let held = match &mut self.arrivals {
            Arrivals::Exact(times) => record_exact(times, now, self.window),
            Arrivals::Buckets { counts, newest, sum } => {
                record_bucket(counts, newest, sum, bucket_of(now, self.window))
            }
        };
        self.worst = self.worst.max(held);
    }

    pub(crate) fn worst(&self) -> u64 {
        self.worst
    }
}

fn record_exact(times: &mut VecDeque<Mono>, now: Mono, window: Duration) -> u64 {
    while times.len() >= EXACT_ARRIVALS_MAX
        || times.front().is_some_and(|oldest| now.since(*oldest) >= window)
    {
        times.pop_front();
    }
    times.push_back(now);
    u64::try_from(times.len()).unwrap_or(u64::MAX)
}

fn bucket_of(now: Mono, window: Duration) -> u64 {
    let width = (window.as_nanos() / BUCKETS as u128).max(1);
    u64::try_from(now.0.as_nanos() / width).unwrap_or(u64::MAX)
}

fn record_bucket(counts: &mut [u32; BUCKETS], newest: &mut u64, sum: &mut u64, bucket: u64) -> u64 {
    let slot = |bucket: u64| usize::try_from(bucket % BUCKETS as u64).unwrap_or(0);
    let passed = bucket.saturating_sub(*newest).min(BUCKETS as u64);
    for step in 1..=passed {
        let cleared = &mut counts[slot(bucket - passed + step)];
        *sum -= u64::from(*cleared);
        *cleared = 0;
    }
    *newest = bucket.max(*newest);
    counts[slot(*newest)] += 1;
    *sum += 1;
    *sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn at(micros: u64) -> Mono {
        Mono(Duration::from_micros(micros))
    }

    /// The worst window by comparing every arrival with every other.
    fn brute_force(arrivals: &[u64]) -> u64 {
        let within = |last: u64| arrivals.iter().filter(|t| **t <= last && last - **t < 1_000_000).count();
        arrivals.iter().map(|t| within(*t) as u64).max().unwrap_or(0)
    }

    #[test]
    fn the_second_slides_and_its_edge_is_exact() {
        let mut limiter = RateLimiter::new(2, SECOND);
        let verdicts: Vec<bool> =
            [0, 900_000, 999_999, 1_000_000, 1_899_999, 1_900_000].map(|t| limiter.admit(at(t))).to_vec();
        assert_eq!(verdicts, [true, true, false, true, false, true]);
    }

    #[test]
    fn a_limit_of_zero_lets_everything_through() {
        let mut limiter = RateLimiter::new(0, SECOND);
        assert!((0..5_000).all(|_| limiter.admit(at(0))));
    }

    #[test]
    fn more_arrivals_than_can_be_remembered_are_counted_as_so_many() {
        let mut worst = WorstWindow::exact(SECOND);
        for _ in 0..EXACT_ARRIVALS_MAX + 10 {
            worst.record(at(5));
        }
        assert_eq!(worst.worst(), EXACT_ARRIVALS_MAX as u64);
    }

    #[test]
    fn buckets_forget_after_a_long_silence() {
        let mut worst = WorstWindow::buckets(SECOND);
        for t in [0, 10, 5_000_000_000, 5_000_000_001, 5_000_999_999] {
            worst.record(at(t));
        }
        assert_eq!(worst.worst(), 3);
    }

    proptest! {
        #[test]
        fn no_sliding_second_ever_holds_more_than_the_limit(
            gaps in prop::collection::vec(0u64..400_000, 1..200), limit in 1u32..8
        ) {
            let (mut now, mut limiter, mut admitted) = (0, RateLimiter::new(limit, SECOND), Vec::new());
            for gap in gaps {
                now += gap;
                if limiter.admit(at(now)) {
                    admitted.push(now);
                }
            }
            prop_assert!(brute_force(&admitted) <= u64::from(limit));
        }

        #[test]
        fn the_worst_second_is_what_comparing_all_with_all_gives(
            gaps in prop::collection::vec(0u64..300_000, 1..200)
        ) {
            let (mut now, mut arrivals) = (0, Vec::new());
            let (mut exact, mut buckets) = (WorstWindow::exact(SECOND), WorstWindow::buckets(SECOND));
            for gap in gaps {
                now += gap;
                arrivals.push(now);
                exact.record(at(now));
                buckets.record(at(now));
            }
            let truth = brute_force(&arrivals);
            prop_assert_eq!(exact.worst(), truth);
            prop_assert!(buckets.worst() <= truth);
        }
    }
}
