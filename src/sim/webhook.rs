//! Webhooks of the simulated Meta: what it tells of the messages that it took, signed, batched, and as unreliable as a
//! plan wants it.
//!
//! A thread of its own plans, writes and posts them, so that they never make an answer late. The judge hands over each
//! message that it takes, those whose answer is lost among them: that is what receipts are for. Input: [`WebhookConfig`]
//! and the `[webhooks]` of a plan.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::task::LocalSet;

use super::config::SimError;
use super::hash::{Domain, Keys};
use super::identity::Phone;

mod body;
mod plan;
mod post;
mod said;
mod schedule;

pub use plan::WebhookPlan;
pub(crate) use plan::{RawWebhooks, resolve};
pub(crate) use said::{Saying, Stopped};

/// Receipts that wait at most, each; further messages get none, and the ledger says so.
const PENDING_MAX: u64 = 2_000_000;

/// Where webhooks go.
#[derive(Clone, PartialEq, Eq)]
pub struct WebhookConfig {
    /// The whole URL.
    pub url: String,
    /// Secret of the app, which signs.
    pub app_secret: Arc<str>,
    /// Id of the account in every webhook.
    pub account: String,
}

/// What became of the receipts. Planned = acknowledged + dropped + pending.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WebhookReport {
    /// Receipts that were to be sent, copies among them.
    pub planned: u64,
    /// Receipts in webhooks that were answered 200.
    pub acknowledged: u64,
    /// Receipts that were given up.
    pub dropped: u64,
    /// Receipts that wait for their time or for an answer.
    pub pending: u64,
    /// Posts.
    pub requests: u64,
    /// Posts that were not answered 200.
    pub refused: u64,
    /// Messages of which nothing is ever told.
    pub silent: u64,
    /// Messages reported as sent, once each; the others likewise.
    pub sent: u64,
    /// Delivered.
    pub delivered: u64,
    /// Read.
    pub read: u64,
    /// Failed after having been taken.
    pub failed: u64,
}

/// A status to be told, whoever took the message.
#[derive(Clone, Debug)]
pub struct Told {
    /// The number that sent it.
    pub number: Arc<str>,
    /// `biz_opaque_callback_data`.
    pub opaque: Box<str>,
    /// sent, delivered or read.
    pub status: &'static str,
}

/// One webhook that tells of them, as the simulator writes it, and its `X-Hub-Signature-256`. A word that is none of the
/// three is told as sent.
pub fn signed_body(account: &str, secret: &str, at_ms: u64, all: &[Told]) -> (String, String) {
    let phone = Phone::parse("+5511987654321").expect("this is a phone");
    let receipt = |one: &Told| body::Receipt {
        status: schedule::Status::of(one.status),
        taken: Rc::new(Taken {
            number: one.number.clone(),
            phone,
            draw: [Keys(0).bytes(Domain::Webhook, one.opaque.as_bytes()), 0],
            opaque: Some(one.opaque.clone()),
            held: false,
        }),
        at_ms,
    };
    let mut receipts: Vec<body::Receipt> = all.iter().map(receipt).collect();
    let text = body::write(account, Keys(0), &mut receipts);
    let signature = body::signature(secret, text.as_bytes());
    (text, signature)
}

/// One webhook in which a person writes this text to a number, and its `X-Hub-Signature-256`. None: that is no phone.
pub fn signed_text(
    account: &str,
    secret: &str,
    at_ms: u64,
    (number, phone, text): (&str, &str, &str),
) -> Option<(String, String)> {
    let phone = Phone::parse(phone)?;
    let saying = Saying { number: number.into(), phone, text: text.into(), told: None };
    let body = saying.body(account, at_ms, 0);
    let signature = body::signature(secret, body.as_bytes());
    Some((body, signature))
}

/// A message that was taken.
#[derive(Clone, Debug)]
pub(crate) struct Taken {
    pub(crate) number: Arc<str>,
    pub(crate) phone: Phone,
    pub(crate) opaque: Option<Box<str>>,
    /// What its answer and its fate are drawn from.
    pub(crate) draw: [u64; 2],
    pub(crate) held: bool,
}

/// What the thread is told.
#[derive(Debug)]
enum Order {
    Taken(Taken),
    /// The portfolio may write to so many people a day, 0 without a limit.
    Limit(u64),
    /// A person answers, now.
    Says(Saying),
    /// Forget everything.
    Reset,
}

/// Counters that both threads know.
#[derive(Debug, Default)]
struct Counts {
    planned: AtomicU64,
    acknowledged: AtomicU64,
    dropped: AtomicU64,
    requests: AtomicU64,
    refused: AtomicU64,
    silent: AtomicU64,
    by_status: [AtomicU64; 4],
}

/// Where the judge puts what it takes.
#[derive(Clone, Debug)]
pub(crate) struct Outbox {
    orders: UnboundedSender<Order>,
    counts: Arc<Counts>,
    stopped: Arc<Stopped>,
    plan: Arc<WebhookPlan>,
    keys: Keys,
}

impl Outbox {
    /// Starts the thread; it ends when the last outbox is gone.
    pub(crate) fn start(
        config: WebhookConfig,
        plan: WebhookPlan,
        keys: Keys,
        time_scale: u32,
    ) -> Result<Self, SimError> {
        let failed =
            |source| SimError::Io { what: "cannot start the thread of the webhooks".to_owned(), source };
        crate::tls::install_default();
        let plan = Arc::new(plan.scaled(time_scale));
        let poster = post::Poster::new(config, plan.clone(), keys, time_scale).map_err(failed)?;
        let (orders, incoming) = unbounded_channel();
        let (counts, stopped) = (poster.counts(), poster.stopped());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let run = move || LocalSet::new().block_on(&runtime, Rc::new(poster).tell(incoming));
        std::thread::Builder::new().name("sim-webhooks".to_owned()).spawn(run).map_err(failed)?;
        Ok(Self { orders, counts, stopped, plan, keys })
    }

    /// Whether a message will be given up although it is taken: it never reaches the person.
    pub(crate) fn fails(&self, draw: [u64; 2], held: bool) -> bool {
        schedule::fails(&self.plan, self.keys, draw, held)
    }

    /// A message was taken.
    pub(crate) fn push(&self, taken: Taken) {
        if self.counts.pending() >= PENDING_MAX {
            self.counts.add(&self.counts.silent, 1);
        } else {
            // The thread ends only with us.
            let _ = self.orders.send(Order::Taken(taken));
        }
    }

    /// The portfolio may write to so many people a day, 0 without a limit.
    pub(crate) fn tell_limit(&self, most: u64) {
        let _ = self.orders.send(Order::Limit(most));
    }

    /// A person asks to hear no more.
    pub(crate) fn say(&self, saying: Saying) {
        let _ = self.orders.send(Order::Says(saying));
    }

    /// Who asked to hear no more.
    pub(crate) fn stopped(&self) -> &Stopped {
        &self.stopped
    }

    /// Forgets everything.
    pub(crate) fn reset(&self) {
        let _ = self.orders.send(Order::Reset);
    }

    pub(crate) fn report(&self) -> WebhookReport {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let counts = &self.counts;
        let [sent, delivered, read, failed] = counts.by_status.each_ref().map(of);
        WebhookReport {
            planned: of(&counts.planned),
            acknowledged: of(&counts.acknowledged),
            dropped: of(&counts.dropped),
            pending: counts.pending(),
            requests: of(&counts.requests),
            refused: of(&counts.refused),
            silent: of(&counts.silent),
            sent,
            delivered,
            read,
            failed,
        }
    }
}

impl Counts {
    fn add(&self, counter: &AtomicU64, by: u64) {
        counter.fetch_add(by, Ordering::Relaxed);
    }

    fn pending(&self) -> u64 {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        of(&self.planned).saturating_sub(of(&self.acknowledged) + of(&self.dropped))
    }

    fn reset(&self) {
        let all =
            [&self.planned, &self.acknowledged, &self.dropped, &self.requests, &self.refused, &self.silent];
        all.into_iter().chain(&self.by_status).for_each(|counter| counter.store(0, Ordering::Relaxed));
    }
}

impl std::fmt::Debug for WebhookConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WebhookConfig").field("url", &self.url).finish_non_exhaustive()
    }
}
