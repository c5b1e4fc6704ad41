//! Numbers that are stopped for long: their lanes move to others of the same campaign, so that nobody waits for a person.
//!
//! Only what stops a number by itself counts: an operator's pause, or a halt for the number's own sake (spam, not registered,
//! in maintenance for good). A stopped account or template has no siblings to go to. When the number goes on, it is given
//! lanes like any number that has nothing left.

use std::collections::BTreeSet;

use super::Control;
use crate::clock;
use crate::domain::ids::NumberId;
use crate::queue::halts::Scope;

impl Control {
    /// Notices numbers that have been stopped for long, or go on. True: there is news.
    pub(super) fn look_at_failing(&mut self) -> bool {
        let now = clock::mono();
        let stopped: BTreeSet<NumberId> = self
            .state
            .halts
            .keys()
            .filter_map(|scope| match scope {
                Scope::Number(number) => Some(number.clone()),
                _ => None,
            })
            .collect();
        self.state.stopped_since.retain(|number, _| stopped.contains(number));
        for number in stopped {
            self.state.stopped_since.entry(number).or_insert(now);
        }
        let after = self.config.pace.failover_after;
        let long = self.state.stopped_since.iter().filter(|(_, since)| now.since(**since) >= after);
        let failing: BTreeSet<NumberId> = long.map(|(number, _)| number.clone()).collect();
        let news = failing != self.state.failing;
        for number in failing.difference(&self.state.failing) {
            tracing::warn!(%number, "a number has been stopped for long; its lanes move to others of its campaigns");
        }
        self.state.failing = failing;
        news
    }

    /// The numbers of a pool that are not stopped for long; all of them when none is left.
    pub(super) fn healthy(&self, pool: Vec<NumberId>) -> Vec<NumberId> {
        let (failing, well): (Vec<_>, Vec<_>) =
            pool.into_iter().partition(|number| self.state.failing.contains(number));
        if well.is_empty() { failing } else { well }
    }
}
