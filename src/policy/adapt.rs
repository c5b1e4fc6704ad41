//! How a number's pace follows what Meta takes: lowered by a part when Meta refuses for pace, raised step by step while
//! messages are accepted, never above the number's limit and never below a floor.
//!
//! Meta counts what it counts: inbound messages are in it, and a limit may be lower for a while than what was agreed. The
//! number's own limiter keeps the configured rate; this finds the rate below it that is not refused. Pure: it says the new
//! rate, and whoever owns the limiter sets it.

use std::time::Duration;

use crate::clock::Mono;

/// The pace is raised once in this time at most.
const STEP: Duration = Duration::from_secs(1);

/// A pause between two accepted messages counts for as much as this at most: nothing is learned while nothing is sent.
const STEP_MOST: Duration = Duration::from_secs(5);

/// How a pace adapts. All are parts of the number's limit, but for `decrease`, a part of the pace.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdaptConfig {
    /// What a refusal leaves of the pace.
    pub decrease: f64,
    /// What a second of accepted messages gives back.
    pub increase_per_s: f64,
    /// The lowest pace.
    pub floor: f64,
}

/// Where the pace of one number stands below its limit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Adaptive {
    /// The part of the limit that is used.
    part: f64,
    lowered_at: Option<Mono>,
    raised_at: Mono,
}

impl Adaptive {
    /// All of the limit, at first.
    pub fn new(now: Mono) -> Self {
        Self { part: 1.0, lowered_at: None, raised_at: now }
    }

    /// The part of the limit that is used, up to 1.
    pub fn part(&self) -> f64 {
        self.part
    }

    /// Meta refused a request that began at `began`. True: the part is lower now. Refusals of requests that were under way
    /// when the last one lowered it belong to the same event.
    pub fn on_refused(&mut self, now: Mono, began: Mono, config: &AdaptConfig) -> bool {
        if self.lowered_at.is_some_and(|at| began <= at) {
            return false;
        }
        let before = self.part;
        self.part = (self.part * config.decrease).max(config.floor);
        (self.lowered_at, self.raised_at) = (Some(now), now);
        self.part < before
    }

    /// Meta took a message. True: the part is higher now.
    pub fn on_accepted(&mut self, now: Mono, config: &AdaptConfig) -> bool {
        let since = now.since(self.raised_at);
        if self.part >= 1.0 || since < STEP {
            return false;
        }
        self.raised_at = now;
        let raised = self.part + config.increase_per_s * since.min(STEP_MOST).as_secs_f64();
        self.part = raised.min(1.0);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const CONFIG: AdaptConfig = AdaptConfig { decrease: 0.7, increase_per_s: 0.01, floor: 0.05 };

    fn at(ms: u64) -> Mono {
        Mono(Duration::from_millis(ms))
    }

    #[test]
    fn refusals_of_one_event_lower_it_once() {
        let mut pace = Adaptive::new(at(0));
        assert!(pace.on_refused(at(1_000), at(900), &CONFIG));
        assert!(!pace.on_refused(at(1_010), at(950), &CONFIG), "it was under way already");
        assert!((pace.part() - 0.7).abs() < 1e-9);
        assert!(pace.on_refused(at(1_200), at(1_100), &CONFIG));
        assert!((pace.part() - 0.49).abs() < 1e-9);
    }

    #[test]
    fn it_sinks_to_its_floor_and_recovers_to_all_of_the_limit() {
        let mut pace = Adaptive::new(at(0));
        let parts: Vec<u32> = (1..=10)
            .map(|n| {
                pace.on_refused(at(n * 2_000), at(n * 2_000 - 10), &CONFIG);
                #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "thousandths")]
                let thousandths = (pace.part() * 1000.0).round() as u32;
                thousandths
            })
            .collect();
        assert_eq!(parts, [700, 490, 343, 240, 168, 118, 82, 58, 50, 50]);
        let recovered = (1..).find(|s| {
            pace.on_accepted(at(20_000 + s * 1_000), &CONFIG);
            pace.part() >= 1.0
        });
        assert_eq!(recovered, Some(95), "one hundredth a second");
    }

    #[test]
    fn it_rises_once_a_second_and_a_rest_counts_little() {
        let mut pace = Adaptive::new(at(0));
        pace.on_refused(at(0), at(0), &CONFIG);
        assert!(!pace.on_accepted(at(999), &CONFIG));
        assert!(pace.on_accepted(at(1_000), &CONFIG));
        assert!(!pace.on_accepted(at(1_500), &CONFIG));
        assert!(pace.on_accepted(at(3_600_000), &CONFIG));
        assert!((pace.part() - 0.76).abs() < 1e-9, "{}", pace.part());
    }

    proptest! {
        #[test]
        fn it_stays_between_floor_and_limit(steps in prop::collection::vec((0u64..5_000, any::<bool>()), 1..200)) {
            let (mut pace, mut now) = (Adaptive::new(at(0)), 0);
            for (pause, refused) in steps {
                now += pause;
                if refused {
                    pace.on_refused(at(now), at(now), &CONFIG);
                } else {
                    pace.on_accepted(at(now), &CONFIG);
                }
                prop_assert!((CONFIG.floor..=1.0).contains(&pace.part()));
            }
        }
    }
}
