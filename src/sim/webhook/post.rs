//! The thread that tells: keeps receipts until their time, posts them in batches, and again until they are acknowledged.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::JoinSet;

use super::body::{self, BODY_MAX_BYTES, RECEIPTS_MAX, Receipt};
use super::plan::WebhookPlan;
use super::said::{Saying, Stopped};
use super::schedule::{opts_out, receipts};
use super::{Counts, Order, Taken, WebhookConfig};
use crate::clock::{self, Mono};
use crate::sim::hash::Keys;

/// How often what is due is posted: receipts of so long share a body.
const TICK: Duration = Duration::from_millis(10);

/// Posts under way at most, those that wait for another try among them.
const POSTS_MAX: usize = 8;

/// Orders taken at once.
const ORDERS_MAX: usize = 4_096;

/// A webhook that is not answered within this has failed.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The first failure is tried again at once, the next after this, then twice as long each time.
const RETRY_BASE: Duration = Duration::from_millis(500);

/// Longest wait between two tries.
const RETRY_MAX: Duration = Duration::from_secs(60);

/// Tries before a body is given up (Meta: seven days).
const TRIES_MAX: u32 = 200;

/// People who are about to say something at most; further ones stay silent.
const SAYINGS_MAX: usize = 100_000;

/// Everything that the thread needs.
pub(super) struct Poster {
    config: WebhookConfig,
    plan: Arc<WebhookPlan>,
    keys: Keys,
    time_scale: u32,
    counts: Arc<Counts>,
    stopped: Arc<Stopped>,
    client: reqwest::Client,
}

/// A receipt that waits for its time.
struct Waiting {
    told: Mono,
    /// In the order of planning where the times are the same.
    order: u64,
    receipt: Receipt,
}

/// Receipts in the order of their time.
#[derive(Default)]
struct Calendar {
    waiting: BinaryHeap<Reverse<Waiting>>,
    planned: u64,
}

impl Poster {
    pub(super) fn new(
        config: WebhookConfig,
        plan: Arc<WebhookPlan>,
        keys: Keys,
        time_scale: u32,
    ) -> io::Result<Self> {
        let client =
            reqwest::Client::builder().no_proxy().timeout(TIMEOUT).build().map_err(io::Error::other)?;
        Ok(Self {
            config,
            plan,
            keys,
            time_scale: time_scale.max(1),
            counts: Arc::default(),
            stopped: Arc::default(),
            client,
        })
    }

    pub(super) fn counts(&self) -> Arc<Counts> {
        self.counts.clone()
    }

    pub(super) fn stopped(&self) -> Arc<Stopped> {
        self.stopped.clone()
    }

    /// Runs until nobody orders any more.
    pub(super) async fn tell(self: Rc<Self>, mut incoming: UnboundedReceiver<Order>) {
        let (mut calendar, mut posts, mut sayings) = (Calendar::default(), JoinSet::new(), JoinSet::new());
        let mut orders = Vec::with_capacity(ORDERS_MAX);
        let mut tick = clock::mono().after(TICK);
        loop {
            tokio::select! {
                taken = incoming.recv_many(&mut orders, ORDERS_MAX) => {
                    if taken == 0 {
                        return;
                    }
                    for order in orders.drain(..) {
                        match order {
                            Order::Limit(most) => {
                                let text = body::capability(&self.config.account, most);
                                posts.spawn_local(self.clone().post(text, 0));
                            }
                            Order::Taken(taken) => {
                                let says = self.plan(taken, &mut calendar);
                                if let Some((saying, after)) = says.filter(|_| sayings.len() < SAYINGS_MAX) {
                                    sayings.spawn_local(self.clone().say(saying, after));
                                }
                            }
                            Order::Says(saying) => {
                                sayings.spawn_local(self.clone().say(saying, Duration::ZERO));
                            }
                            Order::Reset => {
                                calendar = Calendar::default();
                                posts.abort_all();
                                sayings.abort_all();
                                self.counts.reset();
                                self.stopped.reset();
                            }
                        }
                    }
                    continue;
                }
                () = tokio::time::sleep_until(tick.to_tokio()) => tick = clock::mono().after(TICK),
                Some(_) = posts.join_next() => continue,
                Some(_) = sayings.join_next() => continue,
            }
            while posts.len() < POSTS_MAX {
                let mut due = calendar.due(clock::mono());
                if due.is_empty() {
                    break;
                }
                let text = body::write(&self.config.account, self.keys, &mut due);
                posts.spawn_local(self.clone().post(text, due.len() as u64));
            }
        }
    }

    /// Plans the receipts of a message; and what its person answers, and when, if the plan has them ask for silence.
    fn plan(&self, taken: Taken, calendar: &mut Calendar) -> Option<(Saying, Duration)> {
        let (now, wall) = (clock::mono(), clock::wall().0);
        let all = receipts(&self.plan, self.keys, &taken, &self.counts);
        self.counts.add(&self.counts.planned, all.len() as u64);
        let says = opts_out(&self.plan, self.keys, &taken, &all).map(|after| {
            let (number, text) = (taken.number.clone(), self.plan.opt_out_text.clone());
            (Saying { number, phone: taken.phone, text, told: None }, after)
        });
        let taken = Rc::new(taken);
        for one in all {
            let happens = u64::try_from(one.happens.as_millis()).unwrap_or(u64::MAX);
            let receipt =
                Receipt { taken: taken.clone(), status: one.status, at_ms: wall.saturating_add(happens) };
            calendar.put(now.after(one.told), receipt);
        }
        says
    }

    /// A person asks to hear no more; from the answer on the ledger counts what is taken for them.
    async fn say(self: Rc<Self>, saying: Saying, after: Duration) {
        tokio::time::sleep(after).await;
        let serial = self.stopped.said();
        let text = saying.body(&self.config.account, clock::wall().0, serial);
        let answered = self.clone().deliver(text).await;
        if answered {
            self.stopped.answered(saying.phone.person(), clock::mono());
        }
        // Whoever asked may not wait any more.
        if let Some(told) = saying.told {
            let _gone = told.send(answered);
        }
    }

    /// Posts receipts until they are acknowledged or given up.
    async fn post(self: Rc<Self>, text: String, receipts: u64) {
        let counts = self.counts.clone();
        let answered = self.deliver(text).await;
        counts.add(if answered { &counts.acknowledged } else { &counts.dropped }, receipts);
    }

    /// Posts a body until it is acknowledged or given up.
    async fn deliver(self: Rc<Self>, text: String) -> bool {
        let signature = body::signature(&self.config.app_secret, text.as_bytes());
        let text = bytes::Bytes::from(text);
        for tries in 0..TRIES_MAX {
            if tries > 1 {
                let wait = RETRY_BASE.saturating_mul(2u32.saturating_pow(tries - 2)).min(RETRY_MAX);
                tokio::time::sleep(wait / self.time_scale).await;
            }
            self.counts.add(&self.counts.requests, 1);
            let post = self.client.post(&self.config.url).header("content-type", "application/json");
            let answer = post.header("x-hub-signature-256", &signature).body(text.clone()).send().await;
            if answer.is_ok_and(|answer| answer.status().as_u16() == 200) {
                return true;
            }
            self.counts.add(&self.counts.refused, 1);
        }
        false
    }
}

impl Calendar {
    fn put(&mut self, told: Mono, receipt: Receipt) {
        self.planned += 1;
        self.waiting.push(Reverse(Waiting { told, order: self.planned, receipt }));
    }

    /// What is due, as much as a body may hold.
    fn due(&mut self, now: Mono) -> Vec<Receipt> {
        let (mut due, mut bytes) = (Vec::new(), 0);
        while let Some(Reverse(next)) = self.waiting.peek() {
            bytes += next.receipt.bytes();
            if next.told > now || due.len() >= RECEIPTS_MAX || bytes > BODY_MAX_BYTES {
                break;
            }
            due.extend(self.waiting.pop().map(|Reverse(next)| next.receipt));
        }
        due
    }
}

impl PartialEq for Waiting {
    fn eq(&self, other: &Self) -> bool {
        (self.told, self.order) == (other.told, other.order)
    }
}

impl Eq for Waiting {}

impl PartialOrd for Waiting {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Waiting {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.told, self.order).cmp(&(other.told, other.order))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::identity::Phone;
    use crate::sim::webhook::schedule::Status;

    fn receipt(opaque: usize) -> Receipt {
        let phone = Phone::parse("+5511987654321").unwrap();
        let opaque = Some("x".repeat(opaque).into());
        let taken = Taken { number: "1".into(), phone, opaque, draw: [1, 0], held: false };
        Receipt { taken: Rc::new(taken), status: Status::Sent, at_ms: 0 }
    }

    #[test]
    fn a_body_holds_what_is_due_and_no_more_than_it_may() {
        let at = |ms| Mono(Duration::from_millis(ms));
        let mut calendar = Calendar::default();
        for ms in (0..RECEIPTS_MAX as u64 + 500).rev() {
            calendar.put(at(ms), receipt(30));
        }
        assert_eq!(calendar.due(at(99)).len(), 100);
        assert_eq!(calendar.due(at(99)).len(), 0);
        assert_eq!(calendar.due(at(10_000)).len(), RECEIPTS_MAX);
        assert_eq!(calendar.due(at(10_000)).len(), 400);
        (0..RECEIPTS_MAX).for_each(|_| calendar.put(at(0), receipt(512)));
        let first = calendar.due(at(0)).len();
        assert!(first < RECEIPTS_MAX && first > 700, "{first}");
    }
}
