//! Inputs: the one place where news enters the machine.

use super::agenda::Agenda;
use super::lane::Lane;
use super::listing::PLACES;
use super::number::Number;
use super::share::Shares;
use super::tenure::Tenure;
use super::{
    Campaign, CampaignSetup, Input, LaneId, LaneSetup, Now, NumberId, NumberSetup, Output, Reverse, Shard,
};
use crate::clock::Mono;
use crate::domain::ids::CampaignSeq;
use crate::policy::adapt::Adaptive;
use crate::policy::breaker::{Breaker, Failure};
use crate::policy::pace::Pace;

impl<P> Shard<P> {
    /// Takes one piece of news. Poll until `Sleep` afterwards.
    pub fn handle(&mut self, now: Now, input: Input<P>) {
        self.now = now;
        match input {
            Input::Time => {}
            Input::Number(setup) => self.on_number(setup),
            Input::Campaign(setup) => self.on_campaign(setup),
            Input::Forget(seq) => self.on_forget(seq),
            Input::Lane(setup) => self.on_lane(&setup),
            Input::DropLane(id) => {
                match self.lane_index(id) {
                    Some(lane) => self.drop_lane(lane),
                    None => self.outputs.push_back(Output::Dropped(id)),
                };
            }
            Input::DropNumber(id) => self.on_drop_number(id),
            Input::Resume(id, next) => self.on_resume(&id, next),
            Input::Lease(until) => self.on_lease(until),
            Input::StopList(until) => self.on_stop_list(until),
            Input::Adopted(id, view) => self.on_adopted(id, view),
            Input::Claimed(id, claimed) => self.on_claimed(id, claimed),
            Input::Unkept(id, messages, view) => self.on_unkept(id, &messages, view),
            Input::Released(id, view) => self.on_released(id, view),
            Input::Settled(id, count) => self.on_settled(id, count),
            Input::Replied(flight, verdict, reusable) => self.on_replied(flight, verdict, reusable),
            Input::Connected => {
                self.connecting -= 1;
                self.ready += 1;
                self.breadth = 1;
            }
            Input::Widened(more) => {
                self.open += more;
                self.ready += more;
                self.breadth = more + 1;
            }
            Input::ConnectFailed => self.on_connect_failed(),
            Input::Closed => {
                self.ready -= 1;
                self.open -= 1;
            }
            Input::Probed(id, ok) => self.on_probed(&id, ok),
            Input::Redis(up) => {
                self.redis = up;
                self.mark_all();
            }
            Input::RolledBack(back) => {
                self.rolled_back = back;
                self.mark_all();
            }
            Input::Journal(writes) => {
                self.journal = writes;
                self.mark_all();
            }
            Input::Unbegun(flight) => self.on_unbegun(flight),
            Input::Stopped(flight, reason) => self.on_stopped(flight, reason),
            Input::Clock(right) => {
                self.clock = right;
                self.mark_all();
            }
            Input::Budget(portfolio, changes) => self.on_budget(portfolio, changes),
            Input::Throttled(throttled) => self.on_throttled(&throttled),
            Input::Barrier(version) => self.outputs.push_back(Output::Reached(version)),
            Input::Drain => {
                self.draining = true;
                self.mark_all();
            }
        }
        self.on_time();
    }

    fn on_time(&mut self) {
        while let Some(Reverse((at, number))) = self.wakes.peek().copied() {
            if at > self.now.mono {
                break;
            }
            self.wakes.pop();
            if self.numbers[number].wakes_at == Some(at) {
                self.numbers[number].wakes_at = None;
            }
            self.mark(number);
        }
        self.look_at_lease();
        self.look_at_stop_list();
        self.probe_line();
        self.flush_settles();
    }

    fn on_number(&mut self, setup: NumberSetup) {
        let Some(at) = self.number_at.get(&setup.id).copied() else {
            let at = self.numbers.len();
            self.number_at.insert(setup.id.clone(), at);
            self.numbers.push(Number {
                tenure: Tenure::Ours,
                lanes: 0,
                pace: Pace::new(setup.rate_per_s, self.config.exactness, self.now.mono),
                adaptive: Adaptive::new(self.now.mono),
                breaker: Breaker::new(self.config.breaker.clone()),
                setup,
                throttled_until: None,
                not_before: Mono::default(),
                throttles: 0,
                agenda: Agenda::default(),
                claimed: std::collections::VecDeque::new(),
                claiming: [0; PLACES],
                adopting: 0,
                in_flight: 0,
                begun: 0,
                wanting: false,
                called: false,
                dirty: false,
                wakes_at: None,
                dry: false,
                shares: Shares::default(),
            });
            return self.mark(at);
        };
        let one = &mut self.numbers[at];
        // One that comes back may have been sending elsewhere until now.
        let back = one.tenure == Tenure::Gone;
        if back {
            (one.tenure, one.throttled_until, one.throttles, one.dry) = (Tenure::Ours, None, 0, false);
            one.breaker = Breaker::new(self.config.breaker.clone());
        }
        let paced = back || one.setup.rate_per_s != setup.rate_per_s;
        one.setup = setup;
        if paced {
            one.shares = Shares::default();
            self.fresh_pace(at);
        }
        self.mark(at);
    }

    fn on_campaign(&mut self, setup: CampaignSetup) {
        let strikes = self.campaigns.get(&setup.seq).map_or(0, |known| known.strikes);
        let strikes = if setup.template_stopped { 0 } else { strikes };
        let seq = setup.seq;
        let before = self.campaigns.insert(seq, Campaign { setup, strikes });
        let (before, after) = (before.map(|known| known.setup), &self.campaigns[&seq].setup);
        let hours = before.as_ref().is_none_or(|one| one.hours != after.hours);
        if before.as_ref().is_some_and(|one| one.pace_share_per_mille != after.pace_share_per_mille) {
            self.numbers.iter_mut().for_each(|number| number.shares.forget(seq));
        }
        let relist = before.is_some_and(|one| one.rank != after.rank || one.first != after.first);
        if hours {
            self.hours_changed(seq);
        }
        if relist {
            self.relist_campaign(seq);
        }
        // Every number looks at its claimed messages again: those of a stopped campaign are given back.
        self.mark_all();
        for number in 0..self.numbers.len() {
            self.give_back_stopped(number);
        }
    }

    /// Gives back what a number claimed of campaigns and lanes that may not send any more, wherever it stands in the queue.
    fn give_back_stopped(&mut self, number: usize) {
        let held = std::mem::take(&mut self.numbers[number].claimed);
        let mut kept = std::collections::VecDeque::with_capacity(held.len());
        let mut touched = Vec::new();
        for waiting in held {
            let lane = waiting.lane;
            let campaign = self.lanes[lane].as_ref().and_then(|lane| self.campaigns.get(&lane.campaign()));
            if campaign.is_some_and(Campaign::may_send) && self.closed_by_hours(lane).is_none() {
                kept.push_back(waiting);
                continue;
            }
            if let Some(one) = self.lanes[lane].as_mut() {
                one.claimed -= 1;
            }
            self.give_back(lane, waiting.message.index, waiting.message.generation);
            touched.push(lane);
        }
        self.numbers[number].claimed = kept;
        touched.dedup();
        for lane in touched {
            self.flush_release(lane);
        }
    }

    fn on_forget(&mut self, seq: CampaignSeq) {
        let theirs =
            |lane: &Option<Lane>| lane.as_ref().is_some_and(|lane| lane.campaign() == seq && !lane.dropping);
        let lanes: Vec<usize> = (0..self.lanes.len()).filter(|at| theirs(&self.lanes[*at])).collect();
        for lane in lanes {
            self.drop_lane(lane);
        }
        self.campaigns.remove(&seq);
        for number in &mut self.numbers {
            number.shares.forget(seq);
            number.agenda.forget(seq);
        }
    }

    fn on_lane(&mut self, setup: &LaneSetup) {
        let ours = |at: &usize| self.numbers[*at].tenure == Tenure::Ours;
        let Some(number) = self.number_at.get(&setup.number).copied().filter(ours) else {
            return;
        };
        let lane = match self.lane_index(setup.id) {
            Some(lane) => {
                let ceiling = self.ceiling_of(lane);
                if let Some(known) = self.lanes[lane].as_mut() {
                    known.look_again(ceiling);
                }
                lane
            }
            None => self.new_lane(setup.id, number),
        };
        self.numbers[number].dry = false;
        self.list(lane);
        self.mark(number);
    }

    fn new_lane(&mut self, id: LaneId, number: usize) -> usize {
        // A freed place may still stand in the queue of settles; it is safe to use once that is empty.
        let free = if self.settles.is_empty() { self.free_lanes.pop() } else { None };
        let at = free.unwrap_or(self.lanes.len());
        let lane = Some(Lane::new(id, number, self.now.mono));
        if at == self.lanes.len() {
            self.lanes.push(lane)
        } else {
            self.lanes[at] = lane
        }
        self.lane_at.insert(id, at);
        self.numbers[number].lanes += 1;
        at
    }

    fn on_connect_failed(&mut self) {
        self.connecting -= 1;
        self.open -= 1;
        self.line.on_failure(self.now.mono, Failure::Connect, &mut self.rng);
        self.wanting.clear();
        for number in &mut self.numbers {
            number.wanting = false;
        }
        self.mark_all();
    }

    fn on_probed(&mut self, id: &NumberId, ok: bool) {
        let Some(at) = self.number_at.get(id).copied() else {
            return;
        };
        if self.line_probe == Some(at) {
            self.line.on_probe_result(self.now.mono, ok, &mut self.rng);
        }
        self.numbers[at].breaker.on_probe_result(self.now.mono, ok, &mut self.rng);
        self.mark_all();
    }

    /// Connections that may still be opened.
    pub fn room(&self) -> usize {
        self.config.max_connections.saturating_sub(self.open)
    }

    /// Whether a lane is known here.
    pub fn knows(&self, id: LaneId) -> bool {
        self.lane_at.contains_key(&id)
    }
}
