//! What is drawn, and never from the order of arrival: whether a fault strikes a request, and how long its answer
//! takes. Both come from hashes of the seed, the message and how often it has been tried.

use std::time::Duration;

use super::config::{LATENCY_MAX, SimConfig};
use super::hash::{Domain, Keys, unit};
use super::plan::{Fault, FaultKind, Target};

/// Draws the fault of a request.
#[derive(Debug)]
pub(crate) struct FaultDraw {
    faults: Vec<Fault>,
    names: Vec<u64>,
}

/// Draws the time to answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LatencyDraw {
    median: Duration,
    /// Standard deviation of the logarithm; 0: every answer takes the median.
    sigma: f64,
}

impl FaultDraw {
    pub(crate) fn new(keys: Keys, faults: Vec<Fault>) -> Self {
        let name = |(position, fault): (usize, &Fault)| {
            keys.bytes(Domain::Name, format!("{position} {}", fault.label()).as_bytes())
        };
        Self { names: faults.iter().enumerate().map(name).collect(), faults }
    }

    /// Whether anything can be drawn at all.
    pub(crate) fn is_empty(&self) -> bool {
        self.faults.is_empty()
    }

    /// Which faults concern a number, one bit each.
    pub(crate) fn mask(&self, number: &str) -> u64 {
        let bit = |(position, fault): (usize, &Fault)| u64::from(fault.concerns(number)) << position;
        self.faults.iter().enumerate().map(bit).fold(0, |mask, bit| mask | bit)
    }

    /// The first fault that strikes, with its place: `subject` and `attempt` say what is struck.
    pub(crate) fn draw(
        &self,
        keys: Keys,
        mask: u64,
        on: Target,
        elapsed: Duration,
        [subject, attempt]: [u64; 2],
    ) -> Option<(usize, FaultKind)> {
        let strikes = |(position, fault): &(usize, &Fault)| {
            fault.kind != FaultKind::Outage
                && mask & (1 << position) != 0
                && (fault.on == on || fault.on == Target::All)
                && fault.is_on(elapsed)
                && unit(keys.words(Domain::Draw, [subject, attempt, self.names[*position]])) < fault.share
        };
        let struck = self.faults.iter().enumerate().find(strikes);
        struck.map(|(position, fault)| (position, fault.kind))
    }

    pub(crate) fn in_outage(&self, elapsed: Duration) -> bool {
        let mut outages = self.faults.iter().filter(|fault| fault.kind == FaultKind::Outage);
        outages.any(|fault| fault.is_on(elapsed))
    }

    /// Names the faults for the ledger.
    pub(crate) fn labels(&self) -> impl Iterator<Item = String> + '_ {
        let label = |(position, fault): (usize, &Fault)| format!("{} {}", position + 1, fault.label());
        self.faults.iter().enumerate().map(label)
    }
}

impl LatencyDraw {
    pub(crate) fn new(config: &SimConfig) -> Self {
        /// The 99th percentile of the standard normal distribution.
        const Z99: f64 = 2.326_347_9;
        let ratio = |p99: Duration| p99.as_secs_f64() / config.latency.as_secs_f64();
        Self {
            median: config.latency / config.time_scale.max(1),
            sigma: config.latency_p99.map_or(0.0, |p99| ratio(p99).ln() / Z99),
        }
    }

    pub(crate) fn draw(&self, keys: Keys, subject: [u64; 2]) -> Duration {
        if self.median.is_zero() || self.sigma == 0.0 {
            return self.median;
        }
        let uniform = |part| unit(keys.words(Domain::Latency, [subject[0], subject[1], part]));
        // Box and Muller; 1 - u is never zero.
        let radius = (-2.0 * (1.0 - uniform(0)).ln()).sqrt();
        let normal = radius * (std::f64::consts::TAU * uniform(1)).cos();
        let seconds = self.median.as_secs_f64() * (self.sigma * normal).exp();
        Duration::from_secs_f64(seconds.min(LATENCY_MAX.as_secs_f64()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::plan::FaultPlan;

    fn draws(seed: u64, order: impl Iterator<Item = u64>) -> Vec<(u64, Option<usize>)> {
        let plan = FaultPlan::parse(
            "[[fault]]\nkind = \"held\"\nshare = 0.1\n[[fault]]\nkind = \"throttle\"\nshare = 0.2\nnumbers = [\"7\"]",
        );
        let draw = FaultDraw::new(Keys(seed), plan.unwrap().faults);
        let one = |id| {
            let struck = draw.draw(Keys(seed), draw.mask("7"), Target::Messages, Duration::ZERO, [id, 0]);
            (id, struck.map(|(position, _)| position))
        };
        let mut all: Vec<_> = order.map(one).collect();
        all.sort_unstable();
        all
    }

    #[test]
    fn the_same_seed_draws_the_same_faults_in_any_order() {
        let forward = draws(1, 0..5_000);
        assert_eq!(forward, draws(1, (0..5_000).rev()));
        assert_ne!(forward, draws(2, 0..5_000));
        let count = |position| forward.iter().filter(|(_, hit)| *hit == Some(position)).count();
        // Of the second fault's 20 % a tenth is taken by the first.
        assert!((400..600).contains(&count(0)) && (800..1_000).contains(&count(1)));
    }

    #[test]
    fn each_attempt_and_each_fault_is_drawn_anew() {
        let twice = "[[fault]]\nkind = \"held\"\nshare = 0.5\n[[fault]]\nkind = \"held\"\nshare = 0.5";
        let draw = FaultDraw::new(Keys(1), FaultPlan::parse(twice).unwrap().faults);
        let count = |attempt, expect: Option<usize>| {
            let struck = |id: &u64| draw.draw(Keys(1), 3, Target::Messages, Duration::ZERO, [*id, attempt]);
            // Only messages that the first fault strikes at their first attempt.
            let chosen = (0..4_000).filter(|id| {
                let first = draw.draw(Keys(1), 1, Target::Messages, Duration::ZERO, [*id, 0]);
                first.is_some()
            });
            chosen.filter(|id| struck(id).map(|(position, _)| position) == expect).count()
        };
        let all = count(0, Some(0));
        assert!((1_900..2_100).contains(&all), "{all}");
        // At the second attempt half of them are struck by it again, a quarter by the other, a quarter by none.
        let again = [Some(0), Some(1), None].map(|expect| count(1, expect) * 100 / all);
        assert!(
            again[0].abs_diff(50) < 5 && again[1].abs_diff(25) < 5 && again[2].abs_diff(25) < 5,
            "{again:?}"
        );
    }

    #[test]
    fn a_fault_strikes_only_its_numbers_requests_and_times() {
        let plan = FaultPlan::parse(
            "[[fault]]\nkind = \"reset_before\"\nshare = 1.0\nnumbers = [\"7\"]\non = \"probes\"\nfrom = \"1s\"\nto = \"2s\"",
        );
        let draw = FaultDraw::new(Keys(0), plan.unwrap().faults);
        let strikes = |number, on, ms| {
            let elapsed = Duration::from_millis(ms);
            draw.draw(Keys(0), draw.mask(number), on, elapsed, [1, 1]).is_some()
        };
        assert!(strikes("7", Target::Probes, 1_000));
        assert!(!strikes("8", Target::Probes, 1_000));
        assert!(!strikes("7", Target::Messages, 1_000));
        assert!(!strikes("7", Target::Probes, 999) && !strikes("7", Target::Probes, 2_000));
    }

    #[test]
    fn latencies_have_the_median_and_the_99th_percentile_asked_for() {
        let config = SimConfig {
            latency: Duration::from_millis(3_000),
            latency_p99: Some(Duration::from_millis(9_000)),
            time_scale: 10,
            ..SimConfig::default()
        };
        let draw = LatencyDraw::new(&config);
        let mut all: Vec<_> = (0..20_000).map(|n| draw.draw(Keys(3), [n, 0]).as_millis()).collect();
        all.sort_unstable();
        assert!((290..310).contains(&all[10_000]), "{}", all[10_000]);
        assert!((830..970).contains(&all[19_800]), "{}", all[19_800]);
    }
}
