//! The figures of a benchmark: one object, the same keys in every variant, null where something was not measured.

use serde::Serialize;

use super::limits::Limits;
use crate::sim::LedgerReport;

/// What was measured. Keys are only ever added.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Figures {
    /// Version of this form.
    pub schema: u32,
    /// Recipients loaded.
    pub recipients: u64,
    /// Sending numbers.
    pub numbers: u32,
    /// Messages a second of each; null is unlimited.
    pub rate_per_s: Option<u32>,
    /// Rows validated, deduplicated and stored a second, by the load alone.
    pub load_rows_per_s: Option<f64>,
    /// Requests a second between the first and the last, as the simulator saw them.
    pub sends_per_s: Option<f64>,
    /// The same of `wrk`, the mean of a run before and one after.
    pub wrk_per_s: Option<f64>,
    /// The engine's over that of `wrk`.
    pub ratio_to_wrk: Option<f64>,
    /// CPU time of the engine.
    pub engine_cpu_us_per_send: Option<f64>,
    /// CPU time of Redis while sending.
    pub redis_cpu_us_per_send: Option<f64>,
    /// Growth of Redis' `used_memory` by a message: after the load, with `--memory` after the run.
    pub redis_bytes_per_message: Option<f64>,
    /// The most it was at any second of the run; with `--memory`.
    pub redis_bytes_per_message_peak: Option<f64>,
    /// Most memory of the engine or of the load, whichever had more.
    pub rss_mb: Option<f64>,
    /// Most memory of the engine.
    pub serve_rss_mb: Option<f64>,
    /// Most memory of the load.
    pub load_rss_mb: Option<f64>,
    /// Message requests that the simulator saw.
    pub requests: u64,
    /// Messages taken.
    pub taken: u64,
    /// Takings beyond the first of the same message.
    pub duplicate_ids: u64,
    /// Takings beyond the first of the same person.
    pub duplicate_people: u64,
    /// Refused because a number was really over its rate.
    pub over_rate: u64,
    /// Most requests of any number in any sliding second.
    pub worst_second: Option<u64>,
    /// Share of its pace that a number used from its first to its last request: the mean over the numbers.
    pub pace_used: Option<f64>,
    /// The least of any number.
    pub pace_used_min: Option<f64>,
    /// How late the simulator was at worst.
    pub sim_lag_ms: f64,
    /// Runs thrown away because the simulator was too late to judge the pace.
    pub void_runs: u32,
    /// Whether this run is one of those: no better one was had, or, with `--limits`, none was tried.
    pub void: bool,
    /// Messages failed and in doubt; with `--memory`.
    pub failed: Option<u64>,
    /// In doubt; with `--memory`.
    pub in_doubt: Option<u64>,
    /// Commands that Redis ran for a pause with ten messages queued; with `--pause-commands`.
    pub pause_commands_10: Option<u64>,
    /// The same with all recipients queued.
    pub pause_commands_n: Option<u64>,
    /// Statuses posted as webhooks; this and what follows with `--webhooks`.
    pub webhook_updates: Option<u64>,
    /// Statuses that were acknowledged a second.
    pub webhook_updates_per_s: Option<f64>,
    /// That over the sends a second of the same run.
    pub webhook_ratio_to_sends: Option<f64>,
    /// Half of the webhooks were answered within this.
    pub webhook_median_ms: Option<f64>,
    /// All but one of a hundred were.
    pub webhook_p99_ms: Option<f64>,
    /// Webhooks that were not answered 200.
    pub webhooks_refused: Option<u64>,
    /// Statuses that Redis has not counted afterwards.
    pub webhook_updates_lost: Option<u64>,
    /// CPU time of the engine for a status.
    pub engine_cpu_us_per_webhook_update: Option<f64>,
    /// CPU time of Redis for a status.
    pub redis_cpu_us_per_webhook_update: Option<f64>,
    /// With `--limits`.
    #[serde(flatten)]
    pub limits: Limits,
}

impl Figures {
    /// Takes over what the simulator saw.
    pub(super) fn judged_by(&mut self, ledger: &LedgerReport) {
        self.requests = ledger.requests;
        self.taken = ledger.taken;
        self.duplicate_ids = ledger.duplicate_ids;
        self.duplicate_people = ledger.duplicate_people;
        self.over_rate = ledger.over_rate;
        self.worst_second = Some(ledger.worst_second_max);
        self.sim_lag_ms = ledger.lag_ms.max;
        self.sends_per_s = requests_per_s(ledger);
    }
}

/// Requests a second between the first and the last of any number; None if that is no time at all.
pub(super) fn requests_per_s(ledger: &LedgerReport) -> Option<f64> {
    let first = ledger.per_number.values().filter_map(|number| number.first_ms).min()?;
    let last = ledger.per_number.values().filter_map(|number| number.last_ms).max()?;
    per(ledger.requests * 1_000, last - first)
}

/// A quotient; None where there is nothing to divide by.
#[allow(clippy::cast_precision_loss, reason = "figures are shown with a few digits")]
pub(super) fn per(amount: u64, by: u64) -> Option<f64> {
    (by > 0).then(|| amount as f64 / by as f64)
}

/// MiB of so many KiB.
pub(super) fn mib(kib: Option<u64>) -> Option<f64> {
    per(kib?, 1_024)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::NumberReport;

    #[test]
    fn the_rate_spans_all_numbers() {
        let number = |first, last| NumberReport { first_ms: first, last_ms: last, ..NumberReport::default() };
        let mut ledger = LedgerReport { requests: 300, ..LedgerReport::default() };
        assert_eq!(requests_per_s(&ledger), None);
        ledger.per_number.insert("1".to_owned(), number(Some(100), Some(900)));
        ledger.per_number.insert("2".to_owned(), number(Some(200), Some(1_100)));
        ledger.per_number.insert("3".to_owned(), number(None, None));
        assert_eq!(requests_per_s(&ledger), Some(300.0));
    }
}
