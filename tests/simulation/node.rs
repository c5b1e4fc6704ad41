//! One process: the real machine of a shard, and around it what `sender` and `app` do, in small: orders carried out on
//! Redis until it has answered, connections with a gate, a journal, the lease.

mod budget;
mod control;
mod doubts;
mod forgetting;
mod orders;
mod ownership;
#[path = "../../src/app/ownership/state.rs"]
mod state;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use carteiro::clock::{Mono, WallMs};
use carteiro::domain::ids::{LaneId, NumberId};
use carteiro::policy::shard::{
    CampaignSetup, FlightId, Input, LaneView, Message, NumberSetup, Output, Shard,
};
use carteiro::queue::lane::Standing;
use carteiro::queue::replay::Recent;
use rand::RngExt;

use self::budget::Reserved;
use self::control::{News, Task};
use self::state::{Asked, State};
use crate::faults::Fault;
use crate::mutants::Mutant;
use crate::store::{CAMPAIGNS, Call, LANES, NUMBERS, lane_at};
use crate::world::{Event, NodeEvent, SECOND_US, World, mono};

/// From the end of a turn to the first byte of its requests.
const WRITE_US: u64 = 100;

/// How much of what it wrote a process can write again.
const REMEMBERED: Duration = Duration::from_secs(15);

/// How a process stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Dead,
    /// It gives back what its last run certainly never began.
    Starting,
    Joining,
    Running,
    Leaving,
}

/// A request that left.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub(crate) node: usize,
    pub(crate) life: u32,
    pub(crate) flight: FlightId,
    pub(crate) number: usize,
    pub(crate) lane: usize,
    pub(crate) index: u32,
    pub(crate) generation: u8,
}

#[derive(Debug)]
struct Pending {
    call: Rc<Call>,
    tries: u32,
}

/// What the journal says of a run: what it began.
#[derive(Clone, Debug, Default)]
struct Journal {
    run: u64,
    begun: BTreeSet<(usize, u32, u8)>,
}

#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) life: u32,
    pub(crate) phase: Phase,
    pub(crate) frozen_until: u64,
    pub(crate) cut_off_until: u64,
    pub(crate) journal_full_until: u64,
    /// It dies after so many more orders.
    pub(crate) dies_after: Option<u32>,
    shard: Shard<()>,
    /// Which Redis its links have found, and what they wrote lately.
    pub(crate) epoch: u32,
    recent: Recent,
    /// When something last left through each number, in wall ms.
    left: [Option<u64>; NUMBERS],
    timer_at: u64,
    calls: Vec<Option<Pending>>,
    free: Vec<u32>,
    redis_up: bool,
    token: u64,
    adopted: [Option<u64>; LANES],
    ready: usize,
    flights: BTreeMap<u32, Sent>,
    gate_until: u64,
    journal: Journal,
    journal_works: bool,
    /// The run before this one, if its journal can be believed.
    last: Option<Journal>,
    releasing: usize,
    name: String,
    holdings: State,
    reserved: Reserved,
    /// What the heartbeat under way asks for.
    asked: Asked,
    /// A heartbeat is under way, and when it was sent.
    beating: Option<u64>,
    poked: bool,
    beat_serial: u64,
    acknowledged: u64,
    lease_until: u64,
    owned: BTreeSet<usize>,
    news: VecDeque<News>,
    tasks: VecDeque<Task>,
    busy: bool,
    version: u64,
    told: [Option<CampaignSetup>; CAMPAIGNS],
    told_numbers: [Option<NumberSetup>; NUMBERS],
    scanned: [Option<u64>; CAMPAIGNS],
    retell: bool,
    dry: BTreeSet<usize>,
    moving: BTreeMap<usize, usize>,
    lanes: BTreeMap<usize, usize>,
    reread_at: u64,
    /// How often its lease was lost.
    life_of_lease: u32,
    draining: bool,
    drained: bool,
    /// A heartbeat is waited for, for a newer token.
    refreshing: bool,
    running: [bool; CAMPAIGNS],
    halted: [bool; NUMBERS],
    template_stopped: [bool; CAMPAIGNS],
}

impl Node {
    pub(crate) fn new(world_seed: u64, at: usize, life: u32) -> Self {
        let seed = world_seed.wrapping_mul(31).wrapping_add(u64::from(life) * 3 + at as u64);
        Self {
            life,
            phase: Phase::Dead,
            frozen_until: 0,
            cut_off_until: 0,
            journal_full_until: 0,
            dies_after: None,
            shard: Shard::new(crate::world::shard_config(), seed),
            epoch: 0,
            recent: Recent::new(REMEMBERED),
            left: [None; NUMBERS],
            timer_at: u64::MAX,
            calls: Vec::new(),
            free: Vec::new(),
            redis_up: true,
            token: 0,
            adopted: [None; LANES],
            ready: 0,
            flights: BTreeMap::new(),
            gate_until: 0,
            journal: Journal { run: (at as u64) << 32 | u64::from(life), begun: BTreeSet::new() },
            journal_works: true,
            last: None,
            releasing: 0,
            name: String::new(),
            holdings: State::default(),
            reserved: Reserved::default(),
            asked: Asked::default(),
            beating: None,
            poked: false,
            beat_serial: 0,
            acknowledged: 0,
            lease_until: 0,
            owned: BTreeSet::new(),
            news: VecDeque::new(),
            tasks: VecDeque::new(),
            busy: false,
            version: 0,
            told: [const { None }; CAMPAIGNS],
            told_numbers: [const { None }; NUMBERS],
            scanned: [None; CAMPAIGNS],
            retell: false,
            dry: BTreeSet::new(),
            moving: BTreeMap::new(),
            lanes: BTreeMap::new(),
            reread_at: 0,
            life_of_lease: 0,
            draining: false,
            drained: false,
            refreshing: false,
            running: [false; CAMPAIGNS],
            halted: [false; NUMBERS],
            template_stopped: [false; CAMPAIGNS],
        }
    }

    pub(crate) fn alive(&self) -> bool {
        self.phase != Phase::Dead
    }

    /// Whether a webhook that is called now reaches it, and Redis through it.
    pub(crate) fn listens(&self, now: u64) -> bool {
        self.alive() && self.frozen_until <= now && self.cut_off_until <= now
    }

    /// Whether nothing of it is under way.
    pub(crate) fn at_rest(&self) -> bool {
        self.flights.is_empty() && self.calls.iter().all(Option::is_none)
    }

    /// What it is doing, for a run that comes to no end.
    pub(crate) fn show(&self) -> String {
        let numbers: Vec<_> = self.shard.numbers().collect();
        format!(
            "{:?} owns {:?} lanes {:?} tasks {:?} {numbers:?}",
            self.phase, self.owned, self.lanes, self.tasks
        )
    }

    fn token_of(&self, lane: usize) -> u64 {
        self.adopted[lane].unwrap_or(self.token)
    }
}

fn view(standing: Standing) -> LaneView {
    LaneView { count: standing.count, next: standing.next, next_due: standing.next_due_ms.map(WallMs) }
}

fn number_at(number: &NumberId) -> usize {
    number.0.parse::<usize>().unwrap() - 1
}

impl World {
    /// Starts a process in this place.
    pub(crate) fn start(&mut self, at: usize) {
        let old = &mut self.nodes[at];
        let (life, last) = (old.life + 1, old.last.take());
        let mut node = Node::new(self.seed, at, life);
        (node.phase, node.cut_off_until) = (Phase::Starting, old.cut_off_until);
        // Some have a name of their own, others draw one each time.
        node.name = if at == 0 { "named".to_owned() } else { format!("n{at}x{life}") };
        (node.holdings.outside, node.holdings.incarnation) = (true, format!("i{at}x{life}"));
        node.holdings.offers = self.offers.clone();
        node.last = last;
        node.epoch = self.store.epoch;
        self.nodes[at] = node;
        match &self.nodes[at].last {
            Some(last) => {
                let run = last.run;
                // Others may have to say what Redis forgot: who has had a lane since may have the same claims in it.
                let grace_us = self.grace_ends().saturating_sub(self.now);
                self.node_later(at, grace_us, NodeEvent::LastRun(run));
            }
            None => self.join(at),
        }
    }

    /// The process is gone, with all that it knew.
    pub(crate) fn kill(&mut self, at: usize) {
        let lost = self.ratios.journal_lost;
        let lost = self.nodes[at].alive() && self.chance(lost, Fault::JournalLost);
        let node = &mut self.nodes[at];
        let journal = std::mem::take(&mut node.journal);
        // One that had not come far does not stand between its last run and the next.
        if !matches!(node.phase, Phase::Dead | Phase::Starting) {
            node.last = (!lost).then_some(journal);
        }
        node.phase = Phase::Dead;
        node.life += 1;
        self.died_at = self.now;
        let wait = self.rng.random_range(50_000..4 * SECOND_US);
        self.later(wait, Event::Start(at));
    }

    /// Gives the machine one input and carries out what it orders.
    fn input(&mut self, at: usize, input: Input<()>) {
        if !self.nodes[at].alive() {
            return;
        }
        let now = self.clocks();
        self.nodes[at].shard.handle(now, input);
        loop {
            match self.nodes[at].shard.poll() {
                Output::Sleep(until) => return self.set_timer(at, until),
                output => {
                    let behind = self.is_behind();
                    if let Some(left) = self.nodes[at].dies_after.as_mut().filter(|_| !behind) {
                        *left = left.saturating_sub(1);
                        if *left == 0 {
                            self.tally.fault(Fault::KilledWithinATurn);
                            return self.kill(at);
                        }
                    }
                    self.carry(at, output);
                }
            }
        }
    }

    fn set_timer(&mut self, at: usize, until: Option<Mono>) {
        let Some(until) = until else { return };
        let until = u64::try_from(until.0.as_nanos().div_ceil(1000)).unwrap().max(self.now);
        if until < self.nodes[at].timer_at {
            self.nodes[at].timer_at = until;
            let life = self.nodes[at].life;
            self.at(until, Event::Node(at, life, NodeEvent::Time));
        }
    }

    fn carry(&mut self, at: usize, output: Output<()>) {
        let node = &mut self.nodes[at];
        match output {
            Output::Adopt { lane, sweep } => {
                let (token, run, lane) = (node.token, node.journal.run, lane_at(lane));
                let known = node.adopted[lane];
                self.call(at, Call::Adopt { lane, token, sweep, run, known });
            }
            Output::Claim { lane, number, request, fresh, due, .. } => {
                let (lane, token) = (lane_at(lane), node.token_of(lane_at(lane)));
                self.call(at, Call::Claim { lane, number: number_at(&number), token, request, fresh, due });
            }
            Output::Release { lane, request, messages } => {
                let (lane, token) = (lane_at(lane), node.token_of(lane_at(lane)));
                let (back, counted) = (messages.clone(), node.reserved.unsent(lane, &messages));
                self.take_back(at, lane, back, Call::Release { lane, token, request, messages, counted });
            }
            Output::Settle { lane, settlements } => {
                let refused = settlements.iter().filter(|one| self.was_not_taken(one));
                let back = refused.map(|one| (one.index, one.generation)).collect();
                let lane = lane_at(lane);
                let counted = self.nodes[at].reserved.settling(lane, &settlements, self.mutant);
                self.take_back(at, lane, back, Call::Settle { lane, settlements, counted });
            }
            Output::Send { flight, number, lane, message } => self.send(at, flight, &number, lane, &message),
            Output::Connect(count) => {
                let news = if self.line_down { NodeEvent::ConnectFailed } else { NodeEvent::Connected };
                (0..count).for_each(|_| self.node_later(at, 2_000, news.clone()));
            }
            Output::Probe(number) => {
                let up = !self.line_down;
                self.node_later(at, 3_000, NodeEvent::Probed(number, up));
            }
            Output::Halt { verdict, number, template, .. } => {
                self.halt(at, &verdict, number_at(&number), &template);
            }
            Output::Throttle(_) => {}
            Output::Dry(number) => drop(node.dry.insert(number_at(&number))),
            Output::Dropped(lane) => {
                node.adopted[lane_at(lane)] = None;
                node.reserved.forget(lane_at(lane));
                self.on_dropped(at, lane_at(lane));
            }
            Output::NumberDropped(number, next) => self.on_number_dropped(at, number, next),
            // What was sent before it is written first.
            Output::Reached(version) => self.node_later(at, WRITE_US, NodeEvent::Reached(version)),
            Output::Drained => self.leave_at_last(at),
            Output::Sleep(_) => {}
        }
    }

    fn send(&mut self, at: usize, flight: FlightId, number: &NumberId, lane: LaneId, message: &Message<()>) {
        let (lane, number) = (lane_at(lane), number_at(number));
        let Message { index, generation, .. } = *message;
        self.judge.decided(self.now, at, lane);
        let node = &mut self.nodes[at];
        node.ready -= 1;
        if node.journal_full_until > self.now {
            self.node_later(at, 0, NodeEvent::Unbegun(flight));
            if std::mem::replace(&mut self.nodes[at].journal_works, false) {
                self.tally.fault(Fault::JournalFull);
                self.node_later(at, 0, NodeEvent::Journal(false));
            }
            return;
        }
        node.journal.begun.insert((lane, index, generation));
        let sent = Sent { node: at, life: node.life, flight, number, lane, index, generation };
        node.flights.insert(flight.0, sent);
        self.node_later(at, WRITE_US, NodeEvent::Write(flight));
    }

    /// The first byte of a request is about to leave.
    fn write(&mut self, at: usize, flight: FlightId) {
        let now = self.now;
        let node = &self.nodes[at];
        let Some(sent) = node.flights.get(&flight.0).cloned() else { return };
        if node.gate_until <= now && self.mutant != Some(Mutant::LeaseIsIgnored) {
            return self.node_later(at, 0, NodeEvent::Replied(flight, crate::meta::never_begun(), false));
        }
        let owner = self.store.own.owner(&self.numbers[sent.number]) == Some(node.name.as_str());
        let owner = owner || self.owns_for_itself(at, sent.number);
        let record = self.store.lanes[sent.lane].lane.records.get(sent.index as usize);
        if self.is_synced(at) {
            self.judge.written(&sent, owner, record);
        } else {
            self.judge.written_unseen(&sent);
        }
        let now_ms = self.wall_ms();
        self.nodes[at].left[sent.number] = Some(now_ms);
        if self.line_down {
            return self.node_later(
                at,
                50_000,
                NodeEvent::Replied(flight, crate::meta::never_begun(), false),
            );
        }
        // Arrivals jitter by less than the slack that the pace keeps for it.
        let way = self.rng.random_range(3_000..12_000);
        self.later(way, Event::Request(sent));
    }

    pub(crate) fn node_event(&mut self, at: usize, event: NodeEvent) {
        match event {
            NodeEvent::Time => {
                if self.nodes[at].timer_at <= self.now {
                    self.nodes[at].timer_at = u64::MAX;
                }
                self.input(at, Input::Time);
            }
            NodeEvent::Answer(id, answer) => self.on_answer(at, id, *answer),
            NodeEvent::Failed(id) => self.on_failed(at, id),
            NodeEvent::Again(id) => self.dispatch(at, id),
            NodeEvent::Connected => {
                self.nodes[at].ready += 1;
                self.input(at, Input::Connected);
            }
            NodeEvent::ConnectFailed => self.input(at, Input::ConnectFailed),
            NodeEvent::Probed(number, up) => self.input(at, Input::Probed(number, up)),
            NodeEvent::Write(flight) => self.write(at, flight),
            NodeEvent::Replied(flight, verdict, reusable) => {
                self.nodes[at].flights.remove(&flight.0);
                self.nodes[at].ready += usize::from(reusable);
                self.input(at, Input::Replied(flight, verdict, reusable));
            }
            NodeEvent::Unbegun(flight) => {
                self.nodes[at].ready += 1;
                self.input(at, Input::Unbegun(flight));
            }
            NodeEvent::Journal(works) => {
                self.input(at, Input::Journal(works));
                if !works {
                    let left = self.nodes[at].journal_full_until.saturating_sub(self.now);
                    self.node_later(at, left + 1, NodeEvent::Journal(true));
                } else {
                    self.nodes[at].journal_works = true;
                }
            }
            NodeEvent::Reached(version) => self.acknowledge(at, version),
            NodeEvent::Announced => self.add_task(at, Task::Look),
            NodeEvent::Beat(serial) => {
                if self.nodes[at].beat_serial == serial {
                    self.beat(at);
                }
            }
            NodeEvent::Control => self.next_task(at),
            NodeEvent::Round => self.round(at),
            NodeEvent::CloseIdle => {
                if self.nodes[at].ready > 0 {
                    self.tally.fault(Fault::ConnectionClosed);
                    self.nodes[at].ready -= 1;
                    self.input(at, Input::Closed);
                }
            }
            NodeEvent::MoveLane(lane, to) => self.move_lane(at, lane, to),
            NodeEvent::Leave => self.leave(at),
            NodeEvent::LastRun(run) => self.call(at, Call::LastRun { run }),
            NodeEvent::Doubts => self.look_at_doubts(at),
            NodeEvent::Touch => self.call(at, Call::Ping),
            NodeEvent::Seen(seen) => self.tell_all(at, &seen),
        }
    }

    pub(crate) fn node_later(&mut self, at: usize, wait_us: u64, event: NodeEvent) {
        let life = self.nodes[at].life;
        self.later(wait_us, Event::Node(at, life, event));
    }

    fn mono(&self) -> Mono {
        mono(self.now)
    }
}
