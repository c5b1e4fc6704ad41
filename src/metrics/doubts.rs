//! What the doubt clock counts.

use metrics::Counter;

use super::{Family, FamilyKind, Metrics};

pub(super) const ENDED: Family = Family {
    name: "carteiro_doubts_ended_total",
    kind: FamilyKind::Counter,
    labels: &["outcome"],
    help: "Messages in doubt whose clock was over before a receipt came: again (sent once more: doubtful ones, or as the \
           campaign says), unresolved (nobody will ever know). Many: look at the line to Meta, then at webhooks check.",
};

/// Handles of the doubt clock.
#[derive(Debug)]
pub struct DoubtMetrics {
    /// Sent once more.
    pub again: Counter,
    /// Nobody will ever know.
    pub unresolved: Counter,
}

impl Metrics {
    /// Handles of the doubt clock.
    pub fn doubts(&self) -> DoubtMetrics {
        let of = |outcome| self.counter(ENDED, &[outcome]);
        DoubtMetrics { again: of("again"), unresolved: of("unresolved") }
    }
}
