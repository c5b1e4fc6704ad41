//! What is to happen in a run besides the sending: loads, operators, and everything that breaks.

use carteiro::domain::record::{Record, State};
use rand::RngExt;

use crate::budget::LIMITS;
use crate::faults::{Fault, Ratios};
use crate::meta;
use crate::store::{CAMPAIGNS, LANES, NUMBERS, PER_LANE, campaign_of};
use crate::world::{Event, NODES, NodeEvent, SECOND_US, World};

/// Rows of one append.
pub(crate) const CHUNK: usize = 5;

/// How often an operator lets go on what was halted.
const RESUMED_EVERY_US: u64 = 7 * SECOND_US;

/// Something that breaks.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Chaos {
    Kill(usize),
    /// After so many more orders of its machine.
    KillWithinATurn(usize, u32),
    Freeze(usize, u64),
    CutOff(usize, u64),
    RedisDown(u64),
    RedisUp,
    /// Redis is to have this when it forgets.
    Remember,
    Forget(u64),
    LineDown(u64),
    LineUp,
    JournalFull(usize, u64),
    CloseIdle(usize),
    /// The end of all that.
    Heal,
}

/// Something that somebody does.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Deed {
    Load(usize, usize),
    LoadAgain,
    Restart(usize),
    MoveLane(usize, usize),
    Pause(usize, u64),
    IsPaused(usize, u64, u64),
    Resume(usize),
    Suppress(usize, u32),
    Retry(usize),
    ResumeHalts,
    /// Meta says how many people the portfolio may write to.
    SayPeople(Option<u64>),
    Look,
}

/// A kind of trouble at a process, for so long, or after so many orders.
type Draw = fn(usize, u64, u32) -> Chaos;

pub(crate) fn hashes_of(chunk: usize) -> Vec<u64> {
    (chunk * CHUNK..(chunk + 1) * CHUNK).map(|row| row as u64).collect()
}

pub(crate) fn tag_of(lane: usize, chunk: usize) -> u64 {
    (lane * 100 + chunk) as u64
}

impl World {
    /// Draws the whole run.
    pub(crate) fn plan(&mut self) {
        let ends = self.rng.random_range(15..40) * SECOND_US;
        for at in 0..NODES {
            let wait = self.rng.random_range(0..2 * SECOND_US);
            self.later(wait, Event::Start(at));
        }
        for lane in 0..LANES {
            let when = self.rng.random_range(0..5 * SECOND_US);
            self.at(when, Event::Deed(Deed::Load(lane, 0)));
        }
        self.at(RESUMED_EVERY_US, Event::Deed(Deed::ResumeHalts));
        self.plan_deeds(ends);
        self.plan_chaos(ends);
        self.at(ends, Event::Chaos(Chaos::Heal));
    }

    fn when(&mut self, ends: u64) -> u64 {
        self.rng.random_range(SECOND_US..ends)
    }

    fn plan_deeds(&mut self, ends: u64) {
        let ratios = self.ratios.clone();
        for _ in 0..ratios.restarts {
            let (when, at) = (self.when(ends), self.rng.random_range(0..NODES));
            self.at(when, Event::Deed(Deed::Restart(at)));
        }
        for _ in 0..ratios.lane_moves {
            let (when, lane) = (self.when(ends), self.rng.random_range(0..LANES));
            let to = self.rng.random_range(0..NUMBERS);
            self.at(when, Event::Deed(Deed::MoveLane(lane, to)));
        }
        for _ in 0..ratios.pauses {
            let (when, campaign) = (self.when(ends), self.rng.random_range(0..CAMPAIGNS));
            let rest = self.rng.random_range(SECOND_US..15 * SECOND_US);
            self.at(when, Event::Deed(Deed::Pause(campaign, rest)));
        }
        for _ in 0..ratios.suppressions {
            let (when, lane) = (self.when(ends), self.rng.random_range(0..LANES));
            let index = self.rng.random_range(0..u32::try_from(PER_LANE).unwrap());
            self.at(when, Event::Deed(Deed::Suppress(lane, index)));
        }
        for _ in 0..ratios.operator_retries {
            let (when, lane) = (self.when(ends), self.rng.random_range(0..LANES));
            self.at(when, Event::Deed(Deed::Retry(lane)));
        }
        for _ in 0..ratios.limits_said {
            let when = self.when(ends);
            let people = self.rng.random_range(0..=LIMITS.len());
            self.at(when, Event::Deed(Deed::SayPeople(LIMITS.get(people).copied())));
        }
        for _ in 0..ratios.closings {
            let (from, campaign) = (self.when(ends), self.rng.random_range(0..CAMPAIGNS));
            let rest = self.rng.random_range(SECOND_US..10 * SECOND_US);
            self.tally.fault(Fault::HoursClosed);
            self.judge.close(campaign, from, from + rest);
        }
    }

    fn plan_chaos(&mut self, ends: u64) {
        let ratios = self.ratios.clone();
        let lease = u64::try_from(self.lease.as_micros()).unwrap();
        let all: [(u32, Draw, u64); 8] = [
            (ratios.kills, |at, _, _| Chaos::Kill(at), 1),
            (ratios.kills_within_a_turn, |at, _, orders| Chaos::KillWithinATurn(at, orders), 1),
            (ratios.freezes, |at, rest, _| Chaos::Freeze(at, rest), 2 * lease),
            (ratios.cut_offs, |at, rest, _| Chaos::CutOff(at, rest), 2 * lease),
            (ratios.redis_downs, |_, rest, _| Chaos::RedisDown(rest), 2 * lease),
            (ratios.line_downs, |_, rest, _| Chaos::LineDown(rest), 8 * SECOND_US),
            (ratios.journal_fulls, |at, rest, _| Chaos::JournalFull(at, rest), 5 * SECOND_US),
            (ratios.connection_closed, |at, _, _| Chaos::CloseIdle(at), 1),
        ];
        for _ in 0..ratios.forgets {
            let (when, behind) = (self.when(ends), self.rng.random_range(1..2 * SECOND_US));
            let rest = self.rng.random_range(10_000..SECOND_US);
            self.at(when.saturating_sub(behind), Event::Chaos(Chaos::Remember));
            self.at(when, Event::Chaos(Chaos::Forget(rest)));
        }
        for (count, chaos, longest) in all {
            for _ in 0..count {
                let (when, at) = (self.when(ends), self.rng.random_range(0..NODES));
                let (rest, orders) = (self.rng.random_range(0..longest), self.rng.random_range(1..40));
                self.at(when, Event::Chaos(chaos(at, rest, orders)));
            }
        }
    }

    pub(crate) fn chaos(&mut self, chaos: Chaos) {
        if self.healed_at.is_some() && !matches!(chaos, Chaos::RedisUp | Chaos::LineUp) {
            return;
        }
        let hurts =
            matches!(chaos, Chaos::Kill(_) | Chaos::Freeze(..) | Chaos::CutOff(..) | Chaos::RedisDown(_));
        // What Redis forgot is promised while its writers live to say it again.
        if hurts && self.is_behind() {
            return;
        }
        match chaos {
            Chaos::Kill(at) if self.nodes[at].alive() => {
                self.tally.fault(Fault::Killed);
                self.kill(at);
            }
            Chaos::KillWithinATurn(at, orders) => self.nodes[at].dies_after = Some(orders),
            Chaos::Freeze(at, rest) if self.nodes[at].alive() => {
                let past = u128::from(rest) > self.lease.as_micros();
                self.tally.fault(if past { Fault::FrozenPastTheLease } else { Fault::Frozen });
                self.nodes[at].frozen_until = self.now + rest;
            }
            Chaos::CutOff(at, rest) => {
                self.tally.fault(Fault::CutOffFromRedis);
                self.nodes[at].cut_off_until = self.now + rest;
            }
            Chaos::RedisDown(rest) => {
                self.tally.fault(Fault::RedisDown);
                self.store.up = false;
                self.later(rest, Event::Chaos(Chaos::RedisUp));
            }
            Chaos::RedisUp => self.store.up = true,
            Chaos::Remember => self.remember(),
            Chaos::Forget(rest) => self.forget(rest),
            Chaos::LineDown(rest) => {
                self.tally.fault(Fault::LineDown);
                self.line_down = true;
                self.later(rest, Event::Chaos(Chaos::LineUp));
            }
            Chaos::LineUp => self.line_down = false,
            Chaos::JournalFull(at, rest) => self.nodes[at].journal_full_until = self.now + rest,
            Chaos::CloseIdle(at) => self.node_later(at, 0, NodeEvent::CloseIdle),
            Chaos::Heal => self.heal(),
            Chaos::Kill(_) | Chaos::Freeze(..) => {}
        }
    }

    /// Nothing breaks any more, and an operator lets everything go on.
    fn heal(&mut self) {
        self.healed_at = Some(self.now);
        self.ratios = Ratios::default();
        (self.store.up, self.line_down) = (true, false);
        for node in &mut self.nodes {
            (node.cut_off_until, node.journal_full_until, node.dies_after) = (0, 0, None);
            node.frozen_until = node.frozen_until.min(self.now);
        }
        for campaign in 0..CAMPAIGNS {
            self.deed(Deed::Resume(campaign));
        }
        self.later(SECOND_US, Event::Deed(Deed::Look));
    }

    fn changed(&mut self) {
        self.store.version += 1;
        self.announce();
    }

    /// A command of an operator needs Redis: false means that it is made again a little later.
    fn reached_redis(&mut self, deed: Deed) -> bool {
        if !self.store.up {
            self.later(SECOND_US / 2, Event::Deed(deed));
        }
        self.store.up
    }

    pub(crate) fn deed(&mut self, deed: Deed) {
        match deed {
            Deed::Look => self.later(SECOND_US, Event::Deed(Deed::Look)),
            Deed::Restart(_) if self.is_behind() => {}
            Deed::Restart(at) => self.node_later(at, 0, NodeEvent::Leave),
            Deed::MoveLane(lane, to) => {
                (0..NODES).for_each(|at| self.node_later(at, 0, NodeEvent::MoveLane(lane, to)));
            }
            _ if !self.reached_redis(deed) => {}
            Deed::Load(lane, chunk) => self.load(lane, chunk),
            Deed::LoadAgain => self.load_again(),
            Deed::Pause(campaign, rest) => self.pause(campaign, rest),
            Deed::IsPaused(campaign, version, until) => self.is_paused(campaign, version, until),
            Deed::Resume(campaign) => {
                self.judge.resumed(campaign);
                self.store.campaigns[campaign].running = true;
                self.changed();
            }
            Deed::Suppress(lane, index) => {
                // Every other time one that waits, where there is one.
                let waiting = |one: &Record| one.state == State::Waiting;
                let records = &self.store.lanes[lane].lane.records;
                let waits = records.iter().position(waiting).filter(|_| index % 2 == 0);
                let index = waits.map_or(index, |at| u32::try_from(at).unwrap());
                if self.store.lanes[lane].lane.suppress(60, &[index]) > 0 {
                    self.tally.fault(Fault::Suppressed);
                }
                self.look_at(lane);
            }
            Deed::Retry(lane) => {
                let (reason, now_ms) = (meta::retried_by_operator(), self.wall_ms());
                if self.store.lanes[lane].lane.retry_failed(0, 1000, reason, now_ms).1 > 0 {
                    self.tally.fault(Fault::RetriedByOperator);
                    self.store.campaigns[campaign_of(lane)].grown += 1;
                    self.changed();
                }
                self.look_at(lane);
            }
            Deed::SayPeople(people) => self.say_people(people),
            Deed::ResumeHalts => {
                if !self.store.halts.is_empty() {
                    self.store.halts.clear();
                    self.changed();
                }
                self.later(RESUMED_EVERY_US, Event::Deed(Deed::ResumeHalts));
            }
        }
    }

    fn load(&mut self, lane: usize, chunk: usize) {
        let hashes = hashes_of(chunk);
        let now_ms = self.wall_ms();
        if self.load_behind {
            return self.later(SECOND_US / 10, Event::Deed(Deed::Load(lane, chunk)));
        }
        let count = self.store.lanes[lane].lane.count();
        match self.store.lanes[lane].lane.append(tag_of(lane, chunk), &hashes) {
            Ok(first) if first == count => self.judge.loaded(lane, CHUNK, now_ms),
            Ok(_) => self.tally.fault(Fault::AppendAskedAgain),
            Err(known) => self.judge.fail(format!("rows {known:?} of lane {lane} are there already")),
        }
        let lost = self.ratios.answer_lost;
        if self.chance(lost, Fault::RedisAnswerLost) {
            return self.later(SECOND_US / 5, Event::Deed(Deed::Load(lane, chunk)));
        }
        self.appended.push((lane, chunk));
        self.store.campaigns[campaign_of(lane)].grown += 1;
        self.changed();
        if chunk + 1 < PER_LANE / CHUNK {
            let wait = self.rng.random_range(0..5 * SECOND_US);
            self.later(wait, Event::Deed(Deed::Load(lane, chunk + 1)));
        }
    }

    fn pause(&mut self, campaign: usize, rest: u64) {
        if self.healed_at.is_some() || !self.store.campaigns[campaign].running {
            return;
        }
        self.store.campaigns[campaign].running = false;
        self.changed();
        let version = self.store.version;
        self.is_paused(campaign, version, self.now + rest);
    }

    /// The command waits until every process that lives has acted on it; from then on nothing of it may be sent.
    fn is_paused(&mut self, campaign: usize, version: u64, until: u64) {
        if self.store.campaigns[campaign].running {
            return;
        }
        let all = self.store.own.acted_on(self.wall_ms_of_redis()).is_none_or(|acted_on| acted_on >= version);
        if all && self.store.own.expire(self.now) == 0 {
            self.tally.fault(Fault::Paused);
            self.judge.paused(campaign);
            self.at(until, Event::Deed(Deed::Resume(campaign)));
        } else {
            self.later(SECOND_US / 10, Event::Deed(Deed::IsPaused(campaign, version, until)));
        }
    }

    /// The time of Redis in the heartbeats.
    fn wall_ms_of_redis(&self) -> u64 {
        self.now / 1000
    }
}
