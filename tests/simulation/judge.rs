//! What must hold, looked at with every step: it knows what really happened at Meta, and believes nobody else.

use std::collections::VecDeque;

use carteiro::domain::receipt::{Outcome, Receipt, ReceiptKind};
use carteiro::domain::record::{Record, State};

use crate::lane_model::LaneModel;
use crate::node::Sent;
use crate::store::{CAMPAIGNS, LANES, NUMBERS, PER_LANE, Store, campaign_of};
use crate::world::SECOND_US;

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
}

#[derive(Debug)]
pub(crate) struct Judge {
    pub(crate) wrong: Option<String>,
    truths: Vec<Truth>,
    loaded_ms: Vec<Vec<u64>>,
    limits: Vec<usize>,
    arrivals: [VecDeque<u64>; NUMBERS],
    paused: [bool; CAMPAIGNS],
    closed: [Vec<(u64, u64)>; CAMPAIGNS],
}

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
            limits,
            arrivals: [const { VecDeque::new() }; NUMBERS],
            paused: [false; CAMPAIGNS],
            closed: [const { Vec::new() }; CAMPAIGNS],
        }
    }

    pub(crate) fn fail(&mut self, what: String) {
        self.wrong.get_or_insert(what);
    }

    pub(crate) fn loaded(&mut self, lane: usize, rows: usize, now_ms: u64) {
        let before = self.loaded_ms[lane].len();
        self.loaded_ms[lane].resize(before + rows, now_ms);
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
    pub(crate) fn fate(&mut self, sent: &Sent, given_up: bool) {
        if given_up {
            return;
        }
        let truth = &mut self.truths[at(sent.lane, sent.index)];
        truth.reached += 1;
        truth.generation = sent.generation;
        if truth.reached > 1 {
            self.fail(format!("lane {} index {}: a person got it twice", sent.lane, sent.index));
        }
    }

    /// A receipt was applied.
    pub(crate) fn received(&mut self, lane: usize, receipt: &Receipt, outcome: Outcome) {
        let truth = &mut self.truths[at(lane, receipt.index)];
        let positive = receipt.kind != ReceiptKind::Failed;
        truth.heard |= positive && truth.reached > 0 && truth.generation == receipt.generation;
        if outcome.nowhere {
            self.fail(format!("lane {lane}: a receipt of a message that is not there: {receipt:?}"));
        }
        if outcome.twice {
            self.fail(format!("lane {lane}: receipts say that it arrived twice: {receipt:?}"));
        }
    }

    /// Nothing of a lane is lost: what may be sent can be found, and all that was loaded is there.
    pub(crate) fn look_at(&mut self, lane: usize, model: &LaneModel) {
        if model.records.len() < self.loaded_ms[lane].len() {
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
                    State::Failed | State::InDoubt => !truth.heard,
                    State::Expired | State::Suppressed => truth.reached == 0,
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
