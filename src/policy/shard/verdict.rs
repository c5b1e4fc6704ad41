//! What a reply changes: the message's record, and who slows down or stops.

use std::time::Duration;

use super::{Blocked, Flight, FlightId, Mono, Output, Shard, TEMPLATE_STRIKES, Throttled};
use crate::domain::record::{Settlement, State};
use crate::policy::breaker::Failure;
use crate::policy::classify::{Kind, Scope, Verdict};
use crate::policy::retry;

impl<P> Shard<P> {
    /// A request has come to its end.
    pub(super) fn on_replied(&mut self, id: FlightId, verdict: Verdict, reusable: bool) {
        let Some(flight) = self.flights.get_mut(id.0 as usize).and_then(Option::take) else {
            return;
        };
        self.free_flights.push(id.0);
        self.in_flight -= 1;
        self.numbers[flight.number].in_flight -= 1;
        if let Some(lane) = self.lanes[flight.lane].as_mut() {
            lane.in_flight -= 1;
        }
        if reusable {
            self.ready += 1;
        } else {
            self.open -= 1;
        }
        self.health(flight.number, &verdict);
        self.outcome(flight, &verdict);
        self.mark(flight.number);
    }

    /// A request was ordered and not begun, for a reason of our own: it costs nothing and says nothing of the line.
    pub(super) fn on_unbegun(&mut self, id: FlightId) {
        let Some(flight) = self.flights.get_mut(id.0 as usize).and_then(Option::take) else {
            return;
        };
        self.free_flights.push(id.0);
        self.in_flight -= 1;
        self.ready += 1;
        self.numbers[flight.number].in_flight -= 1;
        if let Some(lane) = self.lanes[flight.lane].as_mut() {
            lane.in_flight -= 1;
        }
        self.put_back(flight);
        self.mark(flight.number);
    }

    /// What the verdict says of the line and the number.
    fn health(&mut self, number: usize, verdict: &Verdict) {
        let one = &mut self.numbers[number];
        if verdict.not_own {
            one.breaker.on_failure(self.now.mono, Failure::Reply, &mut self.rng);
            return;
        }
        one.breaker.on_success();
        self.line.on_success();
        if matches!(verdict.kind, Kind::Accepted | Kind::Held) {
            one.throttles = 0;
            self.speed_up(number);
        }
    }

    fn outcome(&mut self, flight: Flight, verdict: &Verdict) {
        let tried = (flight.attempt + 1).min(15);
        match verdict.kind {
            Kind::Accepted => self.record(flight, State::Accepted, tried, verdict, None),
            Kind::Held => self.record(flight, State::Held, tried, verdict, None),
            Kind::Unknown | Kind::Doubtful => self.record(flight, State::InDoubt, tried, verdict, None),
            Kind::Throttled => self.throttled(flight, verdict),
            Kind::Transient if verdict.not_own => self.put_back(flight),
            Kind::Transient => self.again(flight, tried, verdict),
            Kind::Permanent => self.refused(flight, tried, verdict),
            Kind::Halt => {
                self.put_back(flight);
                self.halt(flight, verdict);
            }
        }
        if matches!(verdict.kind, Kind::Accepted | Kind::Held) {
            self.strikes(flight, |strikes| *strikes = 0);
        }
    }

    fn record(
        &mut self,
        flight: Flight,
        state: State,
        attempt: u8,
        verdict: &Verdict,
        due: Option<Duration>,
    ) {
        let due_ms = due.map_or(0, |wait| {
            self.now.wall.0.saturating_add(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX))
        });
        let Flight { lane, index, generation, .. } = flight;
        self.settle(lane, Settlement { index, generation, state, attempt, reason: verdict.reason, due_ms });
    }

    fn put_back(&mut self, flight: Flight) {
        self.give_back(flight.lane, flight.index, flight.generation);
        self.flush_release(flight.lane);
    }

    /// Certainly not sent, the message's own trouble: another attempt later, if it has one left.
    fn again(&mut self, flight: Flight, tried: u8, verdict: &Verdict) {
        let campaign = self.lanes[flight.lane].as_ref().map(super::lane::Lane::campaign);
        let policy = campaign.and_then(|seq| self.campaigns.get(&seq)).map(|campaign| campaign.setup.retry);
        let left = verdict.attempts.is_none_or(|most| tried < most);
        let wait = policy.filter(|_| left).and_then(|policy| retry::next(&policy, tried, &mut self.rng));
        match wait {
            Some(wait) => {
                let wait = verdict.wait.map_or(wait, |least| least.max(wait));
                self.record(flight, State::Waiting, tried, verdict, Some(wait));
            }
            None => self.record(flight, State::Failed, tried, verdict, None),
        }
    }

    /// Never to be sent. Many in a row that blame the template halt it, so that a wrong one does not burn the list.
    fn refused(&mut self, flight: Flight, tried: u8, verdict: &Verdict) {
        self.record(flight, State::Failed, tried, verdict, None);
        if verdict.scope != Scope::Template {
            return;
        }
        let mut struck_out = false;
        self.strikes(flight, |strikes| {
            *strikes += 1;
            struck_out = *strikes == TEMPLATE_STRIKES;
        });
        if struck_out {
            self.halt(flight, verdict);
        }
    }

    fn strikes(&mut self, flight: Flight, change: impl FnOnce(&mut u32)) {
        let campaign = self.lanes[flight.lane].as_ref().map(super::lane::Lane::campaign);
        if let Some(campaign) = campaign.and_then(|seq| self.campaigns.get_mut(&seq)) {
            change(&mut campaign.strikes);
        }
    }

    /// Refused by a limit: costs no attempt, and moves nothing but the pair's own message.
    fn throttled(&mut self, flight: Flight, verdict: &Verdict) {
        let now = self.now.mono;
        match verdict.scope {
            Scope::Person | Scope::Pair => {
                let (base, max) = self.config.pair_wait;
                let refusals = flight.generation;
                let wait = verdict.wait.unwrap_or_else(|| retry::pair_backoff(base, max, refusals));
                self.record(flight, State::Waiting, flight.attempt, verdict, Some(wait));
                return;
            }
            Scope::Number | Scope::Template => {
                if verdict.slows {
                    self.slow_down(flight);
                }
                let wait = verdict.wait.unwrap_or_else(|| self.throttle_wait(flight.number));
                self.rest_until(flight.number, now.after(wait));
            }
            Scope::Account | Scope::Portfolio | Scope::App => {
                let wait = verdict.wait.unwrap_or_else(|| self.throttle_wait(flight.number));
                let account = self.numbers[flight.number].setup.account.clone();
                let throttled = Throttled {
                    account: (verdict.scope == Scope::Account).then_some(account),
                    until: now.after(wait),
                };
                self.on_throttled(&throttled);
                self.outputs.push_back(Output::Throttle(throttled));
            }
        }
        self.put_back(flight);
    }

    fn throttle_wait(&mut self, number: usize) -> Duration {
        let one = &mut self.numbers[number];
        // Replies of requests that were under way when the first refusal came are one and the same event.
        if one.throttled_until.is_none_or(|until| until <= self.now.mono) {
            one.throttles = one.throttles.saturating_add(1);
        }
        let factor = 2u32.saturating_pow(one.throttles.saturating_sub(1));
        self.config.throttle_base.saturating_mul(factor).min(self.config.throttle_max)
    }

    fn rest_until(&mut self, number: usize, until: Mono) {
        let one = &mut self.numbers[number];
        one.throttled_until = Some(one.throttled_until.map_or(until, |known| known.max(until)));
        self.wake(number, until);
        self.mark(number);
    }

    /// A limit of an account or of everything was refused.
    pub(super) fn on_throttled(&mut self, throttled: &Throttled) {
        for number in 0..self.numbers.len() {
            if throttled.account.as_ref().is_none_or(|account| *account == self.numbers[number].setup.account)
            {
                self.rest_until(number, throttled.until);
            }
        }
    }

    /// Something wider than the message must stop until a person looks: at once here, and everybody is told.
    fn halt(&mut self, flight: Flight, verdict: &Verdict) {
        let setup = &self.numbers[flight.number].setup;
        let (number, account) = (setup.id.clone(), setup.account.clone());
        let campaign = self.lanes[flight.lane].as_ref().and_then(|lane| self.campaigns.get(&lane.campaign()));
        let template = campaign.map(|campaign| campaign.setup.template.clone()).unwrap_or_default();
        let mut news = false;
        if verdict.scope == Scope::Template {
            for campaign in self.campaigns.values_mut().filter(|campaign| campaign.setup.template == template)
            {
                news |= !std::mem::replace(&mut campaign.setup.template_stopped, true);
            }
        } else {
            for one in &mut self.numbers {
                let hit = match verdict.scope {
                    Scope::Account => one.setup.account == account,
                    Scope::Portfolio | Scope::App => true,
                    _ => one.setup.id == number,
                };
                if hit && one.setup.stopped.is_none() {
                    one.setup.stopped = Some(Blocked::Halted);
                    news = true;
                }
            }
        }
        self.mark_all();
        if news {
            self.outputs.push_back(Output::Halt { verdict: *verdict, number, account, template });
        }
    }
}
