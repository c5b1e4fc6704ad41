//! The world of one run: virtual time, what is to happen when, and everything that the processes share.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::fmt::Write as _;
use std::rc::Rc;
use std::time::Duration;

use carteiro::clock::{Mono, WallMs};
use carteiro::config::BreakerConfig;
use carteiro::domain::campaign::RetryPolicy;
use carteiro::domain::contact::CapChoice;
use carteiro::domain::ids::{CampaignSeq, NumberId};
use carteiro::domain::record::State;
use carteiro::policy::adapt::AdaptConfig;
use carteiro::policy::classify::Verdict;
use carteiro::policy::pace::Exactness;
use carteiro::policy::shard::{CampaignSetup, ClassHours, FlightId, LaneHours, Now, ShardConfig};
use carteiro::queue::owner;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use crate::budget::LIMITS;
use crate::faults::{Fault, Ratios, Tally};
use crate::judge::Judge;
use crate::lane_model::{Cause, Moved};
use crate::meta::Hook;
use crate::mutants::Mutant;
use crate::node::{Node, Sent};
use crate::own_model::OwnModel;
use crate::plan::{Chaos, Deed};
use crate::store::{ATTEMPTS, Answer, CAMPAIGNS, Call, NUMBERS, PER_LANE, Store, Stored, View};

pub(crate) const NODES: usize = 3;
pub(crate) const SECOND_US: u64 = 1_000_000;

/// Wall time at the start of every run.
pub(crate) const EPOCH_MS: u64 = 1_800_000_000_000;

/// Events of a run at most: beyond it something goes round.
const EVENTS_MAX: u64 = 2_000_000;

/// After the faults have stopped everything must come to its end within this time.
const CONVERGES_US: u64 = 900 * SECOND_US;

/// What happens to one process.
#[derive(Clone, Debug)]
pub(crate) enum NodeEvent {
    Time,
    Answer(u32, Box<Answer>),
    Failed(u32),
    Again(u32),
    Connected,
    ConnectFailed,
    Probed(NumberId, bool),
    Write(FlightId),
    Replied(FlightId, Verdict, bool),
    Unbegun(FlightId),
    Journal(bool),
    Reached(u64),
    Announced,
    Seen(Box<View>),
    Beat(u64),
    Control,
    Round,
    CloseIdle,
    MoveLane(usize, usize),
    Leave,
    /// Looks what the last run left.
    LastRun(u64),
    /// Looks at messages in doubt.
    Doubts,
    /// Hears whether Redis is another one.
    Touch,
}

#[derive(Debug)]
pub(crate) enum Event {
    /// To a process, if it still lives the same life.
    Node(usize, u32, NodeEvent),
    Start(usize),
    /// A call arrives at Redis; without an id it is a late copy that nobody waits for.
    Arrive {
        from: (usize, u32),
        id: Option<u32>,
        call: Rc<Call>,
        sent_ms: u64,
        /// Which Redis it was sent to.
        epoch: u32,
    },
    Request(Sent),
    Hook(Hook, u32),
    Chaos(Chaos),
    Deed(Deed),
}

#[derive(Debug)]
struct Timed {
    at: u64,
    serial: u64,
    event: Event,
}

impl PartialEq for Timed {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Timed {}

impl PartialOrd for Timed {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Timed {
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.serial).cmp(&(self.at, self.serial))
    }
}

#[derive(Debug)]
pub(crate) struct World {
    pub(crate) seed: u64,
    pub(crate) now: u64,
    pub(crate) rng: SmallRng,
    queue: BinaryHeap<Timed>,
    serial: u64,
    pub(crate) ratios: Ratios,
    pub(crate) mutant: Option<Mutant>,
    pub(crate) nodes: Vec<Node>,
    pub(crate) numbers: Vec<NumberId>,
    pub(crate) rates: Vec<f64>,
    pub(crate) offers: String,
    pub(crate) lease: Duration,
    pub(crate) store: Store,
    pub(crate) judge: Judge,
    pub(crate) tally: Tally,
    /// Webhooks that Meta has not got rid of.
    pub(crate) hooks: u64,
    pub(crate) line_down: bool,
    /// How old messages of each campaign may get.
    pub(crate) validity: [Duration; CAMPAIGNS],
    /// When the faults stopped.
    pub(crate) healed_at: Option<u64>,
    /// What Redis will have when it forgets.
    pub(crate) past: Option<Past>,
    /// When a process last died, and when Redis last forgot.
    pub(crate) died_at: u64,
    pub(crate) forgot_at: Option<u64>,
    /// Chunks that were acknowledged to their load, and whether it has to look whether they are there.
    pub(crate) appended: Vec<(usize, usize)>,
    pub(crate) load_behind: bool,
}

/// Redis as it was.
#[derive(Debug)]
pub(crate) struct Past {
    pub(crate) at: u64,
    pub(crate) lanes: Vec<Stored>,
    pub(crate) own: OwnModel,
}

pub(crate) fn mono(us: u64) -> Mono {
    Mono(Duration::from_micros(us))
}

pub(crate) fn shard_config() -> ShardConfig {
    let ms = Duration::from_millis;
    ShardConfig {
        exactness: Exactness { tolerance: ms(5), arrival_slack: ms(10) },
        claim_ahead: ms(150),
        max_in_flight: 6,
        max_connections: 12,
        max_unsettled: 100,
        settle_delay: ms(20),
        breaker: BreakerConfig { failures: 3, base: ms(1_000), max: ms(20_000) },
        throttle_base: ms(250),
        throttle_max: ms(20_000),
        pair_wait: (ms(1_000), ms(60_000)),
        adapt: AdaptConfig { decrease: 0.7, increase_per_s: 0.01, floor: 0.05 },
        guaranteed_share: 0.1,
    }
}

fn one_open(record: &carteiro::domain::record::Record) -> bool {
    record.state.open() || record.state == State::InDoubt
}

impl World {
    pub(crate) fn new(seed: u64, mutant: Option<Mutant>) -> Self {
        let mut rng = SmallRng::seed_from_u64(seed);
        let mut ratios = Ratios::draw(&mut rng);
        if let Some(mutant) = mutant {
            mutant.favour(&mut ratios);
        }
        let numbers: Vec<NumberId> =
            (1..=NUMBERS).map(|at| NumberId::from(at.to_string().as_str())).collect();
        let rates: Vec<f64> = (0..NUMBERS).map(|_| [3.0, 8.0, 20.0, 80.0][rng.random_range(0..4)]).collect();
        let offers = owner::offers(numbers.iter().zip(rates.iter().copied()));
        let short = rng.random_bool(0.3).then(|| Duration::from_secs(rng.random_range(5..40)));
        let people = rng.random_bool(0.5).then(|| LIMITS[rng.random_range(0..LIMITS.len())]);
        let mut world = Self {
            seed,
            now: 0,
            lease: Duration::from_millis(rng.random_range(2_000..8_000)),
            queue: BinaryHeap::new(),
            serial: 0,
            ratios,
            mutant,
            nodes: (0..NODES).map(|at| Node::new(seed, at, 0)).collect(),
            judge: Judge::new(&rates),
            numbers,
            rates,
            offers,
            store: Store::new(people, mutant),
            tally: Tally::default(),
            hooks: 0,
            line_down: false,
            validity: [Duration::from_secs(86_400), short.unwrap_or(Duration::from_secs(86_400))],
            healed_at: None,
            past: None,
            died_at: 0,
            forgot_at: None,
            appended: Vec::new(),
            load_behind: false,
            rng,
        };
        world.judge.budget(0, people);
        world.plan();
        world
    }

    /// Runs to the end: what happened, or what went wrong.
    pub(crate) fn run(mut self) -> Result<Tally, String> {
        while let Some(Timed { at, event, .. }) = self.queue.pop() {
            self.now = at;
            self.tally.events += 1;
            self.happen(event);
            if let Some(wrong) = self.judge.wrong.take() {
                return Err(format!("{wrong} (at {:.6} s)", self.now as f64 / 1e6));
            }
            if self.tally.events > EVENTS_MAX {
                return Err("the run does not end: something goes round".to_owned());
            }
            if let Some(healed_at) = self.healed_at {
                if self.over() {
                    self.judge.at_the_end(&self.store);
                    return self.judge.wrong.take().map_or(Ok(self.tally), Err);
                }
                if self.now > healed_at + CONVERGES_US {
                    return Err(format!("after the faults it comes to no end: {}", self.unfinished()));
                }
            }
        }
        Err("nothing is left to happen".to_owned())
    }

    fn over(&self) -> bool {
        let loaded = self.store.lanes.iter().all(|stored| stored.lane.count() as usize == PER_LANE);
        loaded
            && self.hooks == 0
            && !self.store.open()
            && self.nodes.iter().all(|node| node.alive() && node.at_rest())
    }

    fn unfinished(&self) -> String {
        let mut all = String::new();
        for (at, stored) in self.store.lanes.iter().enumerate() {
            for (index, record) in (0u32..).zip(&stored.lane.records) {
                if !one_open(record) {
                    continue;
                }
                let due = stored.lane.retry.get(&index);
                let _infallible = write!(all, "lane {at} index {index} {record:?} due {due:?}; ");
            }
        }
        let views: Vec<String> = self.nodes.iter().map(Node::show).collect();
        format!("{all} {} webhooks; {}", self.hooks, views.join("; "))
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Node(at, life, event) => {
                let node = &self.nodes[at];
                if node.life != life || !node.alive() {
                    return;
                }
                if node.frozen_until > self.now {
                    // It finds all of it, in order, when it goes on.
                    let until = node.frozen_until;
                    return self.at(until, Event::Node(at, life, event));
                }
                self.node_event(at, event);
            }
            Event::Start(at) => {
                if !self.nodes[at].alive() {
                    self.start(at);
                }
            }
            Event::Arrive { from, id, call, sent_ms, epoch } => {
                self.arrive(from, id, &call, (sent_ms, epoch));
            }
            Event::Request(sent) => self.request(&sent),
            Event::Hook(hook, tries) => self.hook(hook, tries),
            Event::Chaos(chaos) => self.chaos(chaos),
            Event::Deed(deed) => self.deed(deed),
        }
    }

    pub(crate) fn at(&mut self, at: u64, event: Event) {
        self.serial += 1;
        self.queue.push(Timed { at: at.max(self.now), serial: self.serial, event });
    }

    pub(crate) fn later(&mut self, wait_us: u64, event: Event) {
        self.at(self.now + wait_us, event);
    }

    pub(crate) fn wall_ms(&self) -> u64 {
        EPOCH_MS + self.now / 1000
    }

    pub(crate) fn clocks(&self) -> Now {
        Now { mono: mono(self.now), wall: WallMs(self.wall_ms()) }
    }

    pub(crate) fn per_mille(&mut self, ratio: u32) -> bool {
        ratio > 0 && self.rng.random_range(0..1000) < ratio
    }

    pub(crate) fn chance(&mut self, ratio: u32, fault: Fault) -> bool {
        let happens = self.per_mille(ratio);
        if happens {
            self.tally.fault(fault);
        }
        happens
    }

    /// Something changed: every process hears of it, unless it does not.
    pub(crate) fn announce(&mut self) {
        for at in 0..NODES {
            let lost = self.ratios.announcement_lost;
            if self.nodes[at].alive() && !self.chance(lost, Fault::AnnouncementLost) {
                let way = self.rng.random_range(500..50_000);
                self.node_later(at, way, NodeEvent::Announced);
            }
        }
    }

    /// What must hold of a lane after every call.
    pub(crate) fn look_at(&mut self, lane: usize) {
        let mut moved = std::mem::take(&mut self.store.lanes[lane].lane.moved);
        let now_ms = self.wall_ms();
        for Moved { cause, index, from, to } in &moved {
            self.tally.edge((*cause, *from, *to));
            let stored = &mut self.store.lanes[lane];
            if (*cause, *to) == (Cause::Resolve, State::Waiting) {
                self.tally.fault(Fault::DoubtSentAgain);
                let since_ms = stored.since.get(index).copied().unwrap_or(now_ms);
                self.judge.sent_again((lane, *index), stored.number, since_ms, now_ms);
            }
            match to {
                State::InDoubt => drop(stored.since.insert(*index, now_ms)),
                _ => drop(stored.since.remove(index)),
            }
        }
        if !moved.is_empty() {
            self.judge.look_at(lane, &self.store.lanes[lane].lane);
        }
        moved.clear();
        self.store.lanes[lane].lane.moved = moved;
    }

    pub(crate) fn campaign_setup(
        &self,
        campaign: usize,
        running: bool,
        template_stopped: bool,
    ) -> CampaignSetup {
        let (open, until) = self.judge.hours(campaign, self.now);
        let until = until.map(|us| WallMs(EPOCH_MS + us / 1000));
        CampaignSetup {
            seq: CampaignSeq(u32::try_from(campaign + 1).unwrap()),
            rank: if campaign == 0 { 3 } else { 0 },
            running,
            template: campaign.to_string(),
            template_stopped,
            validity: self.validity[campaign],
            valid_until: None,
            hours: LaneHours::new(vec![0], vec![ClassHours { open, until }]),
            retry: RetryPolicy {
                max_attempts: ATTEMPTS,
                base: Duration::from_secs(1),
                max: Duration::from_secs(8),
            },
            open: true,
            first: None,
            pace_share_per_mille: None,
            weight: 1,
            cap: if campaign == 0 { CapChoice::Defer } else { CapChoice::Suppress },
        }
    }
}
