//! Whether a measured pace was kept.

use carteiro::sim::LedgerReport;

use crate::rig::Rig;

/// How far arrivals may jitter before a measured pace says nothing: the slack of the pace of every [`Rig::paced`].
///
/// Ten times the default: the ledger knows how late it was itself, but not how late an engine was, another process, which a
/// busy machine may put aside between the grant of a slot and the write.
const SLACK_MS: u32 = 100;

impl Rig {
    /// One whose pace is measured by [`within_pace`].
    pub(crate) fn paced(mut self) -> Self {
        self.pace += &format!("arrival_slack = \"{SLACK_MS}ms\"\n");
        self
    }
}

/// No number was faster than its rate in any sliding second. Counts if the ledger was not late itself.
pub(crate) fn within_pace(ledger: &LedgerReport, rate: u64) {
    if ledger.lag_ms.max <= f64::from(SLACK_MS) {
        assert!(ledger.worst_second_max <= rate && ledger.over_rate == 0, "{ledger:?}");
    }
}
