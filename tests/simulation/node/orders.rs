//! Calls to Redis, as `sender::orders` and `queue::link` have them: made again until they are answered, in the same words.
//! An answer may be lost on its way, and a copy of a call may come late.

use std::rc::Rc;

use carteiro::clock::WallMs;
use carteiro::domain::campaign::Priority;
use carteiro::domain::contact::RESERVED_MAX;
use carteiro::domain::record::{Record, Settlement, State};
use carteiro::policy::contacts::{Hold, Rule};
use carteiro::policy::shard::{Held, Input, Message};
use carteiro::queue::lane::Standing;
use carteiro::queue::replay::{Move, Wrote};
use carteiro::sender::contacts::not_taken;
use rand::RngExt;

use super::{Pending, Phase, view};
use crate::budget::Counted;
use crate::faults::Fault;
use crate::lane_model::Refused;
use crate::mutants::Mutant;
use crate::store::{Answer, Call, Left, lane_id};
use crate::world::{Event, NodeEvent, SECOND_US, World, mono};

impl World {
    /// Makes a call to Redis, again and again until it has answered.
    pub(super) fn call(&mut self, at: usize, call: Call) {
        let node = &mut self.nodes[at];
        let pending = Some(Pending { call: Rc::new(call), tries: 0 });
        let id = match node.free.pop() {
            Some(id) => {
                node.calls[id as usize] = pending;
                id
            }
            None => {
                node.calls.push(pending);
                u32::try_from(node.calls.len() - 1).unwrap()
            }
        };
        self.dispatch(at, id);
    }

    pub(super) fn dispatch(&mut self, at: usize, id: u32) {
        let Some(pending) = &self.nodes[at].calls[id as usize] else { return };
        let (call, life) = (pending.call.clone(), self.nodes[at].life);
        let (sent_ms, epoch) = (self.wall_ms(), self.store.epoch);
        let (way, twice) = (self.rng.random_range(100..1_500), self.ratios.call_twice);
        if !matches!(*call, Call::Beat(_) | Call::Look) && self.per_mille(twice) {
            let late = self.rng.random_range(0..4 * SECOND_US);
            let copy = Event::Arrive { from: (at, life), id: None, call: call.clone(), sent_ms, epoch };
            self.later(way + late, copy);
        }
        self.later(way, Event::Arrive { from: (at, life), id: Some(id), call, sent_ms, epoch });
    }

    /// A call arrives at Redis, or does not; what comes of it is on its way back.
    pub(crate) fn arrive(
        &mut self,
        (at, life): (usize, u32),
        id: Option<u32>,
        call: &Call,
        (sent_ms, epoch): (u64, u32),
    ) {
        let gone = !self.store.up || epoch != self.store.epoch || self.nodes[at].cut_off_until > self.now;
        // The ownership has a link of its own, with nothing to say again.
        let ready = |world: &mut Self| {
            let ours = world.nodes[at].life == life && !matches!(call, Call::Beat(_));
            !ours || world.is_synced(at) || world.write_again(at)
        };
        if gone || !ready(self) {
            if let Some(id) = id {
                let wait = self.rng.random_range(1_000..300_000);
                self.later(wait, Event::Node(at, life, NodeEvent::Failed(id)));
            }
            return;
        }
        if let Call::Adopt { lane, known, .. } = call
            && self.now < self.grace_ends()
            && Some(self.store.lanes[*lane].lane.token) != *known
        {
            self.tally.fault(Fault::OthersAwaited);
            let until = self.grace_ends();
            let again = id.map(|id| Event::Node(at, life, NodeEvent::Again(id)));
            return again.into_iter().for_each(|again| self.at(until, again));
        }
        self.count_late(call);
        let version = self.store.version;
        let answer = self.store.run(call, sent_ms, self.now, id.is_none());
        if let Call::Adopt { lane, .. }
        | Call::Sweep { lane, .. }
        | Call::Claim { lane, .. }
        | Call::Release { lane, .. }
        | Call::Unsent { lane, .. }
        | Call::Settle { lane, .. }
        | Call::EndDoubts { lane, .. } = call
        {
            self.look_at(*lane);
        }
        if self.store.version != version {
            self.announce();
        }
        let Some(id) = id else { return self.tally.fault(Fault::CallCameTwice) };
        let lost = self.ratios.answer_lost;
        let (wait, event) = if self.chance(lost, Fault::RedisAnswerLost) {
            if matches!(call, Call::Claim { .. }) {
                self.tally.fault(Fault::ClaimAnswerLost);
            }
            (self.rng.random_range(10_000..500_000), NodeEvent::Failed(id))
        } else {
            (self.rng.random_range(100..1_500), NodeEvent::Answer(id, Box::new(answer)))
        };
        self.later(wait, Event::Node(at, life, event));
    }

    /// Counts what is asked again, or too late.
    fn count_late(&mut self, call: &Call) {
        match call {
            Call::Claim { lane, token, request, .. } => {
                let lane = &self.store.lanes[*lane].lane;
                if lane.token == *token && lane.request == *request {
                    self.tally.fault(Fault::ClaimAskedAgain);
                }
            }
            Call::Release { lane, messages, .. }
                if messages.iter().any(|one| self.store.is_another_claim(*lane, *one)) =>
            {
                self.tally.fault(Fault::ReleaseTooLate);
            }
            Call::Uncount { counted, .. } => {
                let late = self.store.budget.is_too_late(self.now, counted);
                self.tally.fault(if late { Fault::UncountedTooLate } else { Fault::Uncounted });
            }
            _ => {}
        }
    }

    pub(super) fn on_failed(&mut self, at: usize, id: u32) {
        let node = &mut self.nodes[at];
        let Some(pending) = node.calls[id as usize].as_mut() else { return };
        pending.tries += 1;
        let pause_ms = (20u64 << pending.tries.min(6)).min(1_000);
        if matches!(*pending.call, Call::Beat(_)) {
            self.finish(at, id);
            self.nodes[at].beating = None;
            self.beat_in(at, pause_ms * 1_000);
        } else {
            self.node_later(at, pause_ms * 1_000, NodeEvent::Again(id));
        }
        if std::mem::replace(&mut self.nodes[at].redis_up, false) {
            self.input(at, Input::Redis(false));
        }
    }

    pub(super) fn finish(&mut self, at: usize, id: u32) -> Option<Rc<Call>> {
        let call = self.nodes[at].calls[id as usize].take()?.call;
        self.nodes[at].free.push(id);
        Some(call)
    }

    pub(super) fn on_answer(&mut self, at: usize, id: u32, answer: Answer) {
        let Some(call) = self.finish(at, id) else { return };
        if !std::mem::replace(&mut self.nodes[at].redis_up, true) {
            self.input(at, Input::Redis(true));
        }
        match (&*call, answer) {
            (Call::Beat(call), Answer::Beat(renewal)) => self.on_renewal(at, call, renewal),
            (Call::Adopt { lane, token, .. }, Answer::Adopted(adopted)) => {
                self.on_adopted(at, (*lane, *token), adopted)
            }
            (Call::Sweep { .. }, _) => self.on_swept(at),
            (Call::Claim { lane, number, token, request, .. }, Answer::Claimed(Ok((claimed, standing)))) => {
                let (lane, number, began_us) = (*lane, *number, self.now);
                self.keep_claim(at, lane, (*token, *request), &claimed);
                if claimed.is_empty() {
                    let nothing = (Vec::new(), view(standing));
                    return self.input(at, Input::Claimed(lane_id(lane), Some(nothing)));
                }
                self.call(at, Call::Admit { lane, number, claimed, standing, began_us });
            }
            (Call::Claim { lane, .. }, Answer::Claimed(Err(_))) => {
                self.input(at, Input::Claimed(lane_id(*lane), None));
            }
            (Call::Admit { .. }, Answer::Admitted(holds)) => self.on_admitted(at, &call, holds),
            (Call::Count { .. }, Answer::Budget(answer)) => self.on_counted(at, &call, &answer),
            (Call::Uncount { then, .. }, _) => self.input(at, then.clone()),
            (Call::LookAtBudget, Answer::Budget(answer)) => self.on_looked_at_budget(at, &answer),
            (Call::TakeBack { then, .. }, _) => self.call(at, (**then).clone()),
            (Call::Release { lane, token, messages, request, counted }, Answer::Released(released)) => {
                if released.is_ok() && self.nodes[at].phase != Phase::Starting {
                    let (token, request, messages) = (*token, *request, messages.clone());
                    self.nodes[at].kept(self.now, *lane, Wrote::Released { token, request, messages });
                }
                self.on_released(at, *lane, (messages, counted), released)
            }
            (Call::Doubts(_), Answer::Doubts(all)) => self.on_doubts(at, all),
            (Call::Unsent { lane, counted, .. }, _) => {
                self.uncount(at, counted.clone(), Input::Released(lane_id(*lane), None));
            }
            (Call::Settle { lane, settlements, counted }, _) => {
                self.nodes[at].kept(self.now, *lane, Wrote::Settled(settlements.clone()));
                self.uncount(at, counted.clone(), Input::Settled(lane_id(*lane), settlements.len()));
            }
            (Call::LastRun { .. }, Answer::LastRun(left)) => self.on_last_run(at, left),
            (Call::Look, Answer::Look(seen)) => self.on_view(at, &seen),
            (Call::Reassign { lane, from, to }, _) => {
                let numbers = [from, to].map(|number| self.numbers[*number].clone());
                let [from, to_id] = numbers;
                let order = Move { from, to: to_id, priority: Priority::Normal };
                self.nodes[at].kept(self.now, *lane, Wrote::Moved(order));
                self.on_reassigned(at, *lane, *to);
            }
            (_, _) => {}
        }
    }

    /// Asks the budget for messages whose people admit them.
    fn on_admitted(&mut self, at: usize, call: &Call, holds: Vec<Option<Hold>>) {
        let Call::Admit { lane, claimed, standing, began_us, .. } = call else { return };
        let until = mono(*began_us).after(RESERVED_MAX);
        let one = |((index, record), hold): (&(u32, Record), Option<Hold>)| {
            let mut message = Message {
                index: *index,
                generation: record.generation,
                attempt: record.attempt,
                loaded_at: WallMs(self.judge.loaded_ms(*lane, *index)),
                stopped: None,
                held: hold.map(held),
                admitted_until: None,
                payload: (),
            };
            message.admit_until(until);
            message
        };
        let messages: Vec<Message<()>> = claimed.iter().zip(holds).map(one).collect();
        for message in &messages {
            match message.held {
                Some(Held::Pair { .. }) => self.tally.fault(Fault::PairHeld),
                Some(_) => self.tally.fault(Fault::PersonHeld),
                None => {}
            }
        }
        self.count(at, *lane, messages, view(*standing));
    }

    /// Takes contacts back before their messages can be claimed anew.
    pub(super) fn take_back(&mut self, at: usize, lane: usize, messages: Vec<(u32, u8)>, then: Call) {
        if messages.is_empty() {
            return self.call(at, then);
        }
        self.call(at, Call::TakeBack { lane, messages, then: Box::new(then) });
    }

    pub(super) fn was_not_taken(&self, settlement: &Settlement) -> bool {
        let doubt = self.mutant == Some(Mutant::DoubtIsNoContact) && settlement.state == State::InDoubt;
        doubt || not_taken(settlement)
    }

    fn on_released(
        &mut self,
        at: usize,
        lane: usize,
        (messages, counted): (&[(u32, u8)], &[Counted]),
        released: Result<Standing, Refused>,
    ) {
        if self.nodes[at].phase == Phase::Starting {
            return self.one_less_to_release(at);
        }
        if released == Err(Refused::Fenced) {
            // Its new owner could not know that they never left, and put them in doubt.
            let (messages, counted) = (messages.to_vec(), counted.to_vec());
            return self.call(at, Call::Unsent { lane, messages, counted });
        }
        self.uncount(at, counted.to_vec(), Input::Released(lane_id(lane), released.ok().map(view)));
    }

    /// Gives back, in its name, what the last run certainly never began.
    fn on_last_run(&mut self, at: usize, left: Vec<Left>) {
        let Some(last) = self.nodes[at].last.take() else { return };
        let begun = |lane: usize, one: &(u32, u8)| {
            last.begun.contains(&(lane, one.0, one.1)) && self.mutant != Some(Mutant::BegunIsGivenBack)
        };
        let mut calls = Vec::new();
        for Left { lane, token, request, mut messages } in left {
            messages.retain(|one| !begun(lane, one));
            if !messages.is_empty() {
                calls.push(Call::Release {
                    lane,
                    token,
                    request: request + 1,
                    messages,
                    counted: Vec::new(),
                });
            }
        }
        self.nodes[at].releasing = calls.len() + 1;
        calls.into_iter().for_each(|call| self.call(at, call));
        self.one_less_to_release(at);
    }

    fn one_less_to_release(&mut self, at: usize) {
        self.nodes[at].releasing -= 1;
        if self.nodes[at].releasing == 0 {
            self.join(at);
        }
    }
}

fn held(hold: Hold) -> Held {
    let until = WallMs(hold.until_ms);
    match hold.rule {
        Rule::Pair => Held::Pair { until },
        Rule::Cap => Held::Cap { until },
    }
}
