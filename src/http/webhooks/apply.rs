//! A plan carried out: one script per lane, then the stops; and what came of it, counted.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use futures_util::StreamExt as _;
use futures_util::stream;

use super::asked::{self, Asked, Latest};
use super::intake::Delivery;
use super::known::Known;
use super::notes::Noted;
use super::plan::{Plan, Rules, failed_campaigns};
use super::times::Times;
use super::{News, WebhooksStart};
use crate::clock::{self, Mono};
use crate::domain::campaign::CampaignState;
use crate::domain::ids::{CampaignSeq, LaneId, NumberId};
use crate::domain::receipt::{Heard, Receipt, ReceiptKind};
use crate::metrics::{Ignored, WebhookMetrics};
use crate::policy::facts::PeopleLimit;
use crate::queue::halts::{self, Scope, Why};
use crate::queue::link::{Link, LinkNews};
use crate::queue::replay::Wrote;
use crate::queue::stops::log;
use crate::queue::{QueueError, budget, campaigns, receipt};

/// Lanes written at once.
const LANES_AT_ONCE: usize = 64;

/// How often it is noted when receipts were last heard.
const NOTE_EVERY: std::time::Duration = std::time::Duration::from_secs(1);

/// Writes what webhooks say. Everything here may be done twice.
pub(super) struct Writer {
    start: WebhooksStart,
    link: Link,
    known: Known,
    numbers: HashMap<NumberId, String>,
    metrics: WebhookMetrics,
    times: RefCell<Times>,
    /// When receipts of our numbers were last heard, and when that was last noted.
    heard: RefCell<BTreeMap<NumberId, u64>>,
    noted: RefCell<Option<Mono>>,
    /// When the latest message of each of our numbers was sent, of those whose receipts were heard.
    sent: RefCell<BTreeMap<NumberId, u64>>,
    /// Campaigns with a message that waits anew.
    waiting: RefCell<BTreeSet<CampaignSeq>>,
    /// When people last said what they want to hear.
    latest: RefCell<Latest>,
}

impl Writer {
    pub(super) fn new(start: WebhooksStart) -> Self {
        let errors = start.metrics.shard().redis_errors;
        let tell = move |news| {
            if matches!(news, LinkNews::Down(_)) {
                errors.increment(1);
            }
        };
        let link = Link::new(start.redis.clone(), start.timeouts, tell);
        let numbers =
            start.numbers.iter().map(|number| (number.id.clone(), number.account.clone())).collect();
        let metrics = start.metrics.webhooks();
        Self {
            start,
            link,
            known: Known::default(),
            numbers,
            metrics,
            times: RefCell::default(),
            heard: RefCell::default(),
            noted: RefCell::default(),
            sent: RefCell::default(),
            waiting: RefCell::default(),
            latest: RefCell::default(),
        }
    }

    /// Writes everything that some bodies say; on an error some of it may have been written.
    pub(super) async fn write(&self, deliveries: &mut [Delivery]) -> Result<(), QueueError> {
        let events = deliveries.iter().flat_map(|delivery| &delivery.events);
        let seqs = failed_campaigns(events, &self.start.installation);
        let known = self.link.call(async |redis| self.known.read(redis, &seqs).await).await?;
        let meaning = self.start.meaning.borrow().clone();
        let rules = Rules {
            installation: &self.start.installation,
            table: &meaning.table,
            numbers: &self.numbers,
            known: &known,
            time_scale: self.start.time_scale,
            words: &meaning.words,
            list: &self.start.stops,
        };
        let mut plan = Plan::default();
        for delivery in deliveries {
            let events = std::mem::take(&mut delivery.events);
            plan.add(events, &delivery.accounts, delivery.heard_at_ms, &rules);
        }
        for warning in &plan.warnings {
            tracing::warn!(event = warning, "meta says");
        }
        if plan.strange > 0 {
            tracing::warn!(
                events = plan.strange,
                "signed events of accounts that are not in the configuration"
            );
        }
        let said = plan.said.iter().map(|(said, heard_at_ms)| said.note(*heard_at_ms));
        let mut notes: Vec<Noted> = said.chain(plan.noted).collect();
        // First what forbids sending: the rest can wait some milliseconds more.
        for (scope, reason) in &plan.stops {
            self.stop(scope, *reason).await?;
        }
        for (scope, reason) in &plan.goes_on {
            self.go_on(scope, *reason).await?;
        }
        let asked = self.put_into_list(plan.asked).await?;
        for (account, people, at_ms) in &plan.people {
            self.note_people(account, *people, *at_ms).await?;
        }
        if plan.numbers_changed {
            let now_ms = clock::wall().0;
            self.link.call(async |redis| receipt::note_numbers_changed(redis, now_ms).await).await?;
        }
        let most = |lane: &LaneId| known.get(&lane.campaign).map_or(0, |now| now.campaign.retry.max_attempts);
        let lanes = plan.lanes.into_iter().map(|(lane, all)| (lane, most(&lane), all));
        let mut written = stream::iter(lanes.map(|(lane, most, all)| self.lane(lane, most, all)))
            .buffer_unordered(LANES_AT_ONCE);
        let (mut heard, mut trouble) = (Vec::new(), None);
        while let Some(lane) = written.next().await {
            match lane {
                Ok(lane) => heard.extend(lane),
                Err(error) => trouble = Some(error),
            }
        }
        plan.ignored.iter().for_each(|reason| self.metrics.ignored(*reason));
        self.account(&heard);
        self.reopen(&heard).await?;
        self.note().await?;
        // The one place where the journal hears of it: after Redis has it.
        notes.extend(asked.iter().map(|one| one.note(&self.start.stops)));
        (self.start.sink)(News { receipts: heard, notes });
        trouble.map_or(Ok(()), Err)
    }

    /// Notes where webhooks are taken, for `webhooks check`.
    pub(super) async fn note_listen(&self, address: &str) {
        let noted = self.link.call(async |redis| receipt::note_listen(redis, address).await).await;
        if let Err(error) = noted {
            tracing::warn!(%error, "the address of the webhooks is not noted");
        }
    }

    /// Has the owners of campaigns look again at lanes in which a message waits anew.
    pub(super) async fn look_again(&self) {
        let waiting = std::mem::take(&mut *self.waiting.borrow_mut());
        for seq in waiting {
            let told = self.link.call(async |redis| receipt::look_again(redis, seq).await).await;
            if let Err(error) = told {
                tracing::error!(campaign = %seq, %error, "nobody was told that a message waits anew");
            }
        }
    }

    async fn lane(
        &self,
        lane: LaneId,
        max_attempts: u8,
        mut all: Vec<(Receipt, Heard)>,
    ) -> Result<Vec<Heard>, QueueError> {
        // Sorted here as it would be there, so that outcomes and receipts stand side by side.
        all.sort_by_key(|(one, _)| one.index);
        let (mut receipts, mut heard): (Vec<Receipt>, Vec<Heard>) = all.into_iter().unzip();
        let outcomes = self
            .link
            .call(async |redis| receipt::receive(redis, lane, &mut receipts, max_attempts).await)
            .await
            .inspect_err(|error| tracing::error!(%lane, %error, "receipts of a lane are refused"))?;
        // What is of no message here will be of none again.
        let placed = receipts.iter().zip(&outcomes).filter(|(_, outcome)| !outcome.nowhere);
        let receipts: Vec<Receipt> = placed.map(|(one, _)| *one).collect();
        for (one, outcome) in heard.iter_mut().zip(outcomes) {
            one.outcome = outcome;
        }
        self.link.wrote(lane, || Wrote::Received(receipts, max_attempts));
        Ok(heard)
    }

    async fn go_on(&self, scope: &Scope, reason: u8) -> Result<(), QueueError> {
        let why = Why::Halted(reason);
        let stopped = self
            .link
            .call(async |redis| {
                let stopped = halts::go_on(redis, scope, &why).await?;
                if stopped {
                    campaigns::announce(redis).await?;
                }
                Ok(stopped)
            })
            .await?;
        if stopped {
            tracing::info!(%scope, "goes on: meta approved it again");
        }
        Ok(())
    }

    async fn stop(&self, scope: &Scope, reason: u8) -> Result<(), QueueError> {
        let why = Why::Halted(reason);
        let new = self
            .link
            .call(async |redis| {
                let new = halts::stop(redis, scope, &why).await?;
                campaigns::announce(redis).await?;
                Ok(new)
            })
            .await?;
        if new {
            let table = self.start.meaning.borrow().table.clone();
            let row = table.reason(reason);
            let (meaning, action) =
                row.map(|row| (row.meaning.as_str(), row.action.as_str())).unwrap_or_default();
            tracing::error!(%scope, meaning, action, "halted by a webhook until an operator resumes it");
        }
        Ok(())
    }

    /// Has the stop list say what people asked for. What it says already is not written again; returns what was.
    async fn put_into_list(&self, asked: Vec<Asked>) -> Result<Vec<Asked>, QueueError> {
        let asked = self.latest.borrow_mut().newest(asked);
        let (new, batches) = asked::orders(asked, &self.start.stops);
        for batch in &batches {
            self.link.call(async |redis| log::append(redis, batch, clock::wall().0).await).await?;
        }
        for one in new.iter().filter(|one| one.stop) {
            self.start.metrics.stop_asked(one.kind, one.by);
        }
        Ok(new)
    }

    /// Notes how many people the portfolio of an account may write to, and tells everybody.
    async fn note_people(&self, account: &str, people: PeopleLimit, at_ms: u64) -> Result<(), QueueError> {
        let known = self.start.accounts.iter().find(|known| known.id == account);
        let Some(portfolio) = known.and_then(|known| known.portfolio.clone()) else {
            tracing::warn!(
                account,
                ?people,
                "meta limits people, and the account names no portfolio to count them by"
            );
            return Ok(());
        };
        let news = self
            .link
            .call(async |redis| {
                let news = budget::note_said(redis, &portfolio, people.people(), at_ms).await?;
                campaigns::announce(redis).await?;
                Ok(news)
            })
            .await?;
        if news {
            tracing::info!(%portfolio, ?people, "meta says how many people a portfolio may write to a day");
        }
        Ok(())
    }

    /// Counts what was heard.
    fn account(&self, heard: &[Heard]) {
        let mut times = self.times.borrow_mut();
        let (mut last, mut sent) = (self.heard.borrow_mut(), self.sent.borrow_mut());
        for one in heard {
            let Heard { message, generation, kind, at_ms, outcome, .. } = one;
            if let Some(number) = one.number.as_ref().filter(|number| self.numbers.contains_key(*number)) {
                let known = last.entry(number.clone()).or_default();
                *known = one.heard_at_ms.max(*known);
                // Never later than now: whose clock is ahead must not speak for what has not been sent.
                let sent_ms = at_ms.filter(|_| *kind == ReceiptKind::Sent).map(|at| at.min(one.heard_at_ms));
                if let Some(sent_ms) = sent_ms {
                    let latest = sent.entry(number.clone()).or_default();
                    *latest = sent_ms.max(*latest);
                }
            }
            if outcome.nowhere {
                self.metrics.ignored(Ignored::Nowhere);
                continue;
            }
            if outcome.news {
                self.metrics.receipt(*kind);
            } else {
                self.metrics.ignored(Ignored::Repeated);
            }
            if outcome.twice {
                self.metrics.duplicates.increment(1);
                tracing::error!(%message, "receipts prove that the person got a message twice");
            }
            if outcome.moved && *kind != ReceiptKind::Failed {
                self.metrics.lifted(outcome.before);
            }
            let Some(at_ms) = *at_ms else { continue };
            match kind {
                ReceiptKind::Sent => times.sent(*message, *generation, at_ms),
                ReceiptKind::Delivered | ReceiptKind::Read if outcome.news => {
                    let meter = if *kind == ReceiptKind::Read {
                        &self.metrics.to_read
                    } else {
                        &self.metrics.to_delivered
                    };
                    let took = times.since_sent(*message, *generation, at_ms);
                    took.into_iter().for_each(|took| meter.record(took.as_secs_f64()));
                }
                _ => {}
            }
        }
    }

    /// A message that waits anew keeps its campaign from being done; one that was done meanwhile goes on. Control looks
    /// at the counters after it has called a campaign done, we look at the state after we have written: one sees the other.
    async fn reopen(&self, heard: &[Heard]) -> Result<(), QueueError> {
        let again = |one: &&Heard| one.again && one.outcome.moved;
        let seqs: BTreeSet<CampaignSeq> =
            heard.iter().filter(again).map(|one| one.message.lane.campaign).collect();
        if seqs.is_empty() {
            return Ok(());
        }
        let known = self.link.call(async |redis| self.known.read(redis, &seqs).await).await?;
        for (seq, now) in known {
            if now.state == CampaignState::Done {
                self.link.call(async |redis| campaigns::reopen(redis, seq, clock::wall().0).await).await?;
            }
        }
        self.waiting.borrow_mut().extend(seqs);
        Ok(())
    }

    /// Notes when receipts were last heard, now and then.
    async fn note(&self) -> Result<(), QueueError> {
        let now = clock::mono();
        if self.noted.borrow().is_some_and(|noted| now.since(noted) < NOTE_EVERY) {
            return Ok(());
        }
        *self.noted.borrow_mut() = Some(now);
        let list = |all: &RefCell<BTreeMap<NumberId, u64>>| -> Vec<(NumberId, u64)> {
            all.borrow().iter().map(|(number, at_ms)| (number.clone(), *at_ms)).collect()
        };
        let (heard, sent) = (list(&self.heard), list(&self.sent));
        for (number, at_ms) in &heard {
            #[allow(clippy::cast_precision_loss, reason = "wall milliseconds stay far below 2^53")]
            self.start.metrics.last_receipt(number).set(*at_ms as f64 / 1_000.0);
        }
        let at_ms = clock::wall().0;
        self.link.call(async |redis| receipt::note_heard(redis, &heard, &sent, at_ms).await).await
    }
}
