//! Limits that this shard shares with others, as far as the machine goes: which freshly claimed messages they hold back, and
//! who claims nothing until they have room again. Whom a message is for only the driver knows: it asks the limits for each
//! claimed message.
//!
//! A budget that is used up closes all numbers of its portfolio to claims, not to what was admitted before. Nothing is asked
//! again until the instant that is known, or until control says that there may be room: so any number of messages waits at no
//! cost.

use std::sync::Arc;
use std::time::Duration;

use super::number::Number;
use super::{Held, Message, Mono, Shard, WallMs};
use crate::domain::contact::CapChoice;
use crate::domain::record::{Settlement, State};
use crate::policy::classify::table::own;

/// A budget that is used up is asked again no sooner: where people leave one after the other, many have left by then.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// The budget of a portfolio.
#[derive(Debug, Default)]
pub(super) struct Budget {
    /// Changes of it that are known here.
    changes: u64,
    /// It is used up until then, as far as is known.
    used_up: Option<Option<Mono>>,
}

impl<P> Shard<P> {
    /// Takes those out of freshly claimed messages that a shared limit does not admit now. What a budget holds is given back,
    /// what a person holds waits in its record or is suppressed.
    pub(super) fn without_held(&mut self, lane: usize, messages: Vec<Message<P>>) -> Vec<Message<P>> {
        if messages.iter().all(|message| message.held.is_none()) {
            return messages;
        }
        let (held, rest): (Vec<_>, Vec<_>) = messages.into_iter().partition(|message| message.held.is_some());
        for message in held {
            match message.held {
                Some(Held::Budget { until, changes }) => {
                    let number = self.lane(lane).number;
                    self.close_budget(number, until, changes);
                    self.give_back(lane, message.index, message.generation);
                }
                Some(Held::Pair { until }) => self.hold_until(lane, &message, own::PAIR_WAIT, until),
                Some(Held::Cap { .. }) if self.cap_of(lane) == CapChoice::Suppress => {
                    let Message { index, generation, attempt, .. } = message;
                    self.suppress(lane, (index, generation), attempt, own::CONTACT_CAP);
                }
                Some(Held::Cap { until }) => self.hold_until(lane, &message, own::CONTACT_CAP, until),
                None => {}
            }
        }
        rest
    }

    /// A message waits for its person, and for nobody else: it costs no attempt.
    fn hold_until(&mut self, lane: usize, message: &Message<P>, reason: u8, until: WallMs) {
        let (index, generation, attempt) = (message.index, message.generation, message.attempt);
        let state = State::Waiting;
        self.settle(lane, Settlement { index, generation, state, attempt, reason, due_ms: until.0 });
    }

    fn cap_of(&self, lane: usize) -> CapChoice {
        let campaign = self.lanes[lane].as_ref().and_then(|lane| self.campaigns.get(&lane.campaign()));
        campaign.map_or(CapChoice::Defer, |campaign| campaign.setup.cap)
    }

    /// A message of this number found its portfolio's budget used up.
    fn close_budget(&mut self, number: usize, until: Option<Mono>, changes: u64) {
        let Some(portfolio) = self.numbers[number].setup.portfolio.clone() else { return };
        let budget = self.budgets.entry(portfolio).or_default();
        // An answer from before the last change may have been overtaken by it: it must not close what that has opened.
        if changes >= budget.changes {
            budget.used_up = Some(until.map(|until| until.max(self.now.mono.after(ASK_AGAIN))));
        }
    }

    /// There may be room in a budget: its numbers claim again.
    pub(super) fn on_budget(&mut self, portfolio: Arc<str>, changes: u64) {
        for number in 0..self.numbers.len() {
            if self.numbers[number].setup.portfolio.as_ref() == Some(&portfolio) {
                self.mark(number);
            }
        }
        let budget = self.budgets.entry(portfolio).or_default();
        *budget = Budget { changes: changes.max(budget.changes), used_up: None };
    }

    /// Until when a number's portfolio has used up its budget, as far as is known; None: it has not.
    pub(super) fn used_up(&self, number: &Number<P>) -> Option<Option<Mono>> {
        let budget = self.budgets.get(number.setup.portfolio.as_ref()?)?;
        budget.used_up.filter(|until| until.is_none_or(|until| until > self.now.mono))
    }
}
