//! Control: hears of every change, tells the shards, watches campaigns to their end, and moves lanes to numbers
//! that have nothing left.
//!
//! One task owns all of this. It decides nothing about single messages; what it does costs the same for ten
//! messages and for ten million, but for one counter hash per lane that it reads at most once a second.

mod budget;
mod division;
mod doubt;
mod facts;
mod failover;
mod far;
mod halt;
mod hours;
mod reload;
mod rounds;
pub(crate) mod stops;
mod suppress;

pub(super) use self::far::Far;
pub(super) use self::reload::Reloader;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::{Notify, watch};

use self::division::Standing;
use super::catalog::{Catalog, Known};
use super::hours::HoursBook;
use super::ownership::{News, Ownership};
use super::stops::Stops;
use crate::clock::{self, Mono};
use crate::config::{Config, NumberConfig};
use crate::domain::campaign::CampaignState;
use crate::domain::ids::{CampaignSeq, LaneId, NumberId};
use crate::domain::record::State;
use crate::http::webhooks::Meaning;
use crate::intake::lanes::Lanes;
use crate::metrics::{Metrics, NumberMetrics};
use crate::policy::classify::ErrorTable;
use crate::policy::route;
use crate::policy::shard::{Blocked, CampaignSetup, Input, LaneSetup, NumberSetup};
use crate::queue::campaigns::{self, CampaignRecord};
use crate::queue::halts::{self, Scope, Why};
use crate::queue::lane::{self, LaneCounters};
use crate::queue::link::Link;
use crate::queue::replay::{Move, Wrote};
use crate::queue::{QueueError, agenda};
use crate::sender::driver::Event;
use crate::sender::report::Report;
use crate::sender::thread::ShardHandle;

/// How often counters are read, boards published and ends noticed, at best.
const ROUND: Duration = Duration::from_secs(1);

/// Time per lane added to a round, so that reading counters never takes more than a small share of Redis.
const ROUND_PER_LANE: Duration = Duration::from_micros(500);

/// How often everything is read again although nobody announced a change.
const REREAD: Duration = Duration::from_secs(60);

/// A lane with fewer messages left is not worth moving.
const MOVE_LEAST: u64 = 64;

/// What control is made of.
pub(super) struct Control {
    pub(super) config: Config,
    /// Which numbers are ours.
    pub(super) ownership: Rc<Ownership>,
    /// Who is not to be written to.
    pub(super) stops: Rc<Stops>,
    /// Says which of them come and go.
    pub(super) news: UnboundedReceiver<News>,
    pub(super) http: String,
    pub(super) link: Link,
    pub(super) shards: Vec<ShardHandle>,
    pub(super) reports: UnboundedReceiver<Report>,
    /// What Meta and people mean; webhooks hear of it when it changes.
    pub(super) meaning: watch::Sender<Meaning>,
    pub(super) metrics: std::sync::Arc<Metrics>,
    /// Told whenever something was announced.
    pub(super) announced: Rc<Notify>,
    /// Told when the first reading of everything is done.
    pub(super) ready: Box<dyn Fn(bool)>,
    /// When campaigns may send.
    pub(super) hours: HoursBook,
    /// Hears SIGHUP.
    pub(super) reloader: Reloader,
    /// Looks how far Redis is.
    pub(super) far: Far,
    pub(super) state: Knowledge,
}

/// What control knows.
#[derive(Default)]
pub(super) struct Knowledge {
    catalog: Catalog,
    campaigns: BTreeMap<CampaignSeq, Known>,
    told: HashMap<CampaignSeq, CampaignSetup>,
    /// `grown` and the pool of each campaign when its lanes were last read.
    scanned: HashMap<CampaignSeq, (u64, Vec<NumberId>)>,
    lanes: BTreeMap<LaneId, LaneInfo>,
    halts: BTreeMap<Scope, Why>,
    /// Since when numbers are stopped by themselves, as far as this process knows.
    stopped_since: HashMap<NumberId, Mono>,
    /// Meta's fields of them.
    facts: facts::Facts,
    /// Those that have been so for long: their lanes move to others.
    failing: BTreeSet<NumberId>,
    /// A shard stopped something by itself, so what it was told last is no longer what it does.
    retell: bool,
    reached: Vec<u64>,
    /// Numbers that are ours and not on their way out.
    owned: BTreeSet<NumberId>,
    /// The shard of every number that ever was ours: its pace is that shard's memory.
    homes: HashMap<NumberId, usize>,
    dry: BTreeSet<NumberId>,
    /// Lanes on the agenda of a dry number that have nothing left, until their campaign grows.
    spent: BTreeSet<LaneId>,
    /// When a lane was last given to a dry number of another process.
    gave: HashMap<NumberId, Mono>,
    /// Campaigns of which all that is left waits for hours, and when they are counted again.
    quiet: HashMap<CampaignSeq, Mono>,
    doubts: doubt::DoubtBook,
    budgets: budget::BudgetBook,
    moving: HashMap<LaneId, NumberId>,
    begun: HashMap<NumberId, u64>,
    meters: HashMap<NumberId, NumberMetrics>,
    /// Whether we watched campaigns to their end in the last round.
    leads: bool,
    oldest_due: Duration,
    /// What the board said last, and when.
    said: Option<(super::board::Board, Mono)>,
    viewed_at: Mono,
    reread_at: Mono,
    drained: usize,
}

struct LaneInfo {
    number: NumberId,
    left: u64,
    untouched: bool,
}

impl Control {
    /// Runs until it is dropped.
    pub(super) async fn run(&mut self) -> Result<(), QueueError> {
        self.state.reached = vec![0; self.shards.len()];
        self.tell_numbers();
        self.look_at_clock().await?;
        self.divided().await?;
        self.reload().await?;
        (self.ready)(true);
        let mut next_round = clock::mono();
        loop {
            let announced = self.announced.clone();
            let next_look = self.or_hours(next_round);
            tokio::select! {
                report = self.reports.recv() => {
                    let Some(report) = report else { return Ok(()) };
                    self.on_report(report).await?;
                }
                Some(news) = self.news.recv() => self.on_news(news).await?,
                () = announced.notified() => self.reload().await?,
                () = self.reloader.asked() => self.read_again().await?,
                () = tokio::time::sleep_until(next_look.to_tokio()) => {
                    self.round().await?;
                    let lanes = u32::try_from(self.state.lanes.len()).unwrap_or(u32::MAX);
                    next_round = clock::mono().after(ROUND.max(ROUND_PER_LANE * lanes));
                }
            }
        }
    }

    /// Lets everything in flight finish; returns when it has.
    pub(super) async fn drain(&mut self) {
        (self.ready)(false);
        if let Err(error) = self.hand_over_all().await {
            tracing::error!(%error, "numbers are not handed over one by one; they follow when the lease ends");
        }
        self.state.drained = 0;
        self.broadcast(|| Input::Drain);
        while self.state.drained < self.shards.len() {
            match self.reports.recv().await {
                Some(Report::Drained(_)) => self.state.drained += 1,
                Some(_) => {}
                None => return,
            }
        }
    }

    /// Ends the threads.
    pub(super) fn stop(self) {
        for shard in &self.shards {
            let _gone = shard.events.send(Event::Stop);
        }
        self.shards.into_iter().for_each(ShardHandle::join);
    }

    fn tell(&self, shard: usize, event: Event) {
        if let Some(shard) = self.shards.get(shard) {
            let _gone = shard.events.send(event);
        }
    }

    fn broadcast(&self, input: impl Fn() -> Input<crate::sender::orders::Payload>) {
        for shard in 0..self.shards.len() {
            self.tell(shard, Event::Input(input()));
        }
    }

    fn shard_of(&self, number: &NumberId) -> Option<usize> {
        self.state.homes.get(number).copied().filter(|_| self.state.owned.contains(number))
    }

    fn tell_numbers(&self) {
        self.config.numbers.iter().for_each(|number| self.tell_number(number));
    }

    /// Tells its shard of a number, if it is ours.
    fn tell_number(&self, number: &NumberConfig) {
        let account = self.config.accounts.iter().find(|account| account.id == number.account);
        let (Some(shard), Some(account)) = (self.shard_of(&number.id), account) else {
            return;
        };
        let setup = NumberSetup {
            id: number.id.clone(),
            account: number.account.clone(),
            portfolio: account.portfolio.clone(),
            rate_per_s: self.rate_of(number),
            stopped: self.stopped(number),
        };
        self.tell(shard, Event::Number(number.id.clone(), account.token.clone()));
        self.tell(shard, Event::Input(Input::Number(setup)));
    }

    fn stopped(&self, number: &NumberConfig) -> Option<Blocked> {
        let scopes = [Scope::Number(number.id.clone()), Scope::Account(number.account.clone()), Scope::App];
        let why = scopes.iter().find_map(|scope| self.state.halts.get(scope))?;
        Some(if *why == Why::Operator { Blocked::Paused } else { Blocked::Halted })
    }

    /// Reads what changed, tells the shards, and asks them to say when they have acted on it.
    async fn reload(&mut self) -> Result<(), QueueError> {
        let now = clock::mono();
        let all = now >= self.state.reread_at;
        if all {
            self.state.reread_at = now.after(REREAD);
            let quiet = &self.state.quiet;
            self.state.scanned.retain(|seq, _| quiet.get(seq).is_some_and(|until| now < *until));
        }
        let stops = self.stops.clone();
        let (version, halts, records) = self
            .link
            .call(async |redis| {
                let version = campaigns::version(redis).await?;
                let (mut for_stops, mut for_halts) = (redis.clone(), redis.clone());
                let records = async {
                    let all = campaigns::list(redis).await?;
                    let seqs: Vec<CampaignSeq> = all.into_iter().map(|(seq, _)| seq).collect();
                    campaigns::read_all(redis, &seqs).await
                };
                // What was stopped before the announcement is in force when it is acknowledged.
                let stopped = stops.advance(&mut for_stops);
                let ((), halts, records) = tokio::try_join!(stopped, halts::read(&mut for_halts), records)?;
                Ok((version, halts, records))
            })
            .await?;
        if halts != self.state.halts || self.state.retell {
            self.state.halts = halts;
            self.tell_numbers();
        }
        self.read_budgets().await?;
        for record in records {
            self.on_record(record).await?;
        }
        self.state.retell = false;
        self.broadcast(|| Input::Barrier(version));
        Ok(())
    }

    async fn on_record(&mut self, record: CampaignRecord) -> Result<(), QueueError> {
        let (seq, state) = (record.seq, record.state);
        self.state.doubts.know(&record, self.config.time_scale);
        let over = matches!(state, CampaignState::Done | CampaignState::Cancelled | CampaignState::Draft);
        if over {
            if self.state.told.remove(&seq).is_some() {
                self.broadcast(|| Input::Forget(seq));
                self.state.lanes.retain(|lane, _| lane.campaign != seq);
                self.state.spent.retain(|lane| lane.campaign != seq);
                self.state.scanned.remove(&seq);
                self.state.quiet.remove(&seq);
                self.hours.forget(seq);
                if let Some(known) = self.state.campaigns.remove(&seq) {
                    self.metrics.drop_campaign(&known.record.id);
                    self.clear_agendas(&known).await?;
                }
                self.state.catalog.forget(seq);
            }
            return Ok(());
        }
        let Some(known) = self.state.catalog.know(record) else {
            return Ok(());
        };
        let configured = self.config.numbers.iter().map(|number| (&number.id, number.account.as_str()));
        let stamp = (known.record.grown, self.healthy(known.pool(configured)));
        self.state.campaigns.insert(seq, known);
        self.tell_campaign(seq);
        if state == CampaignState::Running && self.state.scanned.get(&seq) != Some(&stamp) {
            self.state.quiet.remove(&seq);
            self.scan(seq).await?;
            self.state.scanned.insert(seq, stamp);
        }
        Ok(())
    }

    /// Tells the shards how a campaign is to be sent, if that is news.
    fn tell_campaign(&mut self, seq: CampaignSeq) {
        let Some(setup) = self.setup_of(seq) else {
            return;
        };
        let Some(known) = self.state.campaigns.get(&seq) else {
            return;
        };
        let news = self.state.told.get(&seq) != Some(&setup) || self.state.retell;
        if news && (setup.running || self.state.told.contains_key(&seq)) {
            for shard in 0..self.shards.len() {
                self.tell(shard, Event::Body(seq, known.body.clone()));
                self.tell(shard, Event::Input(Input::Campaign(setup.clone())));
            }
            self.state.told.insert(seq, setup);
        }
    }

    /// Takes the lanes of a campaign that is over off every agenda, so that agendas do not grow for ever. A load that
    /// opens the campaign again puts them back.
    async fn clear_agendas(&self, known: &Known) -> Result<(), QueueError> {
        let seq = known.record.seq;
        let lanes: Vec<LaneId> =
            (0..known.record.lanes()).map(|lane| LaneId { campaign: seq, lane }).collect();
        for number in &self.config.numbers {
            self.link.call(async |redis| agenda::remove(redis, &number.id, &lanes).await).await?;
        }
        Ok(())
    }

    /// Reads every lane of a campaign, gives those whose number is gone another, and tells the shards.
    async fn scan(&mut self, seq: CampaignSeq) -> Result<(), QueueError> {
        self.state.spent.retain(|lane| lane.campaign != seq);
        let Some(known) = self.state.campaigns.get(&seq) else {
            return Ok(());
        };
        let all: Vec<LaneId> = (0..known.record.lanes()).map(|lane| LaneId { campaign: seq, lane }).collect();
        let configured = self.config.numbers.iter().map(|number| (&number.id, number.account.as_str()));
        let pool = self.healthy(known.pool(configured));
        let priority = known.campaign.priority;
        let weighed: Vec<(NumberId, f64)> = pool.iter().map(|id| (id.clone(), self.weight(id))).collect();
        let placed = Lanes::frozen(known.record.expected, &known.record.slices)
            .map(|lanes| route::assign(&lanes.loads(), &weighed))
            .unwrap_or_default();
        let counters = self.link.call(async |redis| lane::counters(redis, &all).await).await?;
        self.be_newer_than(&counters).await?;
        for (id, counters) in all.into_iter().zip(counters) {
            // A lane on its way is given to its new number when it is at rest.
            if self.state.moving.contains_key(&id) {
                continue;
            }
            let (Some(stored), false) = (counters.number.clone(), counters.settled()) else {
                continue;
            };
            let number = match self.standing_of(&stored, &pool) {
                Standing::Ours => stored,
                Standing::Elsewhere => continue,
                Standing::Nowhere => {
                    let Some(other) = placed.get(id.lane as usize).and_then(|at| pool.get(*at)).cloned()
                    else {
                        continue;
                    };
                    tracing::info!(lane = %id, from = %stored, to = %other, "a lane's number left the pool");
                    if self.take_back(id, &other) {
                        continue;
                    }
                    self.reassign(id, Move { from: stored, to: other.clone(), priority }).await?;
                    other
                }
            };
            self.give(id, &number, &counters);
        }
        Ok(())
    }

    /// Asks the shard that has a lane to let go of it, so that it can move to `other` when it is at rest. False when
    /// nobody has it.
    fn take_back(&mut self, id: LaneId, other: &NumberId) -> bool {
        let Some(info) = self.state.lanes.get(&id) else {
            return false;
        };
        let Some(shard) = self.shard_of(&info.number) else {
            return false;
        };
        if self.state.moving.insert(id, other.clone()).is_none() {
            self.tell(shard, Event::Input(Input::DropLane(id)));
        }
        true
    }

    fn table(&self) -> std::sync::Arc<ErrorTable> {
        self.meaning.borrow().table.clone()
    }

    /// Gives a lane that is at rest another number.
    async fn reassign(&self, id: LaneId, order: Move) -> Result<(), QueueError> {
        let Move { from, to, priority } = &order;
        self.link.call(async |redis| agenda::reassign(redis, id, (from, to), *priority).await).await?;
        self.link.wrote(id, || Wrote::Moved(order.clone()));
        Ok(())
    }

    fn give(&mut self, id: LaneId, number: &NumberId, counters: &LaneCounters) {
        if self.state.moving.contains_key(&id) {
            return;
        }
        let Some(shard) = self.shard_of(number) else {
            return;
        };
        let left = counters.of(State::Queued);
        let info = LaneInfo { number: number.clone(), left, untouched: counters.next == 0 };
        self.state.lanes.insert(id, info);
        self.state.dry.remove(number);
        self.tell(shard, Event::Input(Input::Lane(LaneSetup { id, number: number.clone() })));
    }

    fn weight(&self, number: &NumberId) -> f64 {
        let of = |one: &NumberConfig| one.rate_per_s.unwrap_or(1000.0);
        self.config.numbers.iter().find(|one| one.id == *number).map_or(1.0, of)
    }

    async fn on_report(&mut self, report: Report) -> Result<(), QueueError> {
        match report {
            Report::Reached(shard, version) => {
                if let Some(reached) = self.state.reached.get_mut(shard) {
                    *reached = version;
                }
                let all = self.state.reached.iter().copied().min().unwrap_or(0);
                self.ownership.acknowledge(all);
            }
            Report::Halt { verdict, number, account, template } => {
                self.on_halt(&verdict, number, account, template).await?;
            }
            Report::Suppress { campaign, phone, kind } => self.on_suppress(campaign, &phone, kind).await?,
            Report::Throttle(from, throttled) => {
                for shard in (0..self.shards.len()).filter(|shard| *shard != from) {
                    self.tell(shard, Event::Input(Input::Throttled(throttled.clone())));
                }
            }
            Report::Dry(number) => {
                self.state.dry.insert(number);
            }
            Report::Dropped(lane) => self.on_dropped(lane).await?,
            Report::NumberDropped(number, next) => {
                self.forget_number(&number);
                self.ownership.dropped(number, next);
            }
            Report::Drained(_) => self.state.drained += 1,
        }
        Ok(())
    }

    /// A lane is at rest and may move to the number it was taken for.
    async fn on_dropped(&mut self, id: LaneId) -> Result<(), QueueError> {
        let Some(to) = self.state.moving.remove(&id) else {
            return Ok(());
        };
        let (Some(info), Some(known)) = (self.state.lanes.get(&id), self.state.campaigns.get(&id.campaign))
        else {
            return Ok(());
        };
        let (from, priority) = (info.number.clone(), known.campaign.priority);
        if from != to {
            self.reassign(id, Move { from, to: to.clone(), priority }).await?;
        }
        self.state.lanes.remove(&id);
        let counters = self.link.call(async |redis| lane::counters(redis, &[id]).await).await?;
        if let Some(counters) = counters.first() {
            self.give(id, &to, counters);
        }
        Ok(())
    }
}
