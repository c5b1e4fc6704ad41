//! Every metric of the program: names, labels and help in one table (`family`), handles prepared once per label set so
//! that the hot path only adds to an atomic.
//!
//! Labels are bounded: number, campaign, outcome, reason, scope, code; never a lane or a person. The exporter
//! cannot drop a single series, so what comes and goes (campaigns, what blocks a number) is kept here and
//! written by [`Metrics::render`] itself. A test compares the names with the dashboard and the alerts.

mod doubts;
mod family;
mod stops;
mod webhooks;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use metrics::{Counter, Gauge, Histogram, Key, Label, Level, Metadata, Recorder};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder};

use crate::domain::ids::NumberId;
use crate::policy::classify::table::Row;
use crate::policy::classify::{Kind, Scope};
use family::{
    ATTEMPTS, BLOCKED, BUILD_INFO, CLAIM_SECONDS, IN_FLIGHT, MESSAGES, OLDEST_DUE, PACE, PACE_LIMIT,
    REDIS_ERRORS, RELOADS, RETRIES, SEND_SECONDS, SETTLE_SECONDS, STOPS, THROTTLED,
};

pub use doubts::DoubtMetrics;
pub use family::{FAMILIES, Family, FamilyKind};
pub use stops::STOP_LIST_VERSION_NAME;
pub use webhooks::{Asking, Ignored, RequestOutcome, WebhookMetrics};

/// Campaigns whose series are kept at most; beyond it the oldest name is dropped.
const CAMPAIGNS_MAX: usize = 1_000;

/// How often [`Metrics::upkeep`] must be called: histograms keep every sample until then.
pub const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);

/// Buckets of a send: from a fast loopback to the longest timeout.
const SEND_BUCKETS_S: [f64; 13] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

/// Buckets of a call to Redis.
const REDIS_BUCKETS_S: [f64; 11] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 10.0];

/// What may become of a configuration that is read again.
const RELOAD_OUTCOMES: [&str; 2] = ["taken", "refused"];

/// All metrics of a process.
pub struct Metrics {
    recorder: PrometheusRecorder,
    handle: PrometheusHandle,
    passing: Mutex<Passing>,
}

/// Handles of one number, for its shard.
#[derive(Clone, Debug)]
pub struct NumberMetrics {
    /// By [`Kind::ALL`].
    attempts: [Counter; Kind::ALL.len()],
    /// Requests under way.
    pub in_flight: Gauge,
    /// Messages a second it may send now.
    pub pace_per_s: Gauge,
    /// Messages a second its rate allows.
    pub pace_limit_per_s: Gauge,
}

/// Handles without labels, for every shard.
#[derive(Clone, Debug)]
pub struct ShardMetrics {
    /// Seconds of a send.
    pub send_seconds: Histogram,
    /// Seconds of a claim.
    pub claim_seconds: Histogram,
    /// Seconds of a settle.
    pub settle_seconds: Histogram,
    /// Attempts that were not the first.
    pub retries: Counter,
    /// Calls to Redis that failed.
    pub redis_errors: Counter,
}

/// Series that come and go.
#[derive(Default)]
struct Passing {
    campaigns: BTreeMap<String, CampaignSeries>,
    blocked: BTreeMap<NumberId, Vec<(&'static str, u64)>>,
}

struct CampaignSeries {
    states: Vec<(&'static str, u64)>,
    oldest_due: Duration,
    receipts: BTreeMap<&'static str, u64>,
}

impl Metrics {
    /// Metrics of this process, all at zero.
    pub fn new() -> Arc<Self> {
        let buckets = |builder: PrometheusBuilder, family: Family, values: &[f64]| {
            let matcher = Matcher::Full(family.name.to_owned());
            builder.set_buckets_for_metric(matcher, values).expect("the buckets are constants and not empty")
        };
        let builder = buckets(PrometheusBuilder::new(), SEND_SECONDS, &SEND_BUCKETS_S);
        let builder = buckets(builder, CLAIM_SECONDS, &REDIS_BUCKETS_S);
        let builder = buckets(builder, webhooks::SECONDS, &webhooks::WEBHOOK_BUCKETS_S);
        let builder = buckets(builder, webhooks::TO_DELIVERED, &webhooks::PEOPLE_BUCKETS_S);
        let builder = buckets(builder, webhooks::TO_READ, &webhooks::PEOPLE_BUCKETS_S);
        let recorder = buckets(builder, SETTLE_SECONDS, &REDIS_BUCKETS_S).build_recorder();
        for family in FAMILIES {
            let (name, help) = (family.name.into(), family.help.into());
            match family.kind {
                FamilyKind::Counter => recorder.describe_counter(name, None, help),
                FamilyKind::Gauge => recorder.describe_gauge(name, None, help),
                FamilyKind::Histogram => recorder.describe_histogram(name, None, help),
            }
        }
        let metrics = Self { handle: recorder.handle(), recorder, passing: Mutex::default() };
        metrics.gauge(BUILD_INFO, &[env!("CARGO_PKG_VERSION")]).set(1.0);
        // Series that exist from the start let an alert tell zero from missing.
        let _ = metrics.shard();
        let _ = RELOAD_OUTCOMES.map(|outcome| metrics.counter(RELOADS, &[outcome]));
        Arc::new(metrics)
    }

    /// Handles for a number.
    pub fn number(&self, number: &NumberId) -> NumberMetrics {
        NumberMetrics {
            attempts: Kind::ALL.map(|kind| self.counter(ATTEMPTS, &[&number.0, kind.name()])),
            in_flight: self.gauge(IN_FLIGHT, &[&number.0]),
            pace_per_s: self.gauge(PACE, &[&number.0]),
            pace_limit_per_s: self.gauge(PACE_LIMIT, &[&number.0]),
        }
    }

    /// Handles without labels.
    pub fn shard(&self) -> ShardMetrics {
        ShardMetrics {
            send_seconds: self.histogram(SEND_SECONDS),
            claim_seconds: self.histogram(CLAIM_SECONDS),
            settle_seconds: self.histogram(SETTLE_SECONDS),
            retries: self.counter(RETRIES, &[]),
            redis_errors: self.counter(REDIS_ERRORS, &[]),
        }
    }

    /// A limit refused a request. The label is the table's row, so its values are bounded by the table.
    pub fn throttled(&self, scope: Scope, row: &Row) {
        let codes = row.codes_text();
        let code = if codes.is_empty() { &row.name } else { &codes };
        self.counter(THROTTLED, &[scope.name(), code]).increment(1);
    }

    /// The configuration was read again, and taken or refused.
    pub fn reloaded(&self, taken: bool) {
        let outcome = RELOAD_OUTCOMES[usize::from(!taken)];
        self.counter(RELOADS, &[outcome]).increment(1);
    }

    /// Where a campaign stands: messages by state, and how long its oldest due message has waited.
    pub fn set_campaign(&self, campaign: &str, states: Vec<(&'static str, u64)>, oldest_due: Duration) {
        let mut passing = self.passing();
        let receipts = passing.campaigns.remove(campaign).map(|known| known.receipts).unwrap_or_default();
        passing.campaigns.insert(campaign.to_owned(), CampaignSeries { states, oldest_due, receipts });
        if passing.campaigns.len() > CAMPAIGNS_MAX {
            passing.campaigns.pop_first();
        }
    }

    /// Drops the series of a campaign that is finished.
    pub fn drop_campaign(&self, campaign: &str) {
        self.passing().campaigns.remove(campaign);
    }

    /// A campaign paused by itself.
    pub fn stopped(&self, campaign: &str, reason: &'static str) {
        self.counter(STOPS, &[campaign, reason]).increment(1);
    }

    /// What blocks a number now: lanes by reason. Reasons that are not named are gone.
    pub fn set_blocked(&self, number: &NumberId, reasons: Vec<(&'static str, u64)>) {
        self.passing().blocked.insert(number.clone(), reasons);
    }

    /// Drops what is kept of a number that left this process.
    pub fn drop_number(&self, number: &NumberId) {
        self.passing().blocked.remove(number);
    }

    /// Sorts the samples of histograms into their buckets. Call it every [`UPKEEP_INTERVAL`], since nobody may
    /// be asking for the metrics and samples are kept until then.
    pub fn upkeep(&self) {
        self.handle.run_upkeep();
    }

    /// The text that Prometheus reads.
    pub fn render(&self) -> String {
        let mut text = self.handle.render();
        let passing = self.passing();
        let campaigns = || passing.campaigns.iter();
        let states = campaigns().flat_map(|(campaign, series)| {
            series.states.iter().map(move |&(state, count)| (vec![campaign.as_str(), state], count as f64))
        });
        write_gauges(&mut text, MESSAGES, states);
        let receipts = campaigns().flat_map(|(campaign, series)| {
            series
                .receipts
                .iter()
                .map(move |(status, count)| (vec![campaign.as_str(), *status], *count as f64))
        });
        write_gauges(&mut text, webhooks::CAMPAIGN, receipts);
        let due =
            campaigns().map(|(campaign, series)| (vec![campaign.as_str()], series.oldest_due.as_secs_f64()));
        write_gauges(&mut text, OLDEST_DUE, due);
        let blocked = passing.blocked.iter().flat_map(|(number, reasons)| {
            reasons.iter().map(move |&(reason, lanes)| (vec![&*number.0, reason], lanes as f64))
        });
        write_gauges(&mut text, BLOCKED, blocked);
        text
    }

    fn passing(&self) -> MutexGuard<'_, Passing> {
        // Every change is a single insert or remove, so a panic elsewhere leaves nothing half done.
        self.passing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn counter(&self, family: Family, values: &[&str]) -> Counter {
        self.recorder.register_counter(&key(family, values), &METADATA)
    }

    fn gauge(&self, family: Family, values: &[&str]) -> Gauge {
        self.recorder.register_gauge(&key(family, values), &METADATA)
    }

    fn histogram(&self, family: Family) -> Histogram {
        self.recorder.register_histogram(&key(family, &[]), &METADATA)
    }
}

impl NumberMetrics {
    /// An attempt came to an end.
    pub fn attempt(&self, outcome: Kind) {
        self.attempts[outcome as usize].increment(1);
    }
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

const METADATA: Metadata<'static> = Metadata::new("carteiro", Level::INFO, None);

fn key(family: Family, values: &[&str]) -> Key {
    debug_assert_eq!(family.labels.len(), values.len(), "{}", family.name);
    let labels: Vec<Label> = family
        .labels
        .iter()
        .zip(values)
        .map(|(label, value)| Label::new(*label, (*value).to_owned()))
        .collect();
    Key::from_parts(family.name, labels)
}

/// Writes a family in Prometheus' text form; nothing if it has no series.
fn write_gauges<'a>(text: &mut String, family: Family, series: impl Iterator<Item = (Vec<&'a str>, f64)>) {
    let mut series = series.peekable();
    if series.peek().is_none() {
        return;
    }
    let name = family.name;
    let mut write = |line: std::fmt::Arguments<'_>| text.write_fmt(line).expect("a String takes every text");
    write(format_args!("# HELP {name} {}\n# TYPE {name} gauge\n", family.help));
    for (values, value) in series {
        let escaped = |value: &str| value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        let labels: Vec<String> = family
            .labels
            .iter()
            .zip(values)
            .map(|(label, value)| format!("{label}=\"{}\"", escaped(value)))
            .collect();
        write(format_args!("{name}{{{}}} {value}\n", labels.join(",")));
    }
    write(format_args!("\n"));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::classify::ErrorTable;

    fn lines<'a>(text: &'a str, name: &str) -> Vec<&'a str> {
        text.lines().filter(|line| line.starts_with(name)).collect()
    }

    #[test]
    fn kinds_count_where_their_name_says() {
        for (position, kind) in Kind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, position);
        }
        let metrics = Metrics::new();
        let number = metrics.number(&NumberId::from("10"));
        number.attempt(Kind::Throttled);
        number.attempt(Kind::Throttled);
        number.attempt(Kind::Accepted);
        let text = metrics.render();
        for expect in [
            "carteiro_attempts_total{number=\"10\",outcome=\"throttled\"} 2",
            "carteiro_attempts_total{number=\"10\",outcome=\"accepted\"} 1",
            "carteiro_attempts_total{number=\"10\",outcome=\"halt\"} 0",
        ] {
            assert!(text.lines().any(|line| line == expect), "{expect} is not in\n{text}");
        }
    }

    #[test]
    fn finished_campaigns_and_past_reasons_are_gone() {
        let metrics = Metrics::new();
        let number = NumberId::from("10");
        metrics.set_campaign("a", vec![("queued", 7), ("failed", 1)], Duration::from_millis(1_500));
        metrics.set_campaign("b\"\\", vec![("queued", 9)], Duration::ZERO);
        metrics.set_blocked(&number, vec![("pace", 2), ("paused", 1)]);
        let text = metrics.render();
        assert_eq!(
            lines(&text, "carteiro_messages"),
            [
                "carteiro_messages{campaign=\"a\",state=\"queued\"} 7",
                "carteiro_messages{campaign=\"a\",state=\"failed\"} 1",
                "carteiro_messages{campaign=\"b\\\"\\\\\",state=\"queued\"} 9",
            ]
        );
        assert_eq!(
            lines(&text, "carteiro_oldest_due_seconds{campaign=\"a\"}"),
            ["carteiro_oldest_due_seconds{campaign=\"a\"} 1.5"]
        );
        metrics.drop_campaign("a");
        metrics.drop_campaign("b\"\\");
        metrics.set_blocked(&number, vec![("pace", 3)]);
        let text = metrics.render();
        assert!(!text.contains("carteiro_messages"), "{text}");
        assert_eq!(lines(&text, "carteiro_blocked"), ["carteiro_blocked{number=\"10\",reason=\"pace\"} 3"]);
        metrics.drop_number(&number);
        assert!(!metrics.render().contains("carteiro_blocked"));
    }

    #[test]
    fn throttles_are_labelled_by_the_table() {
        let metrics = Metrics::new();
        let table = ErrorTable::builtin();
        metrics.throttled(Scope::Number, table.code(130_429).unwrap());
        metrics.throttled(Scope::Number, table.reason(13).unwrap());
        let text = metrics.render();
        assert_eq!(lines(&text, "carteiro_throttled_total{").len(), 2);
        assert!(text.contains("carteiro_throttled_total{scope=\"number\",code=\"130429\"} 1"), "{text}");
        assert!(
            text.contains("carteiro_throttled_total{scope=\"number\",code=\"too_many_requests\"} 1"),
            "{text}"
        );
    }

    #[test]
    fn times_have_fixed_buckets_and_survive_upkeep() {
        let metrics = Metrics::new();
        let shard = metrics.shard();
        shard.send_seconds.record(0.21);
        metrics.upkeep();
        shard.send_seconds.record(0.31);
        let text = metrics.render();
        for expect in [
            "carteiro_send_seconds_bucket{le=\"0.2\"} 0",
            "carteiro_send_seconds_bucket{le=\"0.3\"} 1",
            "carteiro_send_seconds_bucket{le=\"0.5\"} 2",
            "carteiro_send_seconds_count 2",
        ] {
            assert!(text.lines().any(|line| line == expect), "{expect} is not in\n{text}");
        }
    }

    #[test]
    fn campaigns_are_bounded() {
        let metrics = Metrics::new();
        for campaign in 0..=CAMPAIGNS_MAX {
            metrics.set_campaign(&format!("{campaign:05}"), vec![("queued", 1)], Duration::ZERO);
        }
        let text = metrics.render();
        assert_eq!(lines(&text, "carteiro_messages").len(), CAMPAIGNS_MAX);
        assert!(!text.contains("\"00000\""));
    }
}
