//! A sending number as the judge knows it: its limit, and what it has been asked.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::Mono;
use crate::sim::ledger::NumberReport;
use crate::sim::rate::{RateLimiter, WorstWindow};

const SECOND: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Number {
    pub(super) name: Arc<str>,
    pub(super) rate_per_s: u32,
    pub(super) limiter: RateLimiter,
    pub(super) worst: WorstWindow,
    pub(super) probes: u64,
    pub(super) worst_probes: WorstWindow,
    pub(super) worst_probes_scaled: WorstWindow,
    pub(super) report: NumberReport,
    pub(super) fault_mask: u64,
}

impl Number {
    pub(super) fn new(name: &str, rate_per_s: u32, time_scale: u32, fault_mask: u64) -> Self {
        Self {
            name: name.into(),
            rate_per_s,
            limiter: RateLimiter::new(rate_per_s, SECOND),
            worst: match rate_per_s {
                0 => WorstWindow::buckets(SECOND),
                _ => WorstWindow::exact(SECOND),
            },
            probes: 0,
            worst_probes: WorstWindow::exact(SECOND),
            worst_probes_scaled: WorstWindow::exact(SECOND / time_scale.max(1)),
            report: NumberReport { rate_limit_per_s: rate_per_s, ..NumberReport::default() },
            fault_mask,
        }
    }

    pub(super) fn arrive(&mut self, now: Mono, started: Mono) {
        let ms = u64::try_from(now.since(started).as_millis()).unwrap_or(u64::MAX);
        self.report.requests += 1;
        self.report.first_ms.get_or_insert(ms);
        self.report.last_ms = Some(ms);
        self.worst.record(now);
    }
}
