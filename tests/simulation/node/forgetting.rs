//! A Redis that comes back without its last moments, and its writers, who say again what it had acknowledged, by
//! `queue::replay`. That holds while they live, so nobody dies, stands still or is cut off meanwhile. What operators
//! changed is not forgotten here: a command that has ended cannot say it again.

use carteiro::domain::record::Record;
use carteiro::queue::replay::{Held, Last, Move, Wrote};
use rand::RngExt;

use super::{Node, Phase, number_at};
use crate::faults::Fault;
use crate::mutants::Mutant;
use crate::plan::{CHUNK, Chaos, Deed, hashes_of, tag_of};
use crate::store::{LANES, lane_at, lane_id};
use crate::world::{Event, NODES, NodeEvent, Past, SECOND_US, World, mono};

impl Node {
    /// Keeps what Redis acknowledged.
    pub(crate) fn kept(&mut self, now: u64, lane: usize, wrote: Wrote) {
        self.recent.push(mono(now), lane_id(lane), wrote);
    }
}

impl World {
    pub(crate) fn remember(&mut self) {
        if self.store.up && !self.is_behind() {
            self.past =
                Some(Past { at: self.now, lanes: self.store.lanes.clone(), own: self.store.own.clone() });
        }
    }

    /// Redis dies and comes back as it was, if everybody who wrote since lives.
    pub(crate) fn forget(&mut self, rest: u64) {
        let Some(past) = self.past.take() else { return };
        let quiet = self.nodes.iter().filter(|node| node.alive());
        // One that is about to end may do so before it knows.
        let stays = |node: &Node| {
            node.phase != Phase::Leaving && node.frozen_until.max(node.cut_off_until) <= self.now
        };
        let mut quiet = quiet.map(stays);
        // Of two processes that both joined in what is forgotten neither is known to have been there.
        let known = past.own.snapshot().nodes;
        let some = self.nodes.iter().any(|node| node.alive() && known.contains_key(&node.name));
        if self.died_at > past.at || self.is_behind() || !self.store.up || !some || !quiet.all(|quiet| quiet)
        {
            return;
        }
        self.tally.fault(Fault::RedisForgot);
        (self.store.lanes, self.store.own) = (past.lanes, past.own);
        if self.mutant != Some(Mutant::NoGrace) {
            self.store.own.is_another();
        }
        self.store.epoch += 1;
        self.forgot_at = Some(self.now);
        for lane in 0..LANES {
            self.store.lanes[lane].lane.moved.clear();
            self.judge.unloaded(lane, self.store.lanes[lane].lane.count() as usize);
        }
        self.store.up = false;
        self.load_behind = true;
        self.later(rest, Event::Chaos(Chaos::RedisUp));
        let wait = self.rng.random_range(0..SECOND_US);
        self.later(rest + wait, Event::Deed(Deed::LoadAgain));
        for at in 0..NODES {
            // Who has nothing to ask looks once a second.
            let wait = self.rng.random_range(0..SECOND_US);
            self.node_later(at, rest + wait, NodeEvent::Touch);
        }
    }

    /// The load puts its chunks in their places again.
    pub(crate) fn load_again(&mut self) {
        let now_ms = self.wall_ms();
        for (lane, chunk) in self.appended.clone() {
            let count = self.store.lanes[lane].lane.count();
            if self.store.lanes[lane].lane.append(tag_of(lane, chunk), &hashes_of(chunk)) == Ok(count) {
                self.tally.fault(Fault::AppendForgotten);
                self.judge.loaded(lane, CHUNK, now_ms);
            }
        }
        self.load_behind = false;
    }

    /// Until then others may have to say what Redis forgot.
    pub(super) fn grace_ends(&self) -> u64 {
        let lease_us = u64::try_from(self.lease.as_micros()).unwrap();
        let forgot_at = self.forgot_at.filter(|_| self.mutant != Some(Mutant::NoGrace));
        forgot_at.map_or(0, |then| then + lease_us + SECOND_US)
    }

    pub(crate) fn is_synced(&self, at: usize) -> bool {
        self.nodes[at].epoch == self.store.epoch
    }

    /// Whether somebody has not yet said again what Redis forgot.
    pub(crate) fn is_behind(&self) -> bool {
        self.load_behind || (0..NODES).any(|at| self.nodes[at].alive() && !self.is_synced(at))
    }

    /// Says again what was acknowledged lately. False: chunks are missing that their load will put there again.
    pub(crate) fn write_again(&mut self, at: usize) -> bool {
        let again = self.nodes[at].recent.again();
        let (batches, now_ms) = (again.batches(), self.wall_ms());
        let missing = batches.iter().any(|batch| {
            let count = self.store.lanes[lane_at(batch.lane)].lane.count();
            let beyond = |one: &(u32, Last)| one.0 >= count && one.1.is_more_than_loaded();
            batch.held.is_some_and(|held| held.first >= count) || batch.messages.iter().any(beyond)
        });
        let missing = missing
            || again.receipts().any(|(lane, receipts, _)| {
                let count = self.store.lanes[lane_at(lane)].lane.count();
                receipts.iter().any(|one| one.index >= count)
            });
        if missing && self.mutant != Some(Mutant::ChunksAreNotAwaited) {
            return false;
        }
        self.nodes[at].epoch = self.store.epoch;
        if self.mutant == Some(Mutant::ForgottenStaysForgotten) {
            return true;
        }
        let moves: Vec<(usize, usize, usize)> = again
            .moves()
            .map(|(lane, Move { from, to, .. })| (lane_at(lane), number_at(from), number_at(to)))
            .collect();
        for (lane, from, to) in moves {
            if self.store.lanes[lane].number == from {
                self.tally.fault(Fault::MovedAgain);
                self.store.lanes[lane].number = to;
            }
        }
        for batch in batches {
            let lane = lane_at(batch.lane);
            if self.store.lanes[lane].lane.replay(&batch, now_ms) > 0 {
                self.tally.fault(Fault::WrittenAgain);
            }
            self.look_at(lane);
        }
        for (lane, receipts, _) in again.receipts() {
            for receipt in receipts {
                self.store.receive(lane_at(lane), *receipt);
            }
            self.look_at(lane_at(lane));
        }
        true
    }

    /// Keeps a claim, with the chunks that hold its messages.
    pub(super) fn keep_claim(
        &mut self,
        at: usize,
        lane: usize,
        call: (u64, u64),
        messages: &[(u32, Record)],
    ) {
        let model = &self.store.lanes[lane].lane;
        let held = |(index, _): &(u32, Record)| {
            let (first, rows) = model.chunks.range(..=*index).next_back()?;
            (*index < first + rows).then_some(())?;
            let tail = u32::try_from(model.rows[*first as usize]).unwrap().to_le_bytes();
            Some(Held { first: *first, rows: *rows, tail })
        };
        let mut chunks: Vec<Held> = messages.iter().filter_map(held).collect();
        chunks.dedup();
        let messages = messages.iter().map(|(index, one)| (*index, one.generation, one.attempt)).collect();
        self.nodes[at].kept(self.now, lane, Wrote::Claimed { call, messages, chunks });
    }

    /// Whether a process may send through a number although Redis does not know it: it forgot the grant, and nobody else
    /// has one.
    pub(super) fn owns_for_itself(&self, at: usize, number: usize) -> bool {
        let lease_us = u64::try_from(self.lease.as_micros()).unwrap();
        let lately = self.forgot_at.is_some_and(|then| self.now < then + 2 * lease_us);
        let number = &self.numbers[number];
        let holds = |other: usize| {
            let node = &self.nodes[other];
            node.alive() && node.gate_until > self.now && node.holdings.held.contains(number)
        };
        lately && (0..NODES).filter(|other| *other != at).all(|other| !holds(other))
    }
}
