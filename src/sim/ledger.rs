//! The ledger: what really happened, as a server saw it. The judge of tests, demo and load tests.
//!
//! *Taken* is a message that would have reached the person: answered 200, or reset, stalled or answered with an
//! empty 5xx after its body had been read. Two sums always hold: every request is taken, refused or reset before;
//! every taken one is accepted, unanswered, or about to be answered.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::webhook::WebhookReport;

/// What `GET /_sim/ledger` answers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LedgerReport {
    /// Version of this form; keys are only ever added.
    pub schema: u32,
    /// When this was said, in milliseconds since the simulator started.
    #[serde(default)]
    pub now_ms: u64,
    /// Message requests whose body arrived.
    pub requests: u64,
    /// Messages that would have reached the person.
    pub taken: u64,
    /// Taken and answered 200, the held ones and those without a message id among them.
    pub accepted: u64,
    /// Answered 200 with `held_for_quality_assessment`.
    pub held: u64,
    /// Answered 200 without a message id.
    pub without_wamid: u64,
    /// Taken, and an answer other than 200, or none, is all that the sender got.
    pub taken_unanswered: u64,
    /// Taken and waiting for its latency to pass.
    pub answering: u64,
    /// Takings beyond the first of the same message, whatever the generation in its id.
    pub duplicate_ids: u64,
    /// Takings beyond the first of the same campaign to the same person.
    pub duplicate_people: u64,
    /// Takings at an hour or on a day at which the law of the person's state forbids them.
    pub out_of_hours: u64,
    /// Takings by which a person was written to more often than `--contacts-per-day` and `--contacts-per-week` allow.
    #[serde(default)]
    pub cap_exceeded: u64,
    /// Takings of a number within 6 s of another one of it to the same person: borrowed, and refused if it goes on.
    #[serde(default)]
    pub pair_exceeded: u64,
    /// Takings of one person more than the portfolio may write to within a window.
    #[serde(default)]
    pub budget_exceeded: u64,
    /// People taken within any window at most; 0 without a limit.
    #[serde(default)]
    pub people_max: u64,
    /// Takings that never reach the person: the plan gives them up later, and a webhook says so.
    #[serde(default)]
    pub failed_later: u64,
    /// Takings whose request carried no id.
    pub without_id: u64,
    /// Takings that could not be checked for duplicates because a bound was reached: must be zero.
    pub untracked: u64,
    /// Requests refused, by Graph code.
    pub refused: BTreeMap<i64, u64>,
    /// Of those, refused because the number was really over its rate.
    pub over_rate: u64,
    /// Of those, refused because of the pair limit.
    pub over_pair: u64,
    /// Reset without having been taken.
    pub reset_before: u64,
    /// Not taken, and said so by refusing the stream.
    #[serde(default)]
    pub refused_streams: u64,
    /// Not taken, and said so by going away.
    #[serde(default)]
    pub go_aways: u64,
    /// Taken and reset.
    pub reset_after: u64,
    /// Taken and never answered, or late.
    pub stalled: u64,
    /// Taken and answered with an empty 5xx.
    pub empty_5xx: u64,
    /// Taken and answered with a Graph error, by code.
    pub errors_after_taking: BTreeMap<i64, u64>,
    /// How often each fault of the plan struck, by its place in the file and its kind.
    pub faults: BTreeMap<String, u64>,
    /// Largest number of message requests of a number in any sliding second.
    pub worst_second: BTreeMap<String, u64>,
    /// The largest of those.
    pub worst_second_max: u64,
    /// By number.
    pub per_number: BTreeMap<String, NumberReport>,
    /// `GET /{phone_number_id}` by number.
    pub probes: BTreeMap<String, u64>,
    /// Largest number of probes of one number in any sliding second.
    pub worst_probes_per_s: u64,
    /// The same in any sliding second of scaled time (a second divided by the time scale).
    pub worst_probes_per_scaled_s: u64,
    /// Media uploaded.
    pub uploads: u64,
    /// Requests of templates, numbers' fields apart.
    pub template_reads: u64,
    /// Management requests: those, and of numbers' fields.
    #[serde(default)]
    pub management_requests: u64,
    /// Of those, refused because an hour had no room for them.
    #[serde(default)]
    pub over_requests: u64,
    /// How late the simulator itself was.
    pub lag_ms: LagReport,
    /// Connections open at the same time at most.
    pub connections_open_max: u64,
    /// What was taken for people who had asked to hear no more.
    #[serde(default)]
    pub stopped: StoppedReport,
    /// What was told of the messages taken; zeroes without --webhook.
    #[serde(default)]
    pub webhooks: WebhookReport,
}

/// People who asked to hear no more, by a webhook.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoppedReport {
    /// How many asked.
    pub said: u64,
    /// Of those, people whose webhook was answered 200.
    pub people: u64,
    /// Messages taken for them after that answer, however soon.
    pub after_answer: u64,
    /// Of those, taken more than a second after it: must be zero.
    pub after_stop: u64,
}

/// One number in the ledger.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct NumberReport {
    /// Message requests.
    pub requests: u64,
    /// Messages taken.
    pub taken: u64,
    /// First message request, in milliseconds since the simulator started; null before there is one.
    pub first_ms: Option<u64>,
    /// Last message request.
    pub last_ms: Option<u64>,
    /// Messages a second at most; 0 is unlimited.
    pub rate_limit_per_s: u32,
}

/// Lateness of the simulator's own tick; up to about a millisecond and a half is the timer's own grain.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LagReport {
    /// The worst.
    pub max: f64,
    /// 99 of 100 ticks were not later than this.
    pub p99: f64,
}

/// Lateness in tenths of a millisecond, bounded.
#[derive(Clone, Debug)]
pub(crate) struct LagHistogram {
    counts: Vec<u64>,
    max: Duration,
}

const LAG_BUCKETS: usize = 2_000;
const LAG_BUCKET: Duration = Duration::from_micros(100);

impl Default for LagHistogram {
    fn default() -> Self {
        Self { counts: vec![0; LAG_BUCKETS], max: Duration::ZERO }
    }
}

impl LagHistogram {
    pub(crate) fn record(&mut self, lag: Duration) {
        let bucket = usize::try_from(lag.as_micros() / LAG_BUCKET.as_micros()).unwrap_or(usize::MAX);
        self.counts[bucket.min(LAG_BUCKETS - 1)] += 1;
        self.max = self.max.max(lag);
    }

    pub(crate) fn report(&self) -> LagReport {
        let total: u64 = self.counts.iter().sum();
        let mut seen = 0;
        let bucket = self.counts.iter().position(|count| {
            seen += count;
            seen * 100 >= total * 99
        });
        let above = u32::try_from(bucket.unwrap_or(0) + 1).unwrap_or(u32::MAX);
        let max = self.max.as_secs_f64() * 1e3;
        LagReport { max, p99: max.min((LAG_BUCKET * above).as_secs_f64() * 1e3) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lag_keeps_its_worst_and_its_99th_percentile() {
        let mut lag = LagHistogram::default();
        assert_eq!(lag.report(), LagReport { max: 0.0, p99: 0.0 });
        for _ in 0..99 {
            lag.record(Duration::from_micros(1_240));
        }
        lag.record(Duration::from_secs(1));
        let report = lag.report();
        assert!((report.p99 - 1.3).abs() < 1e-9 && (report.max - 1e3).abs() < 1e-9, "{report:?}");
    }

    #[test]
    fn the_report_survives_its_json() {
        let mut report = LedgerReport::default();
        report.refused.insert(130_429, 2);
        let json = serde_json::to_string(&report).unwrap();
        assert!(json.contains(r#""refused":{"130429":2}"#));
        assert_eq!(serde_json::from_str::<LedgerReport>(&json).unwrap(), report);
    }
}
