//! What is shown of the stop list.

use super::{Family, FamilyKind, Metrics};
use crate::clock::WallMs;
use crate::domain::stop::StopKind;

pub(super) const STOP_LIST: Family = Family {
    name: "carteiro_stop_list",
    kind: FamilyKind::Gauge,
    labels: &["kind"],
    help: "Stops in this process' copy of the stop list, by kind. A sudden rise of optout: look at what people are \
           told; a fall: somebody took stops back, or Redis was restored from a backup.",
};
/// Name of the metric that says which version of the stop list a process has.
pub const STOP_LIST_VERSION_NAME: &str = "carteiro_stop_list_version";
pub(super) const STOP_LIST_VERSION: Family = Family {
    name: STOP_LIST_VERSION_NAME,
    kind: FamilyKind::Gauge,
    labels: &[],
    help: "The last entry of the stop list's log that this process has. Processes that differ for more than a second: one \
           of them cannot follow, look at its line to Redis.",
};
pub(super) const STOP_LIST_CURRENT: Family = Family {
    name: "carteiro_stop_list_current_timestamp_seconds",
    kind: FamilyKind::Gauge,
    labels: &[],
    help: "When the copy of the stop list was last found current. Older than stops.stale_after: the process claims \
           nothing; look at Redis and at the line to it.",
};

impl Metrics {
    /// The stop list was found current: stops by kind, the last entry of the log in it, and when.
    pub fn set_stops(&self, counts: &[(StopKind, u64)], version: u64, now: WallMs) {
        #[allow(clippy::cast_precision_loss, reason = "counts and wall milliseconds stay far below 2^53")]
        for (kind, count) in counts {
            self.gauge(STOP_LIST, &[kind.as_str()]).set(*count as f64);
        }
        #[allow(clippy::cast_precision_loss, reason = "counts and wall milliseconds stay far below 2^53")]
        self.gauge(STOP_LIST_VERSION, &[]).set(version as f64);
        #[allow(clippy::cast_precision_loss, reason = "counts and wall milliseconds stay far below 2^53")]
        self.gauge(STOP_LIST_CURRENT, &[]).set(now.0 as f64 / 1_000.0);
    }
}
