//! What must hold, looked at with every step: it knows what really happened at Meta, and believes nobody else.

use std::collections::{BTreeMap, VecDeque};

use carteiro::domain::receipt::{Outcome, Receipt, ReceiptKind};
use carteiro::domain::record::{Record, State};

use crate::budget::Witness;
use crate::contacts::person;
use crate::lane_model::LaneModel;
use crate::node::Sent;
use crate::store::{CAMPAIGNS, LANES, NUMBERS, PER_LANE, Store, campaign_of};
use crate::world::SECOND_US;

/// What Meta probably did not take is tried again after this at the earliest: the error table's wait.
const DOUBTFUL_WAIT_MS: u64 = 60_000;

/// What really became of one message.
#[derive(Clone, Copy, Debug, Default)]
struct Truth {
    /// Requests of it that left.
    written: u32,
    /// How often the person got it.
    reached: u32,
    /// A positive receipt of an attempt that reached the person was applied.
    heard: bool,
    /// Generation of the attempt that reached the person.
    generation: u8,
    /// How often it may reach the person once more: a doubt was over, by the rules.
    pardoned: u32,
}

#[derive(Debug)]
pub(crate) struct Judge {
    pub(crate) wrong: Option<String>,
    truths: Vec<Truth>,
    loaded_ms: Vec<Vec<u64>>,
    /// Rows that must be there.
    there: [usize; LANES],
    limits: Vec<usize>,
    arrivals: [VecDeque<u64>; NUMBERS],
    /// The latest send of each number of which a receipt was applied, in wall ms.
    heard_ms: [u64; NUMBERS],
    paused: [bool; CAMPAIGNS],
    closed: [Vec<(u64, u64)>; CAMPAIGNS],
    /// When each message reached its person, by person.
    contacts: BTreeMap<u64, Vec<(usize, u64)>>,
    witness: Witness,
}

/// Between two messages to a person: a day less the time for which a process may stand still, within its lease, between its
/// last look and its first byte.
const DAY_LEAST_US: u64 = 18 * SECOND_US;

fn at(lane: usize, index: u32) -> usize {
    lane * PER_LANE + index as usize
}

impl Judge {
    pub(crate) fn new(rates: &[f64]) -> Self {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small whole rates")]
        let limits = rates.iter().map(|rate| *rate as usize).collect();
        Self {
            wrong: None,
            truths: vec![Truth::default(); LANES * PER_LANE],
            loaded_ms: vec![Vec::new(); LANES],
            there: [0; LANES],
            limits,
            arrivals: [const { VecDeque::new() }; NUMBERS],
            heard_ms: [0; NUMBERS],
            paused: [false; CAMPAIGNS],
            closed: [const { Vec::new() }; CAMPAIGNS],
            contacts: BTreeMap::new(),
            witness: Witness::default(),
        }
    }

    pub(crate) fn fail(&mut self, what: String) {
        self.wrong.get_or_insert(what);
    }

    pub(crate) fn loaded(&mut self, lane: usize, rows: usize, now_ms: u64) {
        self.there[lane] += rows;
        let count = self.there[lane].max(self.loaded_ms[lane].len());
        self.loaded_ms[lane].resize(count, now_ms);
    }

    pub(crate) fn loaded_ms(&self, lane: usize, index: u32) -> u64 {
        self.loaded_ms[lane][index as usize]
    }

    pub(crate) fn paused(&mut self, campaign: usize) {
        self.paused[campaign] = true;
    }

    pub(crate) fn resumed(&mut self, campaign: usize) {
        self.paused[campaign] = false;
    }

    pub(crate) fn close(&mut self, campaign: usize, from: u64, to: u64) {
        self.closed[campaign].push((from / 1000 * 1000, to / 1000 * 1000));
    }

    /// Whether a campaign may send, and until when that holds.
    pub(crate) fn hours(&self, campaign: usize, now: u64) -> (bool, Option<u64>) {
        let spans = &self.closed[campaign];
        let within = |(from, to): &&(u64, u64)| *from <= now && now < *to;
        match spans.iter().filter(within).map(|(_, to)| *to).max() {
            Some(until) => (false, Some(until)),
            None => (true, spans.iter().map(|(from, _)| *from).filter(|from| *from > now).min()),
        }
    }

    /// From now on the portfolio may write to so many people.
    pub(crate) fn budget(&mut self, now: u64, most: Option<u64>) {
        self.witness.limit(now, most);
    }

    /// A machine orders a message to be sent.
    pub(crate) fn decided(&mut self, now: u64, node: usize, lane: usize) {
        let campaign = campaign_of(lane);
        if !self.hours(campaign, now).0 {
            self.fail(format!("process {node} sends campaign {campaign} outside its hours"));
        }
    }

    /// The first byte of a request leaves.
    pub(crate) fn written(&mut self, sent: &Sent, owner: bool, record: Option<&Record>) {
        let Sent { node, lane, index, generation, number, .. } = *sent;
        let who = format!("lane {lane} index {index} generation {generation} by process {node}");
        if !owner {
            self.fail(format!("{who}: number {number} is not its own"));
        }
        if self.paused[campaign_of(lane)] {
            self.fail(format!("{who}: sent after the pause had returned"));
        }
        match record {
            Some(record) if record.generation < generation => {
                self.fail(format!("{who}: sent without a claim: {record:?}"));
            }
            Some(record) if record.generation == generation && record.state.claimable() => {
                self.fail(format!("{who}: sent although it may be claimed by another: {record:?}"));
            }
            Some(_) => self.truths[at(lane, index)].written += 1,
            None => self.fail(format!("{who}: there is no such message")),
        }
    }

    /// A request arrived at Meta.
    pub(crate) fn arrived(&mut self, now: u64, sent: &Sent) {
        let (limit, arrivals) = (self.limits[sent.number], &mut self.arrivals[sent.number]);
        arrivals.push_back(now);
        if arrivals.len() > limit {
            let first = arrivals.pop_front().unwrap_or_default();
            if now - first < SECOND_US {
                let number = sent.number;
                self.fail(format!("number {number}: more than {limit} requests in one second"));
            }
        }
    }

    /// What becomes of a message that Meta took.
    pub(crate) fn fate(&mut self, now: u64, sent: &Sent, given_up: bool) {
        let contacts = self.contacts.entry(person(sent.lane, sent.index).0).or_default();
        let others = contacts.iter().filter(|(lane, _)| *lane != sent.lane);
        let last = others.map(|(_, at)| *at).max();
        contacts.push((sent.lane, now));
        if let Some(last) = last.filter(|last| now - last < DAY_LEAST_US) {
            let who = format!("lane {} index {}", sent.lane, sent.index);
            self.fail(format!("{who}: its person was written to {:.3} s before", (now - last) as f64 / 1e6));
        }
        if let Some((people, most)) = self.witness.take(now, person(sent.lane, sent.index).0) {
            self.fail(format!("{people} people were written to within a window, and {most} may be"));
        }
        if given_up {
            return;
        }
        let truth = &mut self.truths[at(sent.lane, sent.index)];
        truth.reached += 1;
        truth.generation = sent.generation;
        if truth.reached > 1 + truth.pardoned {
            self.fail(format!("lane {} index {}: a person got it twice", sent.lane, sent.index));
        }
    }

    /// A message in doubt since then is sent again: not before its wait, and not while receipts are silent.
    pub(crate) fn sent_again(
        &mut self,
        (lane, index): (usize, u32),
        number: usize,
        since_ms: u64,
        now_ms: u64,
    ) {
        let truth = &mut self.truths[at(lane, index)];
        truth.pardoned += truth.reached.min(1);
        let (heard, waited_ms) = (truth.heard, now_ms - since_ms);
        if heard {
            self.fail(format!("lane {lane} index {index}: sent again although its receipt had come"));
        }
        if waited_ms < DOUBTFUL_WAIT_MS || self.heard_ms[number] <= since_ms {
            let heard_ms = self.heard_ms[number];
            self.fail(format!(
                "lane {lane} index {index}: in doubt since {since_ms}, sent again after {waited_ms} ms, number {number} \
                 heard of {heard_ms}"
            ));
        }
    }

    /// Redis has forgotten what was loaded beyond this.
    pub(crate) fn unloaded(&mut self, lane: usize, rows: usize) {
        self.there[lane] = rows;
    }

    /// A request leaves before its process knows that Redis forgot who claimed it.
    pub(crate) fn written_unseen(&mut self, sent: &Sent) {
        self.truths[at(sent.lane, sent.index)].written += 1;
    }

    /// A receipt was applied.
    pub(crate) fn received(
        &mut self,
        (lane, number): (usize, usize),
        sent_ms: u64,
        receipt: &Receipt,
        outcome: Outcome,
    ) {
        self.heard_ms[number] = self.heard_ms[number].max(sent_ms);
        let truth = &mut self.truths[at(lane, receipt.index)];
        let positive = receipt.kind != ReceiptKind::Failed;
        let pardoned = truth.pardoned > 0;
        truth.heard |= positive && truth.reached > 0 && truth.generation == receipt.generation;
        if outcome.nowhere {
            self.fail(format!("lane {lane}: a receipt of a message that is not there: {receipt:?}"));
        }
        if outcome.twice && !pardoned {
            self.fail(format!("lane {lane}: receipts say that it arrived twice: {receipt:?}"));
        }
    }

    /// Nothing of a lane is lost: what may be sent can be found, and all that was loaded is there.
    pub(crate) fn look_at(&mut self, lane: usize, model: &LaneModel) {
        if model.records.len() < self.there[lane] {
            self.fail(format!("lane {lane}: loaded messages are gone"));
        }
        for (index, record) in (0u32..).zip(&model.records) {
            let found = match record.state {
                State::Queued => {
                    *record == Record::FRESH && index >= model.next || model.retry.contains_key(&index)
                }
                State::Waiting => model.retry.contains_key(&index),
                _ => true,
            };
            if !found {
                self.fail(format!("lane {lane} index {index}: nobody will ever claim it: {record:?}"));
            }
        }
    }

    /// When everything has come to its end.
    pub(crate) fn at_the_end(&mut self, store: &Store) {
        for (lane, stored) in store.lanes.iter().enumerate() {
            if stored.lane.count() as usize != PER_LANE {
                self.fail(format!("lane {lane}: {} of {PER_LANE} messages", stored.lane.count()));
            }
            for (index, record) in (0u32..).zip(&stored.lane.records) {
                let truth = self.truths[at(lane, index)];
                let right = match record.state {
                    State::Accepted | State::Held => truth.written > 0,
                    State::Failed | State::Unresolved => !truth.heard,
                    State::Expired | State::Suppressed => truth.reached <= truth.pardoned,
                    _ => false,
                };
                if !right {
                    self.fail(format!(
                        "lane {lane} index {index}: it ends as {record:?}, and in truth {truth:?}"
                    ));
                }
            }
        }
    }
}
