//! The shard: one pure state machine that decides what its numbers do next.
//!
//! Contract. The driver calls [`Shard::handle`] with one [`Input`], then [`Shard::poll`] until it answers
//! [`Output::Sleep`], and only then gives the next input. Every output is an order that the driver carries out and
//! answers with an input, whenever it likes but exactly once: `Adopt` with `Adopted`, `Claim` with `Claimed`, `Release` with
//! `Released`, `Settle` with `Settled`, `Send` with `Replied`, `Connect` with `Connected` or `ConnectFailed`, `Probe` with
//! `Probed`. Time and randomness come from outside, so a run can be replayed.
//!
//! The life of a message here: its lane is chosen (priority, then turns between campaigns), adopted once, a few
//! messages are claimed; a claimed message waits until its number has a connection ready, a free slot and a place in the
//! pace; then all gates once more (campaign, halts, validity), and it is sent. The reply's verdict decides what is
//! settled, what is given back and who slows down. The order of checks, with places kept for what is not there yet:
//!
//! ```text
//!  claim:  drain · rolled back · lease · journal · clock · redis · number (paused, halted) · breaker · throttle · stop list fresh · lane
//!          (campaign, template, hours) · cap and pair of the person · budget · free slots
//!  send:   connection ready · pace · lease · number · campaign · template · stop list · validity · hours
//! ```
//!
//! A message that a limit refused costs no attempt and moves nowhere: numbers and lanes are indexed by when they may
//! next act, so a million blocked messages cost nothing.
//!
//! Files: `event` and `setup` the words of the contract · `agenda` which lane is next · `listing` which lanes stand there, and the line of claimed messages · `lane` which messages are claimed, given back and settled · `share` what one campaign may use of a number · `tempo` a pace that follows refusals · `number` what one number does next ·
//! `verdict` what a reply changes · `hours` which lanes are closed by the clock on the wall · `tenure` numbers that come and go, and the lease · `stops` the stop list · `admission` limits that are shared with others.

mod admission;
mod agenda;
mod event;
mod hours;
mod input;
mod lane;
mod listing;
mod number;
mod setup;
mod share;
mod stops;
mod tempo;
mod tenure;
#[cfg(test)]
mod tests;
mod verdict;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::SmallRng;

use self::admission::Budget;
pub use self::event::{FlightId, Held, Input, LaneView, Message, Output, Throttled};
pub use self::hours::{ClassHours, LaneHours};
use self::lane::Lane;
use self::number::Number;
pub use self::setup::{Blocked, CampaignSetup, LaneSetup, Now, NumberSetup, NumberView, ShardConfig};
use self::tenure::Tenure;
use super::breaker::Breaker;
use crate::clock::{Mono, WallMs};
use crate::domain::ids::{CampaignSeq, LaneId, NumberId};

/// Messages at most in one settle, release or claim.
pub const BATCH_MAX: usize = 128;

/// Permanent refusals in a row that blame the template before it is halted.
pub const TEMPLATE_STRIKES: u32 = 5;

/// Connections being opened at once.
const CONNECTING_MAX: usize = 64;

/// A number that is blocked for longer gives back what it claimed.
const BLOCK_TOO_LONG: Duration = Duration::from_secs(1);

/// The machine. See the module for its contract.
#[derive(Debug)]
pub struct Shard<P> {
    config: ShardConfig,
    now: Now,
    rng: SmallRng,
    numbers: Vec<Number<P>>,
    number_at: HashMap<NumberId, usize>,
    campaigns: HashMap<CampaignSeq, Campaign>,
    /// Budgets of portfolios that were ever used up.
    budgets: HashMap<Arc<str>, Budget>,
    lanes: Vec<Option<Lane>>,
    lane_at: HashMap<LaneId, usize>,
    free_lanes: Vec<usize>,
    flights: Vec<Option<Flight>>,
    free_flights: Vec<u32>,
    in_flight: usize,
    unsettled: usize,
    /// Connections: ready, being opened, and all of them (with those in use).
    ready: usize,
    connecting: usize,
    /// Requests at once of the connection that was made last.
    breadth: usize,
    open: usize,
    /// Numbers that could send if a connection were ready, in turn.
    wanting: VecDeque<usize>,
    line: Breaker,
    line_probe: Option<usize>,
    redis: bool,
    /// Redis is not as far as it was: its word counts for nothing.
    rolled_back: bool,
    /// Until when what is here is ours; None: for ever.
    lease: Option<Mono>,
    lapsed: bool,
    /// Until when the copy of the stop list is current; None: there is none to wait for.
    stops: Option<Mono>,
    stops_stale: bool,
    journal: bool,
    /// The wall clock agrees with Redis'.
    clock: bool,
    draining: bool,
    drained: bool,
    dirty: VecDeque<usize>,
    wakes: BinaryHeap<Reverse<(Mono, usize)>>,
    settles: VecDeque<(Mono, usize)>,
    outputs: VecDeque<Output<P>>,
}

#[derive(Debug)]
struct Campaign {
    setup: CampaignSetup,
    strikes: u32,
}

impl Campaign {
    fn may_send(&self) -> bool {
        self.setup.running && self.setup.open && !self.setup.template_stopped
    }

    /// The first index of a lane that may not be claimed fresh.
    fn ceiling(&self, lane: LaneId) -> u32 {
        self.setup.first.as_ref().map_or(u32::MAX, |first| first.ceiling(lane.lane))
    }
}

#[derive(Clone, Copy, Debug)]
struct Flight {
    number: usize,
    lane: usize,
    index: u32,
    generation: u8,
    attempt: u8,
    began: Mono,
}

impl<P> Shard<P> {
    /// A shard without numbers.
    pub fn new(config: ShardConfig, seed: u64) -> Self {
        let line = Breaker::new(config.breaker.clone());
        Self {
            config,
            now: Now::default(),
            rng: SmallRng::seed_from_u64(seed),
            numbers: Vec::new(),
            number_at: HashMap::new(),
            campaigns: HashMap::new(),
            budgets: HashMap::new(),
            lanes: Vec::new(),
            lane_at: HashMap::new(),
            free_lanes: Vec::new(),
            flights: Vec::new(),
            free_flights: Vec::new(),
            in_flight: 0,
            unsettled: 0,
            ready: 0,
            connecting: 0,
            breadth: 1,
            open: 0,
            wanting: VecDeque::new(),
            line,
            line_probe: None,
            redis: true,
            rolled_back: false,
            lease: None,
            lapsed: false,
            stops: None,
            stops_stale: false,
            journal: true,
            clock: true,
            draining: false,
            drained: false,
            dirty: VecDeque::new(),
            wakes: BinaryHeap::new(),
            settles: VecDeque::new(),
            outputs: VecDeque::new(),
        }
    }

    /// The next order. Call until it is `Sleep`.
    pub fn poll(&mut self) -> Output<P> {
        loop {
            if let Some(output) = self.outputs.pop_front() {
                return output;
            }
            if let Some(number) = self.dirty.pop_front() {
                self.numbers[number].dirty = false;
                self.step(number);
            } else if !self.wake_wanting() {
                break;
            }
        }
        self.after_drain();
        self.outputs.pop_front().unwrap_or_else(|| Output::Sleep(self.deadline()))
    }

    /// What every number is doing.
    pub fn numbers(&self) -> impl Iterator<Item = NumberView> + '_ {
        let held = self.held_by_hours();
        let here = self.numbers.iter().enumerate().filter(|(_, number)| number.tenure != Tenure::Gone);
        here.map(move |(at, number)| NumberView {
            id: number.setup.id.clone(),
            rate_per_s: number.pace.rate_per_s(),
            limit_per_s: number.setup.rate_per_s,
            in_flight: number.in_flight,
            claimed: number.claimed.len(),
            begun: number.begun,
            blocked: self.blocked(number, held.get(&at)),
        })
    }

    /// When the earliest known retry of this shard is due.
    pub fn oldest_due(&self) -> Option<Mono> {
        self.numbers.iter().filter_map(Number::oldest_due).min()
    }

    fn deadline(&self) -> Option<Mono> {
        let wake = self.wakes.peek().map(|Reverse((at, _))| *at);
        let settle = self.settles.front().map(|(at, _)| *at);
        let line = self.line.next_probe_at().filter(|_| !self.draining);
        let lease = self.lease.filter(|_| !self.lapsed);
        let stops = self.stops.filter(|_| !self.stops_stale);
        [wake, settle, line, lease, stops].into_iter().flatten().min()
    }

    fn mark(&mut self, number: usize) {
        if let Some(one) = self.numbers.get_mut(number)
            && !one.dirty
        {
            one.dirty = true;
            self.dirty.push_back(number);
        }
    }

    fn mark_all(&mut self) {
        for number in 0..self.numbers.len() {
            self.mark(number);
        }
    }

    /// Wakes a number at `at`, unless it wakes earlier anyway.
    fn wake(&mut self, number: usize, at: Mono) {
        let one = &mut self.numbers[number];
        if one.wakes_at.is_none_or(|known| at < known) {
            one.wakes_at = Some(at);
            self.wakes.push(Reverse((at, number)));
        }
    }

    fn after_drain(&mut self) {
        if self.draining && !self.drained && self.in_flight == 0 && self.unsettled == 0 {
            let busy = self.lanes.iter().flatten().any(|lane| !lane.at_rest());
            if !busy {
                self.drained = true;
                self.outputs.push_back(Output::Drained);
            }
        }
    }

    fn wall_to_mono(&self, at: WallMs) -> Mono {
        self.now.mono.after(Duration::from_millis(at.0.saturating_sub(self.now.wall.0)))
    }
}
