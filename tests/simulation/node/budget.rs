//! For whom a process had people counted, as `sender::admission` keeps it, and what control tells the machine of the
//! portfolio's budget, as `app::control::budget` does.

use std::collections::BTreeMap;
use std::sync::Arc;

use carteiro::domain::record::{Settlement, State};
use carteiro::policy::shard::{Blocked, Held, Input, LaneView, Message};

use crate::budget::{Counted, MARGIN_US};
use crate::budget_model::Answer;
use crate::contacts::person;
use crate::faults::Fault;
use crate::mutants::Mutant;
use crate::store::{Call, lane_id};
use crate::world::{SECOND_US, World, mono};

/// The portfolio of all numbers.
pub(super) const PORTFOLIO: &str = "portfolio";

/// What is used up is looked at again after this.
const LOOK_AGAIN_US: u64 = 5 * SECOND_US;

/// What a process knows of the budget.
#[derive(Clone, Debug, Default)]
pub(super) struct Reserved {
    /// Changes that it knows of.
    pub(super) changes: u64,
    /// What Meta said when it last looked.
    pub(super) said: Option<Option<u64>>,
    counted: BTreeMap<(usize, u32), Counted>,
    next_look: u64,
}

impl Reserved {
    /// Messages are about to be given back: whoever was counted for them.
    pub(super) fn unsent(&mut self, lane: usize, messages: &[(u32, u8)]) -> Vec<Counted> {
        messages.iter().filter_map(|(index, _)| self.counted.remove(&(lane, *index))).collect()
    }

    /// It is about to be written down what became of messages: whoever of them was certainly not written to.
    pub(super) fn settling(
        &mut self,
        lane: usize,
        settlements: &[Settlement],
        mutant: Option<Mutant>,
    ) -> Vec<Counted> {
        let mut back = Vec::new();
        for one in settlements {
            let unsent = matches!(one.state, State::Expired | State::Suppressed)
                || mutant == Some(Mutant::DoubtIsUncounted) && one.state == State::InDoubt;
            back.extend(self.counted.remove(&(lane, one.index)).filter(|_| unsent));
        }
        back
    }

    pub(super) fn forget(&mut self, lane: usize) {
        self.counted.retain(|(of, _), _| *of != lane);
    }
}

impl World {
    /// Messages were claimed and their people admit them: asks the budget for those.
    pub(super) fn count(&mut self, at: usize, lane: usize, messages: Vec<Message<()>>, view: LaneView) {
        let people: Vec<u64> =
            messages.iter().filter(|one| one.held.is_none()).map(|one| person(lane, one.index).0).collect();
        if self.store.budget.limit.is_none() || people.is_empty() {
            return self.input(at, Input::Claimed(lane_id(lane), Some((messages, view))));
        }
        let changes = self.nodes[at].reserved.changes;
        self.call(at, Call::Count { lane, messages, view, people, changes, began_us: self.now });
    }

    /// What the budget answered.
    pub(super) fn on_counted(&mut self, at: usize, call: &Call, (_, _, wait, scores): &Answer) {
        let Call::Count { lane, messages, view, people, changes, began_us } = call else { return };
        let mut messages = messages.clone();
        let until = u64::try_from(*wait).ok().map(|wait| mono(self.now + wait));
        let admitted_until = mono(began_us + MARGIN_US / 2);
        let asked = messages.iter_mut().filter(|one| one.held.is_none());
        for ((message, person), (score, before)) in asked.zip(people).zip(scores) {
            if *score > 0 {
                message.admit_until(admitted_until);
                let counted = (*person, *score, *before);
                self.nodes[at].reserved.counted.insert((*lane, message.index), counted);
            } else {
                self.tally.fault(Fault::BudgetUsedUp);
                message.held = Some(Held::Budget { until, changes: *changes });
            }
        }
        self.input(at, Input::Claimed(lane_id(*lane), Some((messages, *view))));
    }

    /// Takes people back, and tells the machine what it has waited for.
    pub(super) fn uncount(&mut self, at: usize, counted: Vec<Counted>, then: Input<()>) {
        if counted.is_empty() {
            return self.input(at, then);
        }
        self.call(at, Call::Uncount { counted, then });
    }

    /// Once a second: whether there is room again that nobody here has seen.
    pub(super) fn look_at_budget(&mut self, at: usize) {
        let node = &self.nodes[at];
        let waits = node.shard.numbers().any(|view| matches!(view.blocked, Some((Blocked::Budget, _))));
        if waits && node.reserved.next_look <= self.now {
            self.call(at, Call::LookAtBudget);
        }
    }

    pub(super) fn on_looked_at_budget(&mut self, at: usize, (used, most, wait, _): &Answer) {
        if *most < 0 || used < most {
            self.nodes[at].reserved.next_look = 0;
            return self.reopen(at);
        }
        let rest = u64::try_from(*wait).unwrap_or(LOOK_AGAIN_US).min(LOOK_AGAIN_US);
        self.nodes[at].reserved.next_look = self.now + rest;
    }

    /// Tells the machine what Meta says, if that is news.
    pub(super) fn tell_budget(&mut self, at: usize, said: Option<Option<u64>>) {
        if std::mem::replace(&mut self.nodes[at].reserved.said, said) != said {
            self.reopen(at);
        }
    }

    fn reopen(&mut self, at: usize) {
        self.nodes[at].reserved.changes += 1;
        let changes = self.nodes[at].reserved.changes;
        self.input(at, Input::Budget(Arc::from(PORTFOLIO), changes));
    }

    /// Meta says another number of people.
    pub(crate) fn say_people(&mut self, people: Option<u64>) {
        let before = self.store.budget.most();
        self.store.budget.say(people);
        let most = self.store.budget.most();
        if self.store.budget.limit.is_none() || most == before {
            return;
        }
        let lower = most.is_some_and(|most| before.is_none_or(|before| most < before));
        self.tally.fault(if lower { Fault::BudgetLowered } else { Fault::BudgetRaised });
        self.judge.budget(self.now, most);
        self.store.version += 1;
        self.announce();
    }
}
