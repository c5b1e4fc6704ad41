//! When a message that was refused for the moment is tried again: exponential backoff with full jitter.
//!
//! The base of a wait and its jitter are separate functions, so that schedules can be read and tested as lists.
//! It does not know why a message failed, and it does not count attempts: both come as arguments. Validity is
//! the caller's: a wait that ends after it means that the message expires.

use std::time::Duration;

use rand::{Rng, RngExt};

use crate::domain::campaign::RetryPolicy;

/// Growth of a pair's wait with every refusal (whatsapp: 4^x seconds).
const PAIR_FACTOR: u32 = 4;

/// The longest wait before the attempt that follows attempt number `attempt` (the first is 1): doubles with
/// every attempt, never above `policy.max`.
pub fn base(policy: &RetryPolicy, attempt: u8) -> Duration {
    grow(policy.base, 2, attempt.saturating_sub(1), policy.max)
}

/// Full jitter: anything from zero to `wait`, so that what failed together does not come back together.
pub fn jitter(wait: Duration, rng: &mut impl Rng) -> Duration {
    let nanos = u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX);
    Duration::from_nanos(rng.random_range(0..=nanos))
}

/// The wait before the next attempt after `attempt` attempts were made; None when all are used up.
pub fn next(policy: &RetryPolicy, attempt: u8, rng: &mut impl Rng) -> Option<Duration> {
    (attempt < policy.max_attempts).then(|| jitter(base(policy, attempt), rng))
}

/// The wait of a pair after `refusals` refusals in a row (the first is 1): `base`, then fourfold each time,
/// never above `max`. Without jitter: Meta names the schedule.
pub fn pair_backoff(base: Duration, max: Duration, refusals: u8) -> Duration {
    grow(base, PAIR_FACTOR, refusals.saturating_sub(1), max)
}

/// `first * factor^steps`, never above `max` and without overflow.
fn grow(first: Duration, factor: u32, steps: u8, max: Duration) -> Duration {
    let factor = factor.checked_pow(u32::from(steps)).unwrap_or(u32::MAX);
    first.saturating_mul(factor).min(max)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand::rngs::SmallRng;

    use super::*;

    fn policy(max_attempts: u8, base_ms: u64, max_ms: u64) -> RetryPolicy {
        RetryPolicy { max_attempts, base: Duration::from_millis(base_ms), max: Duration::from_millis(max_ms) }
    }

    /// The schedule of a policy in milliseconds: the longest wait before each retry.
    fn check(policy: RetryPolicy, expect_ms: &[u128]) {
        let mut rng = SmallRng::seed_from_u64(1);
        let attempts = (1..=255u8).take_while(|&attempt| next(&policy, attempt, &mut rng).is_some());
        let schedule: Vec<_> = attempts.map(|attempt| base(&policy, attempt).as_millis()).collect();
        assert_eq!(schedule, expect_ms, "{policy:?}");
    }

    #[test]
    fn schedules() {
        check(policy(1, 1_000, 60_000), &[]);
        check(policy(2, 1_000, 60_000), &[1_000]);
        check(policy(5, 30_000, 600_000), &[30_000, 60_000, 120_000, 240_000]);
        check(policy(8, 1_000, 10_000), &[1_000, 2_000, 4_000, 8_000, 10_000, 10_000, 10_000]);
        check(policy(4, 5_000, 1_000), &[1_000, 1_000, 1_000]);
    }

    #[test]
    fn no_attempts_left_is_none_also_past_the_end() {
        let mut rng = SmallRng::seed_from_u64(1);
        for attempt in [3, 4, 255] {
            assert_eq!(next(&policy(3, 1_000, 2_000), attempt, &mut rng), None);
        }
    }

    #[test]
    fn pairs_wait_fourfold() {
        let second = Duration::from_secs(1);
        let wait = |refusals| pair_backoff(second, second * 3_600, refusals).as_secs();
        let waits: Vec<_> = (0..=9).map(wait).collect();
        assert_eq!(waits, [1, 1, 4, 16, 64, 256, 1_024, 3_600, 3_600, 3_600]);
        assert_eq!(wait(255), 3_600);
    }

    proptest! {
        #[test]
        fn jitter_stays_within_the_wait(nanos: u64, seed: u64) {
            let wait = Duration::from_nanos(nanos);
            prop_assert!(jitter(wait, &mut SmallRng::seed_from_u64(seed)) <= wait);
        }

        #[test]
        fn base_never_shrinks_and_never_passes_the_longest(
            base_ms in 1..u64::MAX, max_ms in 1..u64::MAX, attempt in 1..=254u8,
        ) {
            let policy = policy(15, base_ms, max_ms);
            prop_assert!(base(&policy, attempt) <= base(&policy, attempt + 1));
            prop_assert!(base(&policy, attempt) <= policy.max);
        }
    }

    #[test]
    fn jitter_uses_the_whole_wait_evenly() {
        let mut rng = SmallRng::seed_from_u64(7);
        let wait = Duration::from_secs(1);
        let mut quarters = [0u32; 4];
        for _ in 0..4_000 {
            let at = jitter(wait, &mut rng).as_millis() / 250;
            quarters[usize::try_from(at).unwrap().min(3)] += 1;
        }
        assert!(quarters.iter().all(|&count| (850..=1_150).contains(&count)), "{quarters:?}");
    }
}
