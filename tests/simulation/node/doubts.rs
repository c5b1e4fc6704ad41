//! The doubt clock, as `app::control::doubt` carries it out: every owner of numbers looks now and then at what is in doubt
//! on their lanes, and ends it by `policy::doubt`.

use std::time::Duration;

use carteiro::domain::doubt::{DoubtPolicy, DoubtRules};
use carteiro::domain::record::{GENERATION_MAX, State};
use carteiro::policy::doubt::{self, Decision, Doubt, Hearing, Limits};
use carteiro::queue::doubts::{Ending, Message};

use super::Phase;
use crate::faults::Fault;
use crate::meta;
use crate::mutants::Mutant;
use crate::store::{ATTEMPTS, Call, Doubted};
use crate::world::{NodeEvent, SECOND_US, World};

/// How often doubts are looked at.
const EVERY_US: u64 = 5 * SECOND_US;

/// Shorter than in earnest, so that a run sees the end of all of them.
const LIMITS: Limits = Limits { silent_after: Duration::from_secs(20), give_up: Duration::from_secs(300) };
const RULES: DoubtRules = DoubtRules { policy: DoubtPolicy::Keep, wait: Duration::from_secs(15) };

impl World {
    pub(super) fn look_at_doubts(&mut self, at: usize) {
        self.node_later(at, EVERY_US, NodeEvent::Doubts);
        let node = &self.nodes[at];
        if node.phase == Phase::Running && !node.owned.is_empty() {
            self.call(at, Call::Doubts(self.nodes[at].owned.iter().copied().collect()));
        }
    }

    pub(super) fn on_doubts(&mut self, at: usize, all: Vec<Doubted>) {
        let (now_ms, mut news) = (self.wall_ms(), Vec::new());
        for Doubted { number, heard_ms, hearing: before, lanes } in all {
            let mut hearing = before.clone();
            hearing.look(now_ms, self.nodes[at].left[number], heard_ms, &LIMITS);
            if hearing != before {
                news.push((number, hearing.clone()));
            }
            if self.mutant == Some(Mutant::DoubtClockNeverStands) {
                hearing.look(now_ms, None, Some(now_ms), &LIMITS);
            }
            for (lane, messages) in lanes {
                let endings: Vec<Ending> =
                    messages.iter().filter_map(|one| self.ending(one, &hearing, now_ms)).collect();
                if !endings.is_empty() {
                    self.call(at, Call::EndDoubts { lane, endings });
                }
            }
        }
        if !news.is_empty() {
            self.call(at, Call::NoteHearings(news));
        }
    }

    fn ending(&mut self, one: &Message, hearing: &Hearing, now_ms: u64) -> Option<Ending> {
        let Message { record, since_ms, .. } = *one;
        let sendable = record.attempt < ATTEMPTS && record.generation < GENERATION_MAX;
        let wait = meta::doubtful_wait(record.reason);
        let impatient = self.mutant == Some(Mutant::DoubtDoesNotWait);
        let doubtful = if impatient { wait.map(|_| Duration::ZERO) } else { wait };
        let doubt = Doubt { since_ms, doubtful, sendable };
        let to = match doubt::decide(&doubt, hearing, &RULES, &LIMITS, now_ms) {
            Decision::Again => State::Waiting,
            Decision::Unresolved => State::Unresolved,
            Decision::Waits(_) => return None,
            Decision::Silent => {
                self.tally.fault(Fault::DoubtStood);
                return None;
            }
        };
        Some(Ending { seen: *one, to, attempt: record.attempt })
    }
}
