//! What control does: reads what changed, tells the machine, sweeps what a lost owner was sending, moves lanes.

use std::collections::BTreeSet;

use carteiro::clock::Mono;
use carteiro::domain::ids::NumberId;
use carteiro::policy::classify::{Scope, Verdict};
use carteiro::policy::shard::{Blocked, Input, LaneSetup, NumberSetup};
use carteiro::queue::lane::Standing;

use super::budget::PORTFOLIO;
use super::{Phase, view};
use crate::faults::Fault;
use crate::lane_model::Refused;
use crate::mutants::Mutant;
use crate::store::{CAMPAIGNS, Call, Halt, LANES, View, campaign_of, lane_id};
use crate::world::{NodeEvent, SECOND_US, World};

/// How often everything is read again although nobody announced a change.
const REREAD_US: u64 = 60 * SECOND_US;

/// What the ownership tells control.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum News {
    /// A number is ours. Nothing may be sent on it before; None: its last owner was lost.
    Gained(usize, Option<Mono>),
    /// A number is to be let go of.
    Drop(NumberId),
}

/// What control has to do, one after the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Task {
    /// Read everything and tell the machine.
    Look,
    /// Read which lanes of lost numbers have something sending.
    Sweep(BTreeSet<usize>),
    /// Put in doubt what a lost owner was sending in a lane.
    Adopt(usize),
    /// Give a lane that is at rest another number than this.
    Reassign(usize, usize, usize),
}

impl World {
    /// Control does it when what it is at is done.
    pub(super) fn add_task(&mut self, at: usize, task: Task) {
        let node = &mut self.nodes[at];
        if !node.tasks.contains(&task) {
            node.tasks.push_back(task);
        }
        self.node_later(at, 0, NodeEvent::Control);
    }

    /// Control hears of a number when what it is at is done.
    pub(super) fn tell_news(&mut self, at: usize, news: News) {
        self.nodes[at].news.push_back(news);
        self.node_later(at, 0, NodeEvent::Control);
    }

    pub(super) fn next_task(&mut self, at: usize) {
        if !self.nodes[at].busy && !self.nodes[at].news.is_empty() {
            self.on_news(at);
        }
        let node = &mut self.nodes[at];
        if node.busy || !matches!(node.phase, Phase::Running | Phase::Leaving) {
            return;
        }
        let Some(task) = node.tasks.front() else { return };
        node.busy = true;
        let (token, run) = (node.token, node.journal.run);
        let call = match task {
            Task::Look | Task::Sweep(_) => Call::Look,
            Task::Adopt(lane) => Call::Sweep { lane: *lane, token, run },
            Task::Reassign(lane, from, to) => Call::Reassign { lane: *lane, from: *from, to: *to },
        };
        self.call(at, call);
    }

    fn task_done(&mut self, at: usize) -> Option<Task> {
        self.nodes[at].busy = false;
        self.nodes[at].tasks.pop_front()
    }

    pub(super) fn on_view(&mut self, at: usize, seen: &View) {
        match self.task_done(at) {
            Some(Task::Sweep(numbers)) => {
                let node = &mut self.nodes[at];
                let theirs = (0..LANES).filter(|lane| seen.lanes[*lane].sending);
                let theirs = theirs.filter(|lane| numbers.contains(&seen.lanes[*lane].number));
                theirs.for_each(|lane| node.tasks.push_front(Task::Adopt(lane)));
            }
            Some(Task::Look) => self.on_seen(at, seen),
            _ => {}
        }
        self.next_task(at);
    }

    /// Tells the machine what is new.
    fn on_seen(&mut self, at: usize, seen: &View) {
        let node = &self.nodes[at];
        let ours = |lane: &usize| node.owned.contains(&seen.lanes[*lane].number);
        // A lane that has come from a number of another process was adopted under a token that may be newer than ours.
        let newest = (0..LANES).filter(ours).map(|lane| seen.lanes[lane].token).max().unwrap_or(0);
        if newest > node.token {
            self.nodes[at].tasks.push_front(Task::Look);
            self.nodes[at].busy = true;
            self.nodes[at].refreshing = true;
            return self.beat(at);
        }
        if self.mutant == Some(Mutant::AcknowledgedTooEarly) {
            self.acknowledge(at, seen.version);
            return self.node_later(at, 5 * SECOND_US, NodeEvent::Seen(Box::new(seen.clone())));
        }
        self.tell_all(at, seen);
    }

    pub(super) fn tell_all(&mut self, at: usize, seen: &View) {
        self.nodes[at].version = seen.version;
        self.tell_numbers(at, seen);
        self.tell_budget(at, seen.said);
        for campaign in 0..CAMPAIGNS {
            self.nodes[at].running[campaign] = seen.campaigns[campaign].running;
            self.tell_campaign(at, campaign);
            let grown = seen.campaigns[campaign].grown;
            if seen.campaigns[campaign].running && self.nodes[at].scanned[campaign] != Some(grown) {
                self.nodes[at].scanned[campaign] = Some(grown);
                self.tell_lanes(at, campaign, seen);
            }
        }
        self.nodes[at].retell = false;
        self.input(at, Input::Barrier(seen.version));
    }

    fn tell_numbers(&mut self, at: usize, seen: &View) {
        for number in self.nodes[at].owned.clone() {
            let halted = seen.halts.contains(&Halt::Account) || seen.halts.contains(&Halt::Number(number));
            self.nodes[at].halted[number] = halted;
            let setup = self.number_setup(number, halted);
            if self.nodes[at].told_numbers[number].as_ref() != Some(&setup) || self.nodes[at].retell {
                self.nodes[at].told_numbers[number] = Some(setup.clone());
                self.input(at, Input::Number(setup));
            }
        }
        for campaign in 0..CAMPAIGNS {
            self.nodes[at].template_stopped[campaign] = seen.halts.contains(&Halt::Template(campaign));
        }
    }

    fn number_setup(&self, number: usize, halted: bool) -> NumberSetup {
        NumberSetup {
            id: self.numbers[number].clone(),
            account: "waba".to_owned(),
            portfolio: self.store.budget.limit.map(|_| PORTFOLIO.into()),
            rate_per_s: Some(self.rates[number]),
            stopped: halted.then_some(Blocked::Halted),
        }
    }

    /// Tells the machine how a campaign is to be sent, if that is news.
    fn tell_campaign(&mut self, at: usize, campaign: usize) {
        let node = &self.nodes[at];
        let setup = self.campaign_setup(campaign, node.running[campaign], node.template_stopped[campaign]);
        if node.told[campaign].as_ref() != Some(&setup) || node.retell {
            self.nodes[at].told[campaign] = Some(setup.clone());
            self.input(at, Input::Campaign(setup));
        }
    }

    fn tell_lanes(&mut self, at: usize, campaign: usize, seen: &View) {
        for lane in (0..LANES).filter(|lane| campaign_of(*lane) == campaign) {
            let row = seen.lanes[lane];
            let ours = self.nodes[at].owned.contains(&row.number);
            if !ours || !row.open || self.nodes[at].moving.contains_key(&lane) {
                continue;
            }
            self.give(at, lane, row.number);
        }
    }

    fn give(&mut self, at: usize, lane: usize, number: usize) {
        self.nodes[at].lanes.insert(lane, number);
        self.nodes[at].dry.remove(&number);
        let setup = LaneSetup { id: lane_id(lane), number: self.numbers[number].clone() };
        self.input(at, Input::Lane(setup));
    }

    /// Acts on everything that the ownership has to say by now.
    fn on_news(&mut self, at: usize) {
        let (mut gained, mut lost) = (false, BTreeSet::new());
        while let Some(news) = self.nodes[at].news.pop_front() {
            match news {
                News::Drop(number) => self.part_with(at, &number),
                // What comes after it began to leave is left for the others.
                News::Gained(..) if self.nodes[at].phase == Phase::Leaving => {}
                News::Gained(number, next) => {
                    gained = true;
                    self.nodes[at].owned.insert(number);
                    let setup = self.number_setup(number, self.nodes[at].halted[number]);
                    self.nodes[at].told_numbers[number] = Some(setup.clone());
                    self.input(at, Input::Number(setup));
                    match next {
                        Some(next) => self.input(at, Input::Resume(self.numbers[number].clone(), next)),
                        None => drop(lost.insert(number)),
                    }
                }
            }
        }
        if gained {
            let node = &mut self.nodes[at];
            node.scanned = [None; CAMPAIGNS];
            node.tasks.push_front(Task::Look);
            if !lost.is_empty() {
                node.tasks.push_front(Task::Sweep(lost));
            }
        }
    }

    /// A heartbeat was answered: whoever waited for a newer token goes on.
    pub(super) fn refreshed(&mut self, at: usize) {
        if std::mem::take(&mut self.nodes[at].refreshing) {
            self.nodes[at].busy = false;
            self.next_task(at);
        }
    }

    pub(super) fn on_adopted(
        &mut self,
        at: usize,
        (lane, token): (usize, u64),
        adopted: Result<Standing, Refused>,
    ) {
        if adopted.is_ok() {
            self.nodes[at].adopted[lane] = Some(token);
        }
        self.input(at, Input::Adopted(lane_id(lane), adopted.ok().map(view)));
    }

    /// Once a second.
    pub(super) fn round(&mut self, at: usize) {
        self.node_later(at, SECOND_US, NodeEvent::Round);
        let reachable = self.store.up && self.nodes[at].cut_off_until <= self.now;
        let version = self.store.version;
        let now = self.now;
        let node = &mut self.nodes[at];
        if !matches!(node.phase, Phase::Running | Phase::Leaving) {
            return;
        }
        let reread = now >= node.reread_at;
        if reread {
            node.reread_at = now + REREAD_US;
            node.scanned = [None; CAMPAIGNS];
        }
        // A dry number may have been given a lane by another process.
        if !node.dry.is_empty() {
            node.scanned = [None; CAMPAIGNS];
        }
        let look = reread || !node.dry.is_empty() || (reachable && version != node.version);
        (0..CAMPAIGNS).for_each(|campaign| {
            if self.nodes[at].told[campaign].is_some() {
                self.tell_campaign(at, campaign);
            }
        });
        if look && self.nodes[at].alive() {
            self.add_task(at, Task::Look);
        }
        self.look_at_budget(at);
    }

    pub(super) fn halt(&mut self, at: usize, verdict: &Verdict, number: usize, template: &str) {
        self.nodes[at].retell = true;
        let halt = match verdict.scope {
            Scope::Template => Halt::Template(template.parse().unwrap()),
            Scope::Account | Scope::Portfolio | Scope::App => Halt::Account,
            _ => Halt::Number(number),
        };
        self.call(at, Call::Halt(halt));
    }

    /// Asks the machine to let go of a lane so that it can move.
    pub(super) fn move_lane(&mut self, at: usize, lane: usize, to: usize) {
        let node = &mut self.nodes[at];
        let ours = node.lanes.get(&lane).is_some_and(|number| node.owned.contains(number) && *number != to);
        if ours && node.moving.insert(lane, to).is_none() {
            self.tally.fault(Fault::LaneMoved);
            self.input(at, Input::DropLane(lane_id(lane)));
        }
    }

    pub(super) fn on_dropped(&mut self, at: usize, lane: usize) {
        let node = &mut self.nodes[at];
        if let Some(to) = node.moving.remove(&lane)
            && let Some(from) = node.lanes.remove(&lane)
        {
            self.add_task(at, Task::Reassign(lane, from, to));
        }
    }

    /// A lane was swept, or is another's by now, who has swept it.
    pub(super) fn on_swept(&mut self, at: usize) {
        self.task_done(at);
        self.next_task(at);
    }

    pub(super) fn on_reassigned(&mut self, at: usize, lane: usize, to: usize) {
        self.task_done(at);
        if self.nodes[at].owned.contains(&to) {
            self.nodes[at].scanned[campaign_of(lane)] = None;
            self.add_task(at, Task::Look);
        }
        self.next_task(at);
    }
}
