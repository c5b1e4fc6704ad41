//! The table of metric families: names, labels and help. A test compares it with the dashboard and the alerts.

use super::{doubts, stops, webhooks};

/// What a family is to Prometheus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FamilyKind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts by bucket.
    Histogram,
}

/// A metric family.
#[derive(Clone, Copy, Debug)]
pub struct Family {
    /// Name.
    pub name: &'static str,
    /// Kind.
    pub kind: FamilyKind,
    /// Labels in order.
    pub labels: &'static [&'static str],
    /// What it counts, what a sustained rise means, what to turn.
    pub help: &'static str,
}

pub(super) const ATTEMPTS: Family = Family {
    name: "carteiro_attempts_total",
    kind: FamilyKind::Counter,
    labels: &["number", "outcome"],
    help: "Requests to the Cloud API by what came of them. Mostly permanent: the list or the template is bad; \
           halt: something waits for a person; doubtful or unknown: trouble at Meta or on the line.",
};
pub(super) const SEND_SECONDS: Family = Family {
    name: "carteiro_send_seconds",
    kind: FamilyKind::Histogram,
    labels: &[],
    help: "From the first byte of a request to the end of its reply. A rise means that Meta or the line is slow; \
           pace is kept with more requests in flight, up to pace.max_in_flight.",
};
pub(super) const IN_FLIGHT: Family = Family {
    name: "carteiro_in_flight",
    kind: FamilyKind::Gauge,
    labels: &["number"],
    help: "Requests under way. Rising to pace.max_in_flight means that replies come too slowly for the pace.",
};
pub(super) const MESSAGES: Family = Family {
    name: "carteiro_messages",
    kind: FamilyKind::Gauge,
    labels: &["campaign", "state"],
    help: "Messages of unfinished campaigns by state. Growing in_doubt: trouble at Meta or on the line; growing \
           failed: read the report's codes; queued that does not fall: see carteiro_blocked.",
};
pub(super) const STOPS: Family = Family {
    name: "carteiro_campaign_stops_total",
    kind: FamilyKind::Counter,
    labels: &["campaign", "reason"],
    help: "Times that a campaign paused by itself. stop_if: too many of its messages failed, see its status before \
           you resume it; first: its first messages are sent.",
};
pub(super) const OLDEST_DUE: Family = Family {
    name: "carteiro_oldest_due_seconds",
    kind: FamilyKind::Gauge,
    labels: &["campaign"],
    help: "How long the campaign's oldest due message has waited. A rise means that more is loaded than the \
           numbers can send: add numbers, raise rates, or see carteiro_blocked.",
};
pub(super) const THROTTLED: Family = Family {
    name: "carteiro_throttled_total",
    kind: FamilyKind::Counter,
    labels: &["scope", "code"],
    help: "Requests refused by a limit of Meta. A rise of 130429 means that number.rate is above what Meta \
           allows, inbound messages counted: lower it. 131056: too many campaigns to the same people.",
};
pub(super) const RETRIES: Family = Family {
    name: "carteiro_retries_total",
    kind: FamilyKind::Counter,
    labels: &[],
    help: "Attempts that were not a message's first. A rise means that refusals for the moment are common: see \
           carteiro_attempts_total by outcome, and the campaign's retry policy.",
};
pub(super) const PACE: Family = Family {
    name: "carteiro_pace_per_s",
    kind: FamilyKind::Gauge,
    labels: &["number"],
    help: "Messages a second that the number may send now. Below the limit: it was slowed after refusals.",
};
pub(super) const PACE_LIMIT: Family = Family {
    name: "carteiro_pace_limit_per_s",
    kind: FamilyKind::Gauge,
    labels: &["number"],
    help: "Messages a second that number.rate allows.",
};
pub(super) const BLOCKED: Family = Family {
    name: "carteiro_blocked",
    kind: FamilyKind::Gauge,
    labels: &["number", "reason"],
    help: "Lanes of the number that may not send now, by reason. A reason that stays names what to look at: \
           the words are those of campaign status, and the README says what to do about each.",
};
pub(super) const CLAIM_SECONDS: Family = Family {
    name: "carteiro_claim_seconds",
    kind: FamilyKind::Histogram,
    labels: &[],
    help: "Time of a claim in Redis. A rise means a slow disk under appendfsync always or a busy Redis.",
};
pub(super) const SETTLE_SECONDS: Family = Family {
    name: "carteiro_settle_seconds",
    kind: FamilyKind::Histogram,
    labels: &[],
    help: "Time of a settle in Redis. A rise means a slow disk under appendfsync always or a busy Redis.",
};
pub(super) const REDIS_ERRORS: Family = Family {
    name: "carteiro_redis_errors_total",
    kind: FamilyKind::Counter,
    labels: &[],
    help: "Calls to Redis that failed. A rise stops sending: look at Redis, its memory and its disk.",
};
pub(super) const RELOADS: Family = Family {
    name: "carteiro_reloads_total",
    kind: FamilyKind::Counter,
    labels: &["outcome"],
    help: "Times that SIGHUP had the configuration read again: taken, or refused because it was not valid, and the \
           old one stays in force. A refused one waits for a person: the log says which file, line and key.",
};
pub(super) const BUILD_INFO: Family = Family {
    name: "carteiro_build_info",
    kind: FamilyKind::Gauge,
    labels: &["version"],
    help: "Always 1; the label says which version runs. Two versions at once mean a rollout that did not end.",
};

/// Every family.
pub const FAMILIES: [Family; 33] = [
    ATTEMPTS,
    SEND_SECONDS,
    IN_FLIGHT,
    MESSAGES,
    OLDEST_DUE,
    STOPS,
    THROTTLED,
    RETRIES,
    PACE,
    PACE_LIMIT,
    BLOCKED,
    CLAIM_SECONDS,
    SETTLE_SECONDS,
    REDIS_ERRORS,
    stops::STOP_LIST,
    stops::STOP_LIST_CURRENT,
    stops::STOP_LIST_VERSION,
    RELOADS,
    BUILD_INFO,
    webhooks::REQUESTS,
    webhooks::UPDATES,
    webhooks::STOPS_ASKED,
    webhooks::SECONDS,
    webhooks::RECEIPTS,
    webhooks::IGNORED,
    webhooks::UNJOURNALED,
    webhooks::LIFTED,
    webhooks::DUPLICATES,
    webhooks::TO_DELIVERED,
    webhooks::TO_READ,
    webhooks::LAST_RECEIPT,
    webhooks::CAMPAIGN,
    doubts::ENDED,
];
