//! The lease and the numbers that come and go, as `app::ownership` has it, on its own view of the division.

use std::time::Duration;

use carteiro::clock::Mono;
use carteiro::domain::ids::NumberId;
use carteiro::policy::shard::Input;
use carteiro::queue::owner::{Ask, Kept, Renewal, Snapshot};

use super::control::{News, Task};
use super::{Asked, Phase, number_at};
use crate::mutants::Mutant;
use crate::store::{BeatCall, Call};
use crate::world::{NodeEvent, SECOND_US, World, mono};

/// A lease is renewed so often within its time.
const BEATS_PER_LEASE: u32 = 4;

/// How long after the end of another process' lease we look for what it had.
const AFTER_END: Duration = Duration::from_millis(20);

impl World {
    pub(super) fn join(&mut self, at: usize) {
        self.nodes[at].phase = Phase::Joining;
        self.beat(at);
    }

    /// Makes a heartbeat, or another one after the one under way.
    pub(super) fn beat(&mut self, at: usize) {
        let (lease, now) = (self.lease, self.mono());
        let node = &mut self.nodes[at];
        if node.beating.is_some() {
            node.poked = true;
            return;
        }
        node.beat_serial += 1;
        node.beating = Some(now.0.as_micros().try_into().unwrap());
        let attached = matches!(node.phase, Phase::Running | Phase::Leaving);
        let last = node.drained;
        node.asked = if attached && !last { node.holdings.asks(&node.name) } else { Asked::default() };
        let state = &node.holdings;
        let ask = if state.outside { Ask::Join } else { Ask::Keep };
        let call = BeatCall {
            node: node.name.clone(),
            incarnation: state.incarnation.clone(),
            ask: if last { Ask::Leave } else { ask },
            lease,
            acknowledged: node.acknowledged,
            leaving: state.leaving,
            offers: (state.offered.as_ref() != Some(&state.offers)).then(|| state.offers.clone()),
            revision: state.revision,
            give_back: state
                .give_back
                .iter()
                .map(|(id, next)| (id.clone(), next.map(|next| next.since(now))))
                .collect(),
            take: node.asked.numbers.clone(),
        };
        self.call(at, Call::Beat(Box::new(call)));
    }

    pub(super) fn beat_in(&mut self, at: usize, wait_us: u64) {
        let node = &mut self.nodes[at];
        node.beat_serial += 1;
        let serial = node.beat_serial;
        self.node_later(at, wait_us, NodeEvent::Beat(serial));
    }

    /// What came of the heartbeat, which gave back what is said and was sent then.
    pub(super) fn on_renewal(&mut self, at: usize, call: &BeatCall, renewal: Renewal) {
        let Some(sent) = self.nodes[at].beating.take() else { return };
        if call.ask == Ask::Leave {
            return self.end(at);
        }
        let more = match renewal {
            Renewal::Held(left) => {
                let wait = u64::try_from((left + AFTER_END).as_micros()).unwrap();
                return self.beat_in(at, wait);
            }
            Renewal::Gone => {
                self.lose_everything(at);
                true
            }
            Renewal::Kept(kept) => {
                let node = &mut self.nodes[at];
                for (number, _) in &call.give_back {
                    node.holdings.give_back.remove(number);
                }
                if call.offers.is_some() {
                    node.holdings.offered.clone_from(&call.offers);
                }
                let token = kept.token;
                let more = self.go_on(at, kept);
                self.renewed(at, sent, token);
                more
            }
        };
        if !self.nodes[at].alive() {
            return;
        }
        if self.nodes[at].phase == Phase::Joining && !self.nodes[at].holdings.outside {
            self.nodes[at].phase = Phase::Running;
            self.node_later(at, SECOND_US, NodeEvent::Round);
            self.node_later(at, SECOND_US, NodeEvent::Doubts);
            self.add_task(at, Task::Look);
            return self.beat(at);
        }
        self.refreshed(at);
        self.look_whether_left(at);
        if more || std::mem::take(&mut self.nodes[at].poked) {
            return self.beat(at);
        }
        let usual = self.lease / BEATS_PER_LEASE;
        let end = self.nodes[at].holdings.next_end.map(|end| end + AFTER_END);
        let pause = end.map_or(usual, |end| usual.min(end));
        self.beat_in(at, u64::try_from(pause.as_micros()).unwrap());
    }

    fn margin(&self) -> Duration {
        (self.lease / 10).min(Duration::from_secs(1))
    }

    fn renewed(&mut self, at: usize, sent: u64, token: u64) {
        let until = mono(sent).after(self.lease - self.margin());
        let node = &mut self.nodes[at];
        node.token = node.token.max(token);
        node.lease_until = u64::try_from(until.0.as_micros()).unwrap();
        self.tell_lease(at);
    }

    /// Tells the machine how long the lease lasts, unless it still believes that something is ours which is not.
    fn tell_lease(&mut self, at: usize) {
        let node = &mut self.nodes[at];
        if node.holdings.misled() || node.lease_until == 0 {
            return;
        }
        node.gate_until = node.lease_until;
        let until = if self.mutant == Some(Mutant::LeaseIsIgnored) { u64::MAX / 2 } else { node.lease_until };
        self.input(at, Input::Lease(mono(until)));
    }

    /// Acts on an answer. True: there is more to say at once.
    fn go_on(&mut self, at: usize, kept: Kept) -> bool {
        let (now, mutant) = (self.mono(), self.mutant);
        let node = &mut self.nodes[at];
        let asked = std::mem::take(&mut node.asked);
        let (name, state) = (node.name.clone(), &mut node.holdings);
        (state.outside, state.next_end, state.revision) = (false, kept.next_end, Some(kept.revision));
        if let Some(snapshot) = kept.snapshot {
            state.snapshot = snapshot;
        }
        let taken = if state.leaving { Vec::new() } else { kept.taken };
        let mut news = Vec::new();
        for taken in taken {
            if state.held.insert(taken.number.clone()) {
                let next = asked.whole(&taken).then(|| now.after(taken.wait));
                news.push(News::Gained(number_at(&taken.number), next));
            }
        }
        for number in state.lost(&name) {
            state.part_with(&number, true);
            news.push(News::Drop(number));
        }
        for number in state.surplus(&name) {
            state.part_with(&number, false);
            news.push(News::Drop(number));
        }
        if mutant != Some(Mutant::StraysAreKept) {
            for number in state.strays(&name) {
                state.give_back.insert(number, None);
            }
        }
        news.into_iter().for_each(|news| self.tell_news(at, news));
        let node = &self.nodes[at];
        let attached = matches!(node.phase, Phase::Running | Phase::Leaving);
        attached && node.holdings.more(&name, &asked)
    }

    /// The lease ended, and somebody noticed: nothing is ours until we have joined again.
    fn lose_everything(&mut self, at: usize) {
        let life = self.nodes[at].life;
        let node = &mut self.nodes[at];
        node.life_of_lease += 1;
        let state = &mut node.holdings;
        let held: Vec<NumberId> = state.held.iter().cloned().collect();
        held.iter().for_each(|number| state.part_with(number, true));
        state.dropping.values_mut().for_each(|lost| *lost = true);
        state.give_back.clear();
        let incarnation = format!("i{at}x{life}x{}", node.life_of_lease);
        (state.outside, state.incarnation) = (true, incarnation);
        (state.revision, state.snapshot, state.offered) = (None, Snapshot::default(), None);
        held.into_iter().for_each(|number| self.tell_news(at, News::Drop(number)));
    }

    /// Has the machine let go of a number.
    pub(super) fn part_with(&mut self, at: usize, number: &NumberId) {
        let index = number_at(number);
        let node = &mut self.nodes[at];
        let lost = node.holdings.dropping.get(number) == Some(&true);
        let known = node.owned.remove(&index);
        let moving = &node.moving;
        node.lanes.retain(|lane, of| *of != index || (!lost && moving.contains_key(lane)));
        node.told_numbers[index] = None;
        if known {
            self.input(at, Input::DropNumber(number.clone()));
        } else {
            node.holdings.dropping.remove(number);
        }
        let node = &mut self.nodes[at];
        let before = node.holdings.misled();
        node.holdings.untold.remove(number);
        if before {
            self.tell_lease(at);
        }
    }

    /// Nothing of a number is under way any more.
    pub(super) fn on_number_dropped(&mut self, at: usize, number: NumberId, next: Mono) {
        let state = &mut self.nodes[at].holdings;
        if state.dropping.remove(&number) == Some(false) {
            state.give_back.insert(number, Some(next));
        }
        self.beat_in(at, 0);
    }

    /// The machine has acted on everything up to this version.
    pub(super) fn acknowledge(&mut self, at: usize, version: u64) {
        let node = &mut self.nodes[at];
        if version > node.acknowledged {
            node.acknowledged = version;
            self.beat(at);
        }
    }

    /// Begins to leave: numbers go one by one, then the machine is drained.
    pub(super) fn leave(&mut self, at: usize) {
        let node = &mut self.nodes[at];
        if node.phase != Phase::Running {
            return;
        }
        self.tally.fault(crate::faults::Fault::RestartedGracefully);
        node.phase = Phase::Leaving;
        node.holdings.leaving = true;
        let held: Vec<NumberId> = node.holdings.held.iter().cloned().collect();
        held.iter().for_each(|number| node.holdings.part_with(number, false));
        for number in &held {
            self.part_with(at, number);
        }
        self.beat(at);
    }

    fn look_whether_left(&mut self, at: usize) {
        let node = &mut self.nodes[at];
        let state = &node.holdings;
        let empty = state.held.is_empty() && state.dropping.is_empty() && state.give_back.is_empty();
        if node.phase == Phase::Leaving && empty && !std::mem::replace(&mut node.draining, true) {
            self.input(at, Input::Drain);
        }
    }

    /// The machine is drained: the last word to Redis.
    pub(super) fn leave_at_last(&mut self, at: usize) {
        let node = &mut self.nodes[at];
        node.drained = true;
        self.beat_in(at, 0);
    }

    fn end(&mut self, at: usize) {
        self.kill(at);
    }
}
