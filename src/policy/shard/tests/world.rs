//! A driver in virtual time: it carries out the machine's orders on lanes made of the same record functions, and
//! checks at every step what must always hold.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use crate::clock::{Mono, WallMs};
use crate::config::BreakerConfig;
use crate::domain::campaign::RetryPolicy;
use crate::domain::contact::CapChoice;
use crate::domain::ids::{CampaignSeq, LaneId, NumberId};
use crate::domain::record::{Record, State};
use crate::policy::adapt::AdaptConfig;
use crate::policy::classify::{Kind, Scope, Verdict};
use crate::policy::pace::Exactness;
use crate::policy::shard::{
    self, Blocked, CampaignSetup, FlightId, Input, LaneHours, LaneSetup, LaneView, Message, Now, NumberSetup,
    Output, Shard, ShardConfig,
};

/// Wall time at the start of every run.
pub(super) const EPOCH_MS: u64 = 1_800_000_000_000;

/// A lane as Redis keeps it.
#[derive(Debug, Default)]
pub(super) struct Stored {
    pub(super) records: Vec<Record>,
    pub(super) loaded_ms: u64,
    pub(super) next: u32,
    pub(super) retry: BTreeMap<u32, u64>,
    last_request: u64,
}

/// A request that was begun.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sent {
    pub(super) at: Mono,
    pub(super) number: NumberId,
    pub(super) lane: LaneId,
    pub(super) index: u32,
    pub(super) generation: u8,
    pub(super) attempt: u8,
}

/// Asked for each message that is claimed: its lane and index.
pub(super) type Admit = dyn FnMut(Mono, LaneId, u32) -> (Option<shard::Held>, Option<Mono>);

/// What is under way between the machine and the world.
#[derive(Debug)]
enum Pending {
    Carry(Output<()>),
    Answer(Input<()>),
}

/// Where a claimed message is, as seen from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Held {
    Claimed,
    Flying,
    /// Replied; whether it may be given back.
    Back(bool),
}

pub(super) struct World {
    pub(super) shard: Shard<()>,
    pub(super) config: ShardConfig,
    pub(super) now: Mono,
    pub(super) lanes: BTreeMap<LaneId, Stored>,
    pub(super) sent: Vec<Sent>,
    /// Every order but sends, with its time.
    pub(super) orders: Vec<(Mono, Output<()>)>,
    /// What Meta answers.
    pub(super) reply: Box<dyn FnMut(&Sent) -> Verdict>,
    pub(super) latency: Duration,
    /// One way to Redis, and at most so much longer.
    pub(super) redis: (Duration, Duration),
    /// Priorities that were ever used.
    ranks: BTreeSet<u8>,
    pub(super) line_up: bool,
    /// Requests that a connection takes at once.
    pub(super) breadth: usize,
    pub(super) probes_answered: bool,
    /// Messages that are in the stop list, and why.
    pub(super) stop_list: HashMap<(LaneId, u32), u8>,
    /// What shared limits say of a message that was claimed: whether they hold it, and until when they do not.
    pub(super) admit: Box<Admit>,
    /// Whether the journal takes writes.
    pub(super) journal_up: bool,
    pending: BTreeMap<(Mono, u64), Pending>,
    held: HashMap<(LaneId, u32, u8), Held>,
    flights: HashMap<FlightId, (LaneId, u32, u8)>,
    serial: u64,
    open: usize,
    sleep: Option<Mono>,
    rng: SmallRng,
}

pub(super) fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

pub(super) fn config() -> ShardConfig {
    ShardConfig {
        exactness: Exactness { tolerance: ms(5), arrival_slack: ms(10) },
        adapt: AdaptConfig { decrease: 0.7, increase_per_s: 0.01, floor: 0.05 },
        guaranteed_share: 0.0,
        claim_ahead: ms(50),
        max_in_flight: 64,
        max_connections: 128,
        max_unsettled: 10_000,
        settle_delay: ms(20),
        breaker: BreakerConfig { failures: 3, base: ms(1000), max: ms(60_000) },
        throttle_base: ms(250),
        throttle_max: ms(60_000),
        pair_wait: (ms(1000), ms(3_600_000)),
    }
}

pub(super) fn verdict(kind: Kind, scope: Scope, not_own: bool) -> Verdict {
    let reason = if matches!(kind, Kind::Accepted) { 0 } else { 77 };
    Verdict { kind, scope, reason, code: None, not_own, slows: false, attempts: None, wait: None }
}

pub(super) fn accepted() -> Verdict {
    verdict(Kind::Accepted, Scope::Person, false)
}

pub(super) fn lane(campaign: u32, lane: u32) -> LaneId {
    LaneId { campaign: CampaignSeq(campaign), lane }
}

pub(super) fn number(name: &str, rate_per_s: Option<f64>) -> NumberSetup {
    let account = "waba".to_owned();
    NumberSetup { id: NumberId::from(name), account, portfolio: None, rate_per_s, stopped: None }
}

pub(super) fn campaign(seq: u32) -> CampaignSetup {
    CampaignSetup {
        seq: CampaignSeq(seq),
        rank: 2,
        running: true,
        template: format!("waba/template{seq}"),
        template_stopped: false,
        validity: Duration::from_secs(86_400),
        valid_until: None,
        hours: LaneHours::default(),
        retry: RetryPolicy { max_attempts: 3, base: ms(2000), max: ms(60_000) },
        open: true,
        first: None,
        pace_share_per_mille: None,
        weight: 1,
        cap: CapChoice::Defer,
    }
}

impl World {
    pub(super) fn new(config: ShardConfig) -> Self {
        Self {
            shard: Shard::new(config.clone(), 7),
            config,
            now: Mono::default(),
            lanes: BTreeMap::new(),
            sent: Vec::new(),
            orders: Vec::new(),
            reply: Box::new(|_| accepted()),
            latency: ms(30),
            redis: (ms(1), ms(0)),
            ranks: BTreeSet::new(),
            line_up: true,
            probes_answered: true,
            journal_up: true,
            admit: Box::new(|_, _, _| (None, None)),
            stop_list: HashMap::new(),
            pending: BTreeMap::new(),
            held: HashMap::new(),
            flights: HashMap::new(),
            serial: 0,
            open: 0,
            breadth: 1,
            sleep: None,
            rng: SmallRng::seed_from_u64(11),
        }
    }

    pub(super) fn wall(&self) -> WallMs {
        WallMs(EPOCH_MS + u64::try_from(self.now.0.as_millis()).unwrap())
    }

    /// Gives the machine one input, and carries out what it orders.
    pub(super) fn input(&mut self, input: Input<()>) {
        if let Input::Replied(flight, verdict, reusable) = &input {
            let message = self.flights.remove(flight).expect("a reply belongs to a flight");
            let back = matches!(verdict.kind, Kind::Throttled | Kind::Transient | Kind::Halt);
            self.held.insert(message, Held::Back(back));
            self.open -= usize::from(!reusable);
        }
        let now = Now { mono: self.now, wall: self.wall() };
        self.shard.handle(now, input);
        loop {
            match self.shard.poll() {
                Output::Sleep(until) => {
                    self.sleep = until;
                    break;
                }
                Output::Send { flight, number, lane, message } => self.send(flight, number, lane, &message),
                other => self.order(other),
            }
        }
        self.check();
    }

    pub(super) fn number(&mut self, setup: NumberSetup) {
        self.input(Input::Number(setup));
    }

    pub(super) fn campaign(&mut self, setup: CampaignSetup) {
        self.ranks.insert(setup.rank);
        self.input(Input::Campaign(setup));
    }

    /// Loads messages into a lane and tells the machine.
    pub(super) fn load(&mut self, id: LaneId, number: &str, count: usize) {
        let loaded_ms = self.wall().0;
        let stored = self.lanes.entry(id).or_default();
        stored.loaded_ms = loaded_ms;
        stored.records.resize(stored.records.len() + count, Record::FRESH);
        self.tell_lane(id, number);
    }

    pub(super) fn tell_lane(&mut self, id: LaneId, number: &str) {
        self.input(Input::Lane(LaneSetup { id, number: NumberId::from(number) }));
    }

    /// Lets time pass.
    pub(super) fn run(&mut self, period: Duration) {
        let end = self.now.after(period);
        self.run_while(end, |_| true);
        self.now = end;
    }

    /// Lets time pass until something is so; panics when it takes longer than `limit`.
    pub(super) fn run_until(&mut self, limit: Duration, done: impl Fn(&Self) -> bool) {
        let end = self.now.after(limit);
        self.run_while(end, |world| !done(world));
        assert!(done(self), "it did not happen within {limit:?}: {:?}", self.states());
    }

    fn run_while(&mut self, end: Mono, more: impl Fn(&Self) -> bool) {
        let mut idle = 0;
        while more(self) {
            let event = self.pending.keys().next().map(|(at, _)| *at);
            let Some(next) = [event, self.sleep].into_iter().flatten().min().filter(|at| *at <= end) else {
                return;
            };
            idle = if next > self.now { 0 } else { idle + 1 };
            assert!(idle < 100_000, "the machine goes round without time passing");
            self.now = self.now.max(next);
            match self
                .pending
                .first_entry()
                .filter(|entry| entry.key().0 <= self.now)
                .map(|entry| entry.remove())
            {
                Some(Pending::Answer(input)) => {
                    let made = matches!(input, Input::Connected);
                    self.input(input);
                    if made && self.breadth > 1 {
                        let more = (self.breadth - 1).min(self.shard.room());
                        self.open += more;
                        self.input(Input::Widened(more));
                    }
                }
                Some(Pending::Carry(order)) => self.carry(order),
                None => self.input(Input::Time),
            }
        }
    }

    fn later(&mut self, wait: Duration, pending: Pending) {
        self.serial += 1;
        self.pending.insert((self.now.after(wait), self.serial), pending);
    }

    fn way_to_redis(&mut self) -> Duration {
        let (least, jitter) = self.redis;
        least + jitter.mul_f64(self.rng.random_range(0.0..=1.0))
    }

    fn order(&mut self, order: Output<()>) {
        self.orders.push((self.now, order.clone()));
        match order {
            Output::Connect(count) => {
                self.open += count;
                assert!(self.open <= self.config.max_connections, "{} connections", self.open);
                for _ in 0..count {
                    let answer = if self.line_up { Input::Connected } else { Input::ConnectFailed };
                    self.open -= usize::from(!self.line_up);
                    self.later(ms(5), Pending::Answer(answer));
                }
            }
            Output::Probe(number) => {
                let ok = self.line_up && self.probes_answered;
                self.later(ms(5), Pending::Answer(Input::Probed(number, ok)));
            }
            Output::Adopt { .. } | Output::Claim { .. } | Output::Release { .. } | Output::Settle { .. } => {
                let way = self.way_to_redis();
                self.later(way, Pending::Carry(order));
            }
            _ => {}
        }
    }

    fn send(&mut self, flight: FlightId, number: NumberId, lane: LaneId, message: &Message<()>) {
        let Message { index, generation, attempt, .. } = *message;
        let held = self.held.insert((lane, index, generation), Held::Flying);
        assert_eq!(held, Some(Held::Claimed), "{lane} {index} was not claimed and at rest");
        let record = self.lanes[&lane].records[index as usize];
        assert_eq!((record.state, record.generation), (State::Sending, generation), "{lane} {index}");
        if !self.journal_up {
            self.held.insert((lane, index, generation), Held::Back(true));
            return self.later(ms(0), Pending::Answer(Input::Unbegun(flight)));
        }
        if let Some(reason) = self.stop_list.get(&(lane, index)) {
            self.held.insert((lane, index, generation), Held::Claimed);
            return self.later(ms(0), Pending::Answer(Input::Stopped(flight, *reason)));
        }
        self.flights.insert(flight, (lane, index, generation));
        let sent = Sent { at: self.now, number, lane, index, generation, attempt };
        let verdict = (self.reply)(&sent);
        self.sent.push(sent);
        let reusable = !verdict.not_own || verdict.kind == Kind::Doubtful;
        self.later(self.latency, Pending::Answer(Input::Replied(flight, verdict, reusable)));
    }

    /// Redis carries out an order; the answer has a way of its own.
    fn carry(&mut self, order: Output<()>) {
        let answer = match order {
            Output::Adopt { lane, .. } => Input::Adopted(lane, Some(self.lanes[&lane].view())),
            Output::Claim { lane, request, fresh, due, .. } => self.claim(lane, request, fresh, due),
            Output::Release { lane, request, messages } => self.release(lane, request, &messages),
            Output::Settle { lane, settlements } => {
                let stored = self.lanes.get_mut(&lane).unwrap();
                for one in &settlements {
                    let held = self.held.remove(&(lane, one.index, one.generation));
                    let begun = matches!(held, Some(Held::Back(_)));
                    assert!(
                        begun
                            || (held, one.state) == (Some(Held::Claimed), State::Expired)
                            || (held, one.state) == (Some(Held::Claimed), State::Suppressed)
                            || (held, one.state, one.due_ms > 0)
                                == (Some(Held::Claimed), State::Waiting, true),
                        "{held:?} {one:?}"
                    );
                    let record = &mut stored.records[one.index as usize];
                    *record = record.settled(one).expect("a settlement applies");
                    if one.state == State::Waiting {
                        stored.retry.insert(one.index, one.due_ms);
                    }
                }
                Input::Settled(lane, settlements.len())
            }
            other => panic!("{other:?} is not for redis"),
        };
        let way = self.way_to_redis();
        self.later(way, Pending::Answer(answer));
    }

    fn claim(&mut self, lane: LaneId, request: u64, fresh: usize, due: usize) -> Input<()> {
        let now_ms = self.wall().0;
        let stored = self.lanes.get_mut(&lane).unwrap();
        stored.take_request(lane, request);
        let mut indices: Vec<u32> =
            stored.retry.iter().filter(|(_, at)| **at <= now_ms).map(|(index, _)| *index).take(due).collect();
        stored.retry.retain(|index, _| !indices.contains(index));
        let end = stored.records.len().min(stored.next as usize + fresh);
        indices.extend(stored.next..u32::try_from(end).unwrap());
        stored.next = u32::try_from(end).unwrap();
        let mut messages = Vec::new();
        for index in indices {
            let record = &mut stored.records[index as usize];
            *record = record.claimed().expect("only what may be claimed is due or untouched");
            let Record { generation, attempt, .. } = *record;
            let loaded_at = WallMs(stored.loaded_ms);
            let stopped = self.stop_list.get(&(lane, index)).copied();
            let (held, admitted_until) = (self.admit)(self.now, lane, index);
            let payload = ();
            messages.push(Message {
                index,
                generation,
                attempt,
                loaded_at,
                stopped,
                held,
                admitted_until,
                payload,
            });
            self.held.insert((lane, index, generation), Held::Claimed);
        }
        Input::Claimed(lane, Some((messages, stored.view())))
    }

    fn release(&mut self, lane: LaneId, request: u64, messages: &[(u32, u8)]) -> Input<()> {
        let now_ms = self.wall().0;
        let stored = self.lanes.get_mut(&lane).unwrap();
        stored.take_request(lane, request);
        for (index, generation) in messages {
            let held = self.held.remove(&(lane, *index, *generation));
            assert!(
                matches!(held, Some(Held::Claimed | Held::Back(true))),
                "{lane} {index} released while {held:?}"
            );
            let record = &mut stored.records[*index as usize];
            *record = record.released(*generation).expect("only what is sending is released");
            stored.retry.insert(*index, now_ms);
        }
        Input::Released(lane, Some(stored.view()))
    }

    /// What must hold after every step.
    fn check(&self) {
        for view in self.shard.numbers() {
            let ahead = view.limit_per_s.map_or(128.0, |rate| (rate * 0.05).ceil()).clamp(1.0, 128.0);
            #[allow(clippy::cast_precision_loss, reason = "small counts")]
            let claimed = view.claimed as f64;
            // Each priority has a place of its own in the line.
            let ahead = ahead * f64::from(u8::try_from(self.ranks.len()).unwrap().max(1));
            assert!(claimed <= ahead, "{} claimed {claimed}, ahead {ahead}", view.id);
            assert!(view.in_flight <= self.config.max_in_flight, "{} in flight", view.in_flight);
        }
    }

    /// Messages by state.
    pub(super) fn states(&self) -> BTreeMap<State, usize> {
        let mut all = BTreeMap::new();
        for record in self.lanes.values().flat_map(|lane| &lane.records) {
            *all.entry(record.state).or_default() += 1;
        }
        all
    }

    pub(super) fn count(&self, state: State) -> usize {
        self.states().get(&state).copied().unwrap_or(0)
    }

    pub(super) fn total(&self) -> usize {
        self.lanes.values().map(|lane| lane.records.len()).sum()
    }

    pub(super) fn all_accepted(&self) -> bool {
        self.count(State::Accepted) == self.total()
    }

    pub(super) fn blocked(&self, name: &str) -> Option<Blocked> {
        let view = self.shard.numbers().find(|view| &*view.id.0 == name).unwrap();
        view.blocked.map(|(why, _)| why)
    }

    /// Times of orders that satisfy `which`.
    pub(super) fn times(&self, which: impl Fn(&Output<()>) -> bool) -> Vec<Mono> {
        self.orders.iter().filter(|(_, order)| which(order)).map(|(at, _)| *at).collect()
    }

    pub(super) fn ordered(&self, which: impl Fn(&Output<()>) -> bool) -> bool {
        self.orders.iter().any(|(_, order)| which(order))
    }
}

impl Stored {
    fn view(&self) -> LaneView {
        let next_due = self.retry.values().min().copied().map(WallMs);
        LaneView { count: u32::try_from(self.records.len()).unwrap(), next: self.next, next_due }
    }

    fn take_request(&mut self, lane: LaneId, request: u64) {
        let last = self.last_request;
        assert!(request > last, "{lane}: request {request} after {last} is refused as stale");
        self.last_request = request;
    }
}

/// The most in any sliding second.
pub(super) fn worst_second(sent: &[Mono]) -> usize {
    let mut from = 0;
    let count = |(at, now): (usize, &Mono)| {
        while now.since(sent[from]) >= Duration::from_secs(1) {
            from += 1;
        }
        at - from + 1
    };
    sent.iter().enumerate().map(count).max().unwrap_or(0)
}
