//! The pair limit: how often one number may write to one person.
//!
//! One message per interval (6 s at Meta). Up to 45 may go within one interval, but they are borrowed: after a
//! burst of n the pair rests n intervals, counted from the burst's first message. Pure: time is an argument.

use std::time::Duration;

use super::hash::{Sharded, table_of};
use crate::clock::Mono;

/// Messages to one person within one interval at most.
pub(crate) const BURST_MAX: u8 = 45;

/// Pairs that are remembered at most; when full, new pairs pass unchecked.
pub(crate) const PAIRS_MAX: usize = 16_000_000;

/// Below so many pairs a table is never searched for finished ones.
const SWEEP_FLOOR: usize = 256;

/// The pair limit of all numbers.
#[derive(Debug)]
pub(crate) struct PairLimiter {
    interval: Duration,
    pairs: Sharded<Burst>,
    sweep_at: Vec<usize>,
}

#[derive(Clone, Copy, Debug)]
struct Burst {
    first: Mono,
    count: u8,
}

impl PairLimiter {
    pub(crate) fn new(interval: Duration) -> Self {
        Self { interval, pairs: Sharded::new(PAIRS_MAX), sweep_at: vec![SWEEP_FLOOR; 256] }
    }

    /// Whether the pair `key` may have a message now; one that may not leaves no trace. Some(true): it is borrowed, within
    /// the interval of another.
    pub(crate) fn admit(&mut self, now: Mono, key: u64) -> Option<bool> {
        let interval = self.interval;
        self.sweep(now, key);
        let Some(burst) = self.pairs.entry(key, || Burst { first: now, count: 0 }) else {
            return Some(false);
        };
        if now >= burst.rests_until(interval) {
            *burst = Burst { first: now, count: 0 };
        }
        if burst.count >= BURST_MAX || now.since(burst.first) >= interval {
            return None;
        }
        burst.count += 1;
        Some(burst.count > 1)
    }

    /// Forgets finished pairs of one table whenever it has doubled, so that the cost per message stays constant.
    fn sweep(&mut self, now: Mono, key: u64) {
        let at = &mut self.sweep_at[table_of(key)];
        if self.pairs.table_len(key) >= *at {
            let interval = self.interval;
            self.pairs.sweep_table(key, |burst| now < burst.rests_until(interval));
            *at = SWEEP_FLOOR.max(2 * self.pairs.table_len(key));
        }
    }
}

impl Burst {
    fn rests_until(self, interval: Duration) -> Mono {
        self.first.after(interval * u32::from(self.count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(6);

    fn check(times_ms: &[u64], expect: &[bool]) {
        let mut limiter = PairLimiter::new(INTERVAL);
        let got: Vec<bool> =
            times_ms.iter().map(|t| limiter.admit(Mono(Duration::from_millis(*t)), 1).is_some()).collect();
        assert_eq!(got, expect, "{times_ms:?}");
    }

    #[test]
    fn one_message_per_interval_goes_on_for_ever() {
        check(&[0, 6_000, 12_000, 18_000], &[true; 4]);
    }

    #[test]
    fn a_message_within_the_interval_of_another_is_borrowed() {
        let mut limiter = PairLimiter::new(INTERVAL);
        let mut admit = |ms| limiter.admit(Mono(Duration::from_millis(ms)), 1);
        assert_eq!([0, 6_000, 11_999, 12_000].map(&mut admit), [Some(false), Some(false), Some(true), None]);
    }

    #[test]
    fn what_is_borrowed_is_paid_back() {
        check(&[0, 5_999, 6_000, 11_999, 12_000, 18_000], &[true, true, false, false, true, true]);
    }

    #[test]
    fn a_burst_ends_at_45_and_rests_for_as_many_intervals() {
        let mut times = vec![10; 46];
        times.extend([269_999, 270_009, 270_010]);
        let mut expect = vec![true; 45];
        expect.extend([false, false, false, true]);
        check(&times, &expect);
    }

    #[test]
    fn pairs_do_not_slow_each_other_and_finished_ones_are_forgotten() {
        let mut limiter = PairLimiter::new(INTERVAL);
        for n in 0..200_000u64 {
            let key = n.wrapping_mul(0x9E37_79B9_7F4A_7C15);
            assert_eq!(limiter.admit(Mono(Duration::from_millis(n)), key), Some(false));
        }
        assert!(limiter.pairs.len() < 140_000, "{}", limiter.pairs.len());
    }
}
