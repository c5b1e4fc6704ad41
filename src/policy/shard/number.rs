//! What one number does next: probe, give back, send, claim.

use std::collections::VecDeque;
use std::time::Duration;

use rand::RngExt as _;

use super::agenda::{Agenda, Picked};
use super::listing::{InLine, LAST_PLACE, PLACES};
use super::share::Shares;
use super::tenure::Tenure;
use super::{BLOCK_TOO_LONG, Blocked, CONNECTING_MAX, Flight, FlightId, Message, NumberSetup, Output, Shard};
use crate::clock::{Mono, WallMs};
use crate::domain::record::{Settlement, State};
use crate::policy::adapt::Adaptive;
use crate::policy::breaker::Breaker;
use crate::policy::classify::table::own;
use crate::policy::pace::Pace;

/// A number that was at rest begins no later than this after its first claim: what shared limits admitted does not last
/// much longer.
const SPREAD_MAX: Duration = Duration::from_secs(1);

/// One number of this shard.
#[derive(Debug)]
pub(super) struct Number<P> {
    pub(super) setup: NumberSetup,
    /// Whether it is ours.
    pub(super) tenure: Tenure,
    /// Lanes of it that are known here.
    pub(super) lanes: usize,
    pub(super) pace: Pace,
    pub(super) adaptive: Adaptive,
    pub(super) breaker: Breaker,
    pub(super) throttled_until: Option<Mono>,
    /// The first message after a rest waits until here: numbers that begin together must not stay in step, or the last
    /// of them would be late by all the others' work, every time.
    pub(super) not_before: Mono,
    /// Throttles in a row.
    pub(super) throttles: u32,
    pub(super) agenda: Agenda,
    /// Claimed and not begun.
    pub(super) claimed: VecDeque<InLine<P>>,
    /// Messages ordered and not yet answered, by their place in the line.
    pub(super) claiming: [usize; PLACES],
    /// Lanes whose adoption is under way.
    pub(super) adopting: usize,
    pub(super) in_flight: usize,
    /// Requests begun so far.
    pub(super) begun: u64,
    /// In the queue for a connection.
    pub(super) wanting: bool,
    /// Its turn has come: the next ready connection is its.
    pub(super) called: bool,
    pub(super) dirty: bool,
    pub(super) wakes_at: Option<Mono>,
    /// It was said that there is nothing to claim.
    pub(super) dry: bool,
    /// What campaigns may use of it that may not use all.
    pub(super) shares: Shares,
}

impl<P> Number<P> {
    pub(super) fn oldest_due(&self) -> Option<Mono> {
        self.agenda.due.first().map(|(due, _)| *due)
    }
}

impl<P> Shard<P> {
    /// Why a number may neither claim nor send, in the order of checks, and until when as far as is known.
    fn closed(&self, number: &Number<P>) -> Option<(Blocked, Option<Mono>)> {
        if self.draining {
            return Some((Blocked::Draining, None));
        }
        if self.rolled_back {
            return Some((Blocked::RolledBack, None));
        }
        // After an older Redis, which may be why it does not get away: what it sent cannot be written down there.
        if number.tenure != Tenure::Ours {
            return Some((Blocked::Draining, None));
        }
        if self.lease.is_some_and(|until| until <= self.now.mono) {
            return Some((Blocked::Ownership, None));
        }
        if !self.journal {
            return Some((Blocked::Journal, None));
        }
        if !self.clock {
            return Some((Blocked::Clock, None));
        }
        if let Some(why) = number.setup.stopped {
            return Some((why, None));
        }
        for breaker in [&self.line, &number.breaker] {
            if !breaker.may_send() {
                return Some((Blocked::Breaker, breaker.open_until()));
            }
        }
        let throttled = number.throttled_until.filter(|until| *until > self.now.mono);
        if throttled.is_some() {
            return Some((Blocked::Throttle, throttled));
        }
        self.stop_list_stale().then_some((Blocked::StopList, None))
    }

    /// Why a number that has something to do does nothing; `held` until when hours hold back messages of it.
    pub(super) fn blocked(
        &self,
        number: &Number<P>,
        held: Option<&Option<WallMs>>,
    ) -> Option<(Blocked, Option<Mono>)> {
        let closed = self.closed(number);
        if closed.is_some() {
            return closed;
        }
        if !self.redis {
            return Some((Blocked::Redis, None));
        }
        if number.in_flight >= self.config.max_in_flight {
            return Some((Blocked::Slots, None));
        }
        if number.wanting {
            return Some((Blocked::Connection, None));
        }
        let idle = number.claimed.is_empty() && number.claiming == [0; PLACES] && number.in_flight == 0;
        let may_send = |seq| self.campaigns.get(&seq).is_some_and(super::Campaign::may_send);
        if !idle {
            return None;
        }
        if number.agenda.has_work(may_send) {
            return self.used_up(number).map(|until| (Blocked::Budget, until));
        }
        held.map(|until| (Blocked::Hours, until.map(|until| self.wall_to_mono(until))))
    }

    /// One round of a number.
    pub(super) fn step(&mut self, number: usize) {
        self.wake_due(number);
        match self.closed(&self.numbers[number]) {
            None => {
                self.send(number);
                self.numbers[number].called = false;
                self.refill(number);
            }
            Some((_, until)) => {
                self.numbers[number].called = false;
                let too_long = until.is_none_or(|until| until.since(self.now.mono) > BLOCK_TOO_LONG);
                if too_long {
                    self.give_back_claimed(number);
                }
                self.probe(number);
                if let Some(until) = until.filter(|until| *until > self.now.mono) {
                    self.wake(number, until);
                }
            }
        }
    }

    fn probe(&mut self, number: usize) {
        let one = &mut self.numbers[number];
        // While the line is down its own probe speaks for every number.
        if self.line.may_send() && !self.draining && one.breaker.begin_probe(self.now.mono) {
            self.outputs.push_back(Output::Probe(one.setup.id.clone()));
        }
    }

    /// Probes the line through one number, the next one each time.
    pub(super) fn probe_line(&mut self) {
        if self.draining || self.numbers.is_empty() || !self.line.begin_probe(self.now.mono) {
            return;
        }
        let number = self.line_probe.map_or(0, |last| (last + 1) % self.numbers.len());
        self.line_probe = Some(number);
        self.numbers[number].breaker.join_probe();
        self.outputs.push_back(Output::Probe(self.numbers[number].setup.id.clone()));
    }

    /// Gives back everything that a number claimed and has not begun.
    pub(super) fn give_back_claimed(&mut self, number: usize) {
        let held = std::mem::take(&mut self.numbers[number].claimed);
        let mut lanes: Vec<usize> = held.iter().map(|waiting| waiting.lane).collect();
        for InLine { lane, message, .. } in held {
            self.unclaim(lane, &message);
        }
        lanes.dedup();
        for lane in lanes {
            self.flush_release(lane);
        }
    }

    fn unclaim(&mut self, lane: usize, message: &Message<P>) {
        if let Some(one) = self.lanes[lane].as_mut() {
            one.claimed -= 1;
        }
        self.give_back(lane, message.index, message.generation);
    }

    /// Sends what is claimed for as long as slots, connections and pace allow.
    fn send(&mut self, number: usize) {
        loop {
            let one = &self.numbers[number];
            let Some(InLine { lane, message, .. }) = one.claimed.front() else {
                break;
            };
            let lane = *lane;
            if let Some(gate) = self.gate(lane, message) {
                self.turn_away(number, gate);
                continue;
            }
            if one.in_flight >= self.config.max_in_flight {
                break;
            }
            // Those that stand in line come first, or a number whose replies free connections would keep them all.
            if self.ready == 0 || (!one.called && self.ready <= self.wanting.len()) {
                self.want_connection(number);
                break;
            }
            let not_before = self.numbers[number].not_before;
            if not_before > self.now.mono {
                self.wake(number, not_before);
                break;
            }
            if let Err(at) = self.numbers[number].pace.take(self.now.mono) {
                self.wake(number, at);
                break;
            }
            self.begin(number);
        }
    }

    /// Gives a number that was at rest a place of its own within its interval.
    pub(super) fn spread(&mut self, number: usize) {
        let one = &mut self.numbers[number];
        if one.in_flight == 0 && one.claimed.is_empty() && one.not_before <= self.now.mono {
            let place = self.rng.random_range(0.0..1.0);
            one.not_before = self.now.mono.after(one.pace.interval().min(SPREAD_MAX).mul_f64(place));
        }
    }

    /// The last look at a message before it is begun: None lets it through.
    fn gate(&self, lane: usize, message: &Message<P>) -> Option<Gate> {
        let campaign = self.lanes[lane].as_ref().and_then(|lane| self.campaigns.get(&lane.campaign()));
        let Some(campaign) = campaign.filter(|campaign| campaign.may_send()) else {
            return Some(Gate::Stopped);
        };
        if message.admitted_until.is_some_and(|until| until <= self.now.mono) {
            return Some(Gate::Stopped);
        }
        let age_ms = u128::from(self.now.wall.0.saturating_sub(message.loaded_at.0));
        let past_end = campaign.setup.valid_until.is_some_and(|end| self.now.wall >= end);
        if past_end || age_ms > campaign.setup.validity.as_millis() {
            return Some(Gate::Expired);
        }
        self.closed_by_hours(lane).map(|_| Gate::Stopped)
    }

    fn turn_away(&mut self, number: usize, gate: Gate) {
        let Some(InLine { lane, message, .. }) = self.numbers[number].claimed.pop_front() else {
            return;
        };
        match gate {
            Gate::Stopped => {
                self.unclaim(lane, &message);
                self.flush_release(lane);
            }
            Gate::Expired => {
                if let Some(one) = self.lanes[lane].as_mut() {
                    one.claimed -= 1;
                }
                let Message { index, generation, attempt, .. } = message;
                let state = State::Expired;
                self.settle(
                    lane,
                    Settlement { index, generation, state, attempt, reason: own::EXPIRED, due_ms: 0 },
                );
            }
        }
    }

    fn begin(&mut self, number: usize) {
        let one = &mut self.numbers[number];
        let Some(InLine { lane, message, .. }) = one.claimed.pop_front() else {
            return;
        };
        one.in_flight += 1;
        one.begun += 1;
        (one.wanting, one.called) = (false, false);
        let id = one.setup.id.clone();
        let Message { index, generation, attempt, .. } = message;
        let began = self.now.mono;
        let flight = Flight { number, lane, index, generation, attempt, began };
        let at = match self.free_flights.pop() {
            Some(at) => {
                self.flights[at as usize] = Some(flight);
                at
            }
            None => {
                self.flights.push(Some(flight));
                u32::try_from(self.flights.len() - 1).expect("flights are bounded by connections")
            }
        };
        self.ready -= 1;
        self.in_flight += 1;
        let Some(held) = self.lanes[lane].as_mut() else {
            return;
        };
        held.claimed -= 1;
        held.in_flight += 1;
        let lane = held.id;
        self.outputs.push_back(Output::Send { flight: FlightId(at), number: id, lane, message });
    }

    /// Stands in line for a connection, and has one opened if there is room.
    fn want_connection(&mut self, number: usize) {
        if !std::mem::replace(&mut self.numbers[number].wanting, true) {
            self.wanting.push_back(number);
        }
        let room = self
            .config
            .max_connections
            .saturating_sub(self.open)
            .min(CONNECTING_MAX.saturating_sub(self.connecting));
        // A fast number that waits for replies needs as many connections as it has messages ready to go; one at a time
        // would keep it below its pace for the first seconds.
        let wanted = self.wanting.len().max(self.numbers[number].claimed.len());
        let lacking = wanted.saturating_sub(self.connecting * self.breadth + self.ready);
        let more = lacking.div_ceil(self.breadth).min(room);
        if more > 0 {
            self.connecting += more;
            self.open += more;
            self.outputs.push_back(Output::Connect(more));
        }
    }

    /// Lets the number that has waited longest for a connection go on, if one is ready. A number that has nothing to
    /// send by now leaves the connection to the next.
    pub(super) fn wake_wanting(&mut self) -> bool {
        while self.ready > 0 {
            let Some(number) = self.wanting.pop_front() else {
                return false;
            };
            if std::mem::take(&mut self.numbers[number].wanting) {
                self.numbers[number].called = true;
                self.mark(number);
                return true;
            }
        }
        false
    }

    /// Claims ahead, no more than the pace will use soon and the free slots can take.
    fn refill(&mut self, number: usize) {
        if !self.redis || self.unsettled >= self.config.max_unsettled {
            return;
        }
        if let Some(until) = self.used_up(&self.numbers[number]) {
            // It is not dry either: its lanes are to stay.
            return until.map_or((), |until| self.wake(number, until));
        }
        loop {
            let wanted = self.wanted(number);
            if wanted == 0 {
                return;
            }
            let held_until = self.fill_shares(number, wanted);
            let campaigns = &self.campaigns;
            let one = &mut self.numbers[number];
            let shares = &one.shares;
            let may_send =
                |seq| campaigns.get(&seq).is_some_and(super::Campaign::may_send) && shares.room(seq) > 0;
            let Some(picked) = one.agenda.pop(may_send) else {
                // A number that a share holds back is not dry: its lanes are to stay.
                match held_until {
                    Some(at) => self.wake(number, at),
                    None => self.say_dry(number),
                }
                return;
            };
            self.claim_of(number, picked, wanted);
        }
    }

    /// Claims of the lane whose turn it is, and notes what its campaign had.
    fn claim_of(&mut self, number: usize, picked: Picked, wanted: usize) {
        let Picked { lane, rank, owed } = picked;
        let one = self.lane(lane);
        let seq = one.campaign();
        if !one.busy {
            // What a lower rank is owed may not be overtaken again and again.
            one.place = if owed.is_some() { 0 } else { rank.min(LAST_PLACE) };
        }
        let room = self.numbers[number].shares.room(seq).min(owed.unwrap_or(usize::MAX));
        let ordered = self.claim(lane, wanted.min(room));
        let weight = self.campaigns.get(&seq).map_or(1, |known| known.setup.weight);
        let (share, one) = (self.config.guaranteed_share, &mut self.numbers[number]);
        one.shares.spend(seq, ordered);
        one.agenda.note(picked, (seq, weight), ordered, share);
    }

    fn say_dry(&mut self, number: usize) {
        let one = &mut self.numbers[number];
        if one.claimed.is_empty() && one.claiming == [0; PLACES] && !one.dry {
            one.dry = true;
            self.outputs.push_back(Output::Dry(one.setup.id.clone()));
        }
    }
}

/// Why a claimed message is not begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gate {
    /// Its campaign or template may not send, or not at this hour; or it was admitted by shared limits too long ago.
    Stopped,
    /// It is older than its validity, or past the campaign's fixed end.
    Expired,
}
