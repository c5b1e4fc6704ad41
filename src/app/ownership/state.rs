//! What one process knows of the division, and what follows from it: numbers to ask for, to part with, and lost ones.
//! No IO; [`super`] asks Redis and tells the others.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::clock::Mono;
use crate::domain::ids::NumberId;
use crate::policy::assign::{self, Member};
use crate::queue::owner::{Snapshot, Taken};

/// Numbers on their way to another process at once, at most: a change of the division must not stop everything.
const HANDOVERS_MAX: usize = 8;

/// One process' view.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) incarnation: String,
    pub(super) leaving: bool,
    /// It is no node now: its lease ended, and it has to join again.
    pub(super) outside: bool,
    pub(super) offers: String,
    /// What Redis knows of it.
    pub(super) offered: Option<String>,
    pub(super) revision: Option<u64>,
    pub(super) snapshot: Snapshot,
    /// When the next lease of another process ended, as of the last answer.
    pub(super) next_end: Option<Duration>,
    pub(super) held: BTreeSet<NumberId>,
    /// On their way out, with something still under way; true: lost already, so that there is nothing to give back.
    pub(super) dropping: BTreeMap<NumberId, bool>,
    /// On their way out, and their shard has not been told.
    pub(super) untold: BTreeSet<NumberId>,
    /// At rest, with the instant before which nothing may be sent on them; None: they were never ours to use, and count as
    /// lost.
    pub(super) give_back: BTreeMap<NumberId, Option<Mono>>,
}

/// What one heartbeat asks for.
#[derive(Clone, Debug, Default)]
pub(super) struct Asked {
    pub(super) numbers: Vec<NumberId>,
    /// Those of them that Redis took for ours already.
    strays: BTreeSet<NumberId>,
}

impl Asked {
    /// Whether a number that was given to us comes with all that its last owner left. Whose a stray was in the meantime, and
    /// what he sent, Redis may have forgotten.
    pub(super) fn whole(&self, taken: &Taken) -> bool {
        taken.given_back && !self.strays.contains(&taken.number)
    }
}

impl State {
    pub(super) fn part_with(&mut self, number: &NumberId, lost: bool) {
        self.held.remove(number);
        self.dropping.insert(number.clone(), lost);
        self.untold.insert(number.clone());
    }

    /// Whether a shard still takes a number for ours that was lost: its lease must not be renewed.
    pub(super) fn misled(&self) -> bool {
        self.untold.iter().any(|number| self.dropping.get(number) == Some(&true))
    }

    /// Who shall own what. Numbers on their way out are nobody's.
    fn division(&self) -> BTreeMap<NumberId, String> {
        let members: BTreeMap<String, Member> = self
            .snapshot
            .nodes
            .iter()
            .map(|(name, node)| {
                let (capacity, leaving, offers) = (node.capacity, node.leaving, node.offers.clone());
                (name.clone(), Member { capacity, leaving, offers })
            })
            .collect();
        let staying =
            |number: &NumberId| !self.dropping.contains_key(number) && !self.give_back.contains_key(number);
        let owners = self.snapshot.owners.iter().filter(|(number, _)| staying(number));
        assign::divide(
            &members,
            &owners.map(|(number, owned)| (number.clone(), owned.node.clone())).collect(),
        )
    }

    /// Whether Redis takes a number for ours that we do not hold and are not parting with: it forgot that we gave it back,
    /// or granted it when we had stopped asking.
    fn is_stray(&self, node: &str, number: &NumberId) -> bool {
        let busy = self.dropping.contains_key(number) || self.give_back.contains_key(number);
        !busy
            && !self.held.contains(number)
            && self.snapshot.owners.get(number).is_some_and(|owned| owned.node == node)
    }

    /// Strays that shall not be ours; without it nobody would send through them for as long as we live.
    pub(super) fn strays(&self, node: &str) -> Vec<NumberId> {
        let wanted = self.wanted(node);
        let stray = |number: &&NumberId| self.is_stray(node, number) && !wanted.contains(number);
        self.snapshot.owners.keys().filter(stray).cloned().collect()
    }

    /// What the next heartbeat asks for.
    pub(super) fn asks(&self, node: &str) -> Asked {
        let numbers = self.wanted(node);
        let strays = numbers.iter().filter(|number| self.is_stray(node, number)).cloned().collect();
        Asked { numbers, strays }
    }

    /// Whether there is more to say at once. What was asked for and refused is asked for again with the next heartbeat.
    pub(super) fn more(&self, node: &str, asked: &Asked) -> bool {
        let news = |number: &NumberId| !asked.numbers.contains(number);
        !self.give_back.is_empty() || self.wanted(node).iter().any(news)
    }

    /// Numbers to ask for: they shall be ours, and nobody else has them.
    fn wanted(&self, node: &str) -> Vec<NumberId> {
        if self.leaving || self.outside {
            return Vec::new();
        }
        let free =
            |number: &NumberId| self.snapshot.owners.get(number).is_none_or(|owned| owned.node == node);
        let open = |number: &NumberId| {
            let busy = self.dropping.contains_key(number) || self.give_back.contains_key(number);
            !busy && !self.held.contains(number) && free(number)
        };
        self.division()
            .into_iter()
            .filter(|(number, owner)| owner == node && open(number))
            .map(|(number, _)| number)
            .collect()
    }

    /// Numbers that somebody else got although we did not give them.
    pub(super) fn lost(&self, node: &str) -> Vec<NumberId> {
        let ours =
            |number: &&NumberId| self.snapshot.owners.get(*number).is_some_and(|owned| owned.node == node);
        self.held.iter().filter(|number| !ours(number)).cloned().collect()
    }

    /// Numbers that shall be somebody else's, no more than may be on their way at once.
    pub(super) fn surplus(&self, node: &str) -> Vec<NumberId> {
        let division = self.division();
        let room = HANDOVERS_MAX.saturating_sub(self.dropping.len());
        let others =
            self.held.iter().filter(|number| division.get(*number).is_none_or(|owner| owner != node));
        others.take(room).cloned().collect()
    }
}
