//! Makes the ledger's report from what the judge has counted.

use super::{Judge, Number};
use crate::clock::Mono;
use crate::sim::ledger::{LedgerReport, StoppedReport};
use crate::sim::webhook::Outbox;

impl Judge {
    /// The ledger as it stands, with the time at which that is.
    pub(crate) fn report_at(&self, now: Mono) -> LedgerReport {
        let now_ms = u64::try_from(now.since(self.started).as_millis()).unwrap_or(u64::MAX);
        LedgerReport { now_ms, ..self.report() }
    }

    /// The ledger as it stands.
    pub(crate) fn report(&self) -> LedgerReport {
        let counts = &self.counts;
        let by_number = |of: fn(&Number) -> u64| {
            let entry = |number: &Number| (number.name.to_string(), of(number));
            self.numbers.iter().map(entry).filter(|(_, count)| *count > 0).collect()
        };
        let most = |of: fn(&Number) -> u64| self.numbers.iter().map(of).max().unwrap_or(0);
        let sending = self.numbers.iter().filter(|number| number.report.requests > 0);
        let (said, people) = self.outbox.as_ref().map(|outbox| outbox.stopped().counts()).unwrap_or_default();
        LedgerReport {
            schema: 1,
            people_max: self.portfolio.worst(),
            stopped: StoppedReport { said, people, ..counts.stopped.clone() },
            taken_unanswered: counts.taken - counts.accepted - counts.answering,
            faults: self.faults.labels().zip(self.fault_hits.iter().copied()).collect(),
            worst_second: by_number(|number| number.worst.worst()),
            worst_second_max: most(|number| number.worst.worst()),
            per_number: sending.map(|number| (number.name.to_string(), number.report.clone())).collect(),
            probes: by_number(|number| number.probes),
            worst_probes_per_s: most(|number| number.worst_probes.worst()),
            worst_probes_per_scaled_s: most(|number| number.worst_probes_scaled.worst()),
            lag_ms: self.lag.report(),
            webhooks: self.outbox.as_ref().map(Outbox::report).unwrap_or_default(),
            ..counts.clone()
        }
    }
}
