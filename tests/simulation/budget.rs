//! The budget of the portfolio that all numbers are of, in half of the runs: whom Redis counts, by the model against which
//! the queue's tests hold its script, and whom Meta saw. What Meta says of it changes while it is used.
//!
//! A Redis that forgets its last moments keeps whom it counted: nothing promises that they are counted again.

use std::collections::{BTreeMap, VecDeque};

use crate::budget_model::{Answer, BudgetModel};
use crate::mutants::Mutant;
use crate::world::SECOND_US;

/// A short day, so that whoever waits is written to before the run ends.
pub(crate) const WINDOW_US: u64 = 20 * SECOND_US;

/// So much longer a person is counted: a process may stand still for its lease between its last look and its first byte.
pub(crate) const MARGIN_US: u64 = 12 * SECOND_US;

/// Whoever was counted before the budget was lowered is free while they are tried again in time: so long the judge still
/// goes by what it was before.
const LOWERED_FOR_US: u64 = 4 * (WINDOW_US + MARGIN_US);

/// What the configuration allows, or Meta says.
pub(crate) const LIMITS: [u64; 3] = [30, 50, 80];

/// A person who was counted: who, the score that the send has, and the one before.
pub(crate) type Counted = (u64, u64, u64);

/// The budget as Redis keeps it.
#[derive(Debug, Default)]
pub(crate) struct Portfolio {
    /// What the configuration allows; None: no account has a budget.
    pub(crate) limit: Option<u64>,
    model: BudgetModel,
    mutant: Option<Mutant>,
}

impl Portfolio {
    pub(crate) fn new(limit: Option<u64>, mutant: Option<Mutant>) -> Self {
        Self { limit, model: BudgetModel::default(), mutant }
    }

    pub(crate) fn said(&self) -> Option<Option<u64>> {
        self.model.said
    }

    pub(crate) fn say(&mut self, people: Option<u64>) {
        self.model.said = Some(people);
    }

    /// How many it may be at this moment.
    pub(crate) fn most(&self) -> Option<u64> {
        [self.limit, self.model.said.flatten()].into_iter().flatten().min()
    }

    fn window(&self) -> u64 {
        if self.mutant == Some(Mutant::BudgetHasNoMargin) { WINDOW_US } else { WINDOW_US + MARGIN_US }
    }

    pub(crate) fn take(&mut self, now: u64, people: &[u64]) -> Answer {
        let limit = self.limit.filter(|_| self.mutant != Some(Mutant::BudgetIsIgnored));
        self.model.take(now, limit, self.window(), people)
    }

    pub(crate) fn give_back(&mut self, now: u64, counted: &[Counted]) -> Answer {
        let window = self.window();
        let mut all = counted.to_vec();
        if self.mutant == Some(Mutant::BackTakesWhoWasCountedLater) {
            let live: BTreeMap<u64, u64> = self.model.live_at(now, window).into_iter().collect();
            for (person, score, before) in &mut all {
                (*score, *before) = (live.get(person).copied().unwrap_or(*score), 0);
            }
        }
        // The latest of a person first, so that each finds its own score.
        all.sort_unstable_by_key(|(_, score, before)| std::cmp::Reverse((*score, *before)));
        self.model.back(now, self.limit, window, &all)
    }

    /// Whether one of them was counted again since, so that they stay.
    pub(crate) fn is_too_late(&self, now: u64, counted: &[Counted]) -> bool {
        let live: BTreeMap<u64, u64> = self.model.live_at(now, self.window()).into_iter().collect();
        counted.iter().any(|(person, score, _)| live.get(person).is_some_and(|known| known != score))
    }
}

/// What Meta saw of a portfolio: the judge's own count.
#[derive(Debug, Default)]
pub(crate) struct Witness {
    /// When each person was last written to.
    last: BTreeMap<u64, u64>,
    /// Since when it may be so many.
    limits: VecDeque<(u64, Option<u64>)>,
}

impl Witness {
    /// From now on it may be so many people.
    pub(crate) fn limit(&mut self, now: u64, most: Option<u64>) {
        self.limits.push_back((now, most));
    }

    /// A message to a person was taken. Some: so many people within a window, and so many might be at most.
    pub(crate) fn take(&mut self, now: u64, person: u64) -> Option<(u64, u64)> {
        self.last.insert(person, now);
        self.last.retain(|_, at| *at + WINDOW_US > now);
        let since = now.saturating_sub(LOWERED_FOR_US);
        while self.limits.get(1).is_some_and(|(from, _)| *from <= since) {
            self.limits.pop_front();
        }
        let mut most = 0;
        for (_, limit) in &self.limits {
            most = most.max((*limit)?);
        }
        let people = self.last.len() as u64;
        (!self.limits.is_empty() && people > most).then_some((people, most))
    }
}
