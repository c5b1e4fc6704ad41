//! What webhooks count: requests, updates, receipts, and how long people took to get and to read a message.

use std::collections::BTreeMap;

use metrics::{Counter, Gauge, Histogram};

use super::{Family, FamilyKind, Metrics};
use crate::domain::ids::NumberId;
use crate::domain::receipt::ReceiptKind;
use crate::domain::record::State;
use crate::domain::stop::StopKind;

/// Buckets of a webhook: Meta wants half of them below a quarter of a second.
pub(super) const WEBHOOK_BUCKETS_S: [f64; 9] = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];

/// Buckets of people.
pub(super) const PEOPLE_BUCKETS_S: [f64; 11] =
    [1.0, 2.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3_600.0, 14_400.0, 43_200.0, 86_400.0];

pub(super) const REQUESTS: Family = Family {
    name: "carteiro_webhook_requests_total",
    kind: FamilyKind::Counter,
    labels: &["outcome"],
    help: "Requests to the webhook address by what came of them. unsigned: a wrong app_secret, or somebody else; redis \
           or busy: refused with 503, Meta sends them again.",
};
pub(super) const UPDATES: Family = Family {
    name: "carteiro_webhook_updates_total",
    kind: FamilyKind::Counter,
    labels: &["kind"],
    help: "Updates heard, by kind; those that begin with skipped_ could not be read. A rise of skipped ones means that \
           Meta changed its form: tell us.",
};
pub(super) const SECONDS: Family = Family {
    name: "carteiro_webhook_seconds",
    kind: FamilyKind::Histogram,
    labels: &[],
    help: "From a webhook's head to its answer, Redis included. Above a quarter of a second Meta begins to hold back: \
           look at Redis.",
};
pub(super) const RECEIPTS: Family = Family {
    name: "carteiro_receipts_total",
    kind: FamilyKind::Counter,
    labels: &["status"],
    help: "Receipts that told something new of a message. Many failed: read the report's codes; none at all while \
           messages leave: carteiro webhooks check.",
};
pub(super) const IGNORED: Family = Family {
    name: "carteiro_receipts_ignored_total",
    kind: FamilyKind::Counter,
    labels: &["reason"],
    help: "Receipts that changed nothing: repeated (Meta says everything at least once), foreign (of another sender), \
           without_id, nowhere (of a message that Redis does not know: was it restored or emptied?).",
};
pub(super) const UNJOURNALED: Family = Family {
    name: "carteiro_receipts_unjournaled_total",
    kind: FamilyKind::Counter,
    labels: &[],
    help: "Receipts that were applied while the journal could not be written: reports and why lack their times. Make \
           room on the journal's disk.",
};
pub(super) const LIFTED: Family = Family {
    name: "carteiro_receipts_lifted_total",
    kind: FamilyKind::Counter,
    labels: &["state"],
    help: "Messages that a receipt made accepted, by their state before. in_doubt is its purpose; failed, waiting or \
           queued is a surprise: Meta took what it had refused, or Redis forgot something.",
};
pub(super) const DUPLICATES: Family = Family {
    name: "carteiro_duplicates_detected_total",
    kind: FamilyKind::Counter,
    labels: &[],
    help: "Messages that receipts prove to have reached the person twice. Anything above zero is worth a look at the \
           campaign's policy for doubtful messages.",
};
pub(super) const TO_DELIVERED: Family = Family {
    name: "carteiro_time_to_delivered_seconds",
    kind: FamilyKind::Histogram,
    labels: &[],
    help: "From Meta's sent to its delivered, by Meta's clock, where the sent is among the latest 262,144 heard: slow \
           deliveries of large runs are missing. A rise means that Meta holds back or phones are off.",
};
pub(super) const TO_READ: Family = Family {
    name: "carteiro_time_to_read_seconds",
    kind: FamilyKind::Histogram,
    labels: &[],
    help: "From Meta's sent to its read, by Meta's clock, where the sent is among the latest 262,144 heard. It tells \
           when people look, so that campaigns can be timed.",
};
pub(super) const LAST_RECEIPT: Family = Family {
    name: "carteiro_last_receipt_timestamp_seconds",
    kind: FamilyKind::Gauge,
    labels: &["number"],
    help: "When a receipt of the number was last heard, in seconds since 1970. Staying behind while messages leave \
           means that webhooks do not arrive: carteiro webhooks check.",
};
pub(super) const CAMPAIGN: Family = Family {
    name: "carteiro_campaign_receipts",
    kind: FamilyKind::Gauge,
    labels: &["campaign", "status"],
    help: "Messages of unfinished campaigns by receipt: sent, delivered, read, failed after having been accepted. Few \
           delivered among many sent means bad numbers or people who block you.",
};

pub(super) const STOPS_ASKED: Family = Family {
    name: "carteiro_stops_asked_total",
    kind: FamilyKind::Counter,
    labels: &["kind", "by"],
    help: "Stops that were put into the stop list by webhooks, by kind, and by what said so: word, button, settings (of \
           WhatsApp), code (of Meta). A rise of optout or wrong_person in a campaign: look at its text and at its file.",
};

/// What says that a person is not to be written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asking {
    /// A message of the person.
    Word,
    /// A button that the person pressed.
    Button,
    /// WhatsApp's own settings.
    Settings,
    /// A code of Meta.
    Code,
    /// Meta's id of a person who had asked, now with a phone.
    Id,
}

/// What came of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum RequestOutcome {
    /// Everything is in Redis.
    Taken,
    /// No signature, or a wrong one.
    Unsigned,
    /// Above the bound of bytes.
    TooLarge,
    /// The body did not come, or not in time.
    Broken,
    /// Too much is under way.
    Busy,
    /// Redis could not take it.
    Redis,
    /// A handshake that was answered.
    Handshake,
    /// A handshake that was refused.
    HandshakeRefused,
}

/// Why a receipt changed nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Ignored {
    /// Known already.
    Repeated,
    /// Of another sender or another installation.
    Foreign,
    /// Without an id.
    WithoutId,
    /// Of a message that is not there.
    Nowhere,
}

/// Handles of the webhooks.
#[derive(Debug)]
pub struct WebhookMetrics {
    requests: [Counter; RequestOutcome::ALL.len()],
    receipts: [Counter; ReceiptKind::ALL.len()],
    ignored: [Counter; Ignored::ALL.len()],
    lifted: [Counter; State::ALL.len()],
    /// Receipts that the journal lacks.
    pub unjournaled: Counter,
    /// Seconds of a request.
    pub seconds: Histogram,
    /// Proven second deliveries.
    pub duplicates: Counter,
    /// Seconds from sent to delivered.
    pub to_delivered: Histogram,
    /// Seconds from sent to read.
    pub to_read: Histogram,
}

impl RequestOutcome {
    /// Every outcome.
    pub const ALL: [Self; 8] = [
        Self::Taken,
        Self::Unsigned,
        Self::TooLarge,
        Self::Broken,
        Self::Busy,
        Self::Redis,
        Self::Handshake,
        Self::HandshakeRefused,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Taken => "taken",
            Self::Unsigned => "unsigned",
            Self::TooLarge => "too_large",
            Self::Broken => "broken",
            Self::Busy => "busy",
            Self::Redis => "redis",
            Self::Handshake => "handshake",
            Self::HandshakeRefused => "handshake_refused",
        }
    }
}

impl Asking {
    const fn name(self) -> &'static str {
        match self {
            Self::Word => "word",
            Self::Button => "button",
            Self::Settings => "settings",
            Self::Code => "code",
            Self::Id => "id",
        }
    }

    /// The words for people.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Word => "the person's own words",
            Self::Button => "a button that the person pressed",
            Self::Settings => "the person's settings in WhatsApp",
            Self::Code => "Meta, by a code",
            Self::Id => "the person, whose phone was hidden then",
        }
    }
}

impl Ignored {
    /// Every reason.
    pub const ALL: [Self; 4] = [Self::Repeated, Self::Foreign, Self::WithoutId, Self::Nowhere];

    fn name(self) -> &'static str {
        match self {
            Self::Repeated => "repeated",
            Self::Foreign => "foreign",
            Self::WithoutId => "without_id",
            Self::Nowhere => "nowhere",
        }
    }
}

impl Metrics {
    /// Handles of the webhooks.
    pub fn webhooks(&self) -> WebhookMetrics {
        WebhookMetrics {
            requests: RequestOutcome::ALL.map(|outcome| self.counter(REQUESTS, &[outcome.name()])),
            receipts: ReceiptKind::ALL.map(|kind| self.counter(RECEIPTS, &[kind.as_str()])),
            ignored: Ignored::ALL.map(|reason| self.counter(IGNORED, &[reason.name()])),
            lifted: State::ALL.map(|state| self.counter(LIFTED, &[state.as_str()])),
            unjournaled: self.counter(UNJOURNALED, &[]),
            seconds: self.histogram(SECONDS),
            duplicates: self.counter(DUPLICATES, &[]),
            to_delivered: self.histogram(TO_DELIVERED),
            to_read: self.histogram(TO_READ),
        }
    }

    /// Updates of a kind were heard. Kinds come from a closed list.
    pub fn webhook_updates(&self, kind: &str, count: u64) {
        self.counter(UPDATES, &[kind]).increment(count);
    }

    /// A webhook put somebody into the stop list.
    pub fn stop_asked(&self, kind: StopKind, by: Asking) {
        self.counter(STOPS_ASKED, &[kind.as_str(), by.name()]).increment(1);
    }

    /// When a receipt of a number was last heard.
    pub fn last_receipt(&self, number: &NumberId) -> Gauge {
        self.gauge(LAST_RECEIPT, &[&number.0])
    }

    /// Where a campaign stands by receipts.
    pub fn set_campaign_receipts(&self, campaign: &str, receipts: BTreeMap<&'static str, u64>) {
        if let Some(series) = self.passing().campaigns.get_mut(campaign) {
            series.receipts = receipts;
        }
    }
}

impl WebhookMetrics {
    /// A request came to its end.
    pub fn request(&self, outcome: RequestOutcome) {
        self.requests[outcome as usize].increment(1);
    }

    /// A receipt told something new.
    pub fn receipt(&self, kind: ReceiptKind) {
        self.receipts[kind as usize].increment(1);
    }

    /// A receipt changed nothing.
    pub fn ignored(&self, reason: Ignored) {
        self.ignored[reason as usize].increment(1);
    }

    /// A receipt made a message accepted.
    pub fn lifted(&self, from: State) {
        self.lifted[usize::from(from.number())].increment(1);
    }
}
