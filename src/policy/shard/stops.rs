//! The stop list as the machine sees it: whether this process may trust its copy, and which of its messages were found in
//! it. Whom a message is for only the driver knows; it looks each message up when it is claimed, and once more before it
//! is begun if the list has changed since.

use super::{FlightId, Message, Mono, Shard};
use crate::domain::record::{Settlement, State};

impl<P> Shard<P> {
    /// The copy of the stop list is current until then; an answer that comes late does not shorten it.
    pub(super) fn on_stop_list(&mut self, until: Mono) {
        if self.stops.is_none_or(|known| known < until) {
            self.stops = Some(until);
            if std::mem::take(&mut self.stops_stale) && until > self.now.mono {
                self.mark_all();
            }
        }
    }

    /// Whether the copy of the stop list is too old to claim or begin anything by it.
    pub(super) fn stop_list_stale(&self) -> bool {
        self.stops.is_some_and(|until| until <= self.now.mono)
    }

    /// Notices that the copy has become too old: what is claimed and not begun is given back.
    pub(super) fn look_at_stop_list(&mut self) {
        if !self.stops_stale && self.stop_list_stale() {
            self.stops_stale = true;
            self.mark_all();
        }
    }

    /// Takes those out of freshly claimed messages that are in the stop list.
    pub(super) fn without_stopped(&mut self, lane: usize, messages: Vec<Message<P>>) -> Vec<Message<P>> {
        if messages.iter().all(|message| message.stopped.is_none()) {
            return messages;
        }
        let (stopped, rest) = messages.into_iter().partition(|message| message.stopped.is_some());
        let stopped: Vec<Message<P>> = stopped;
        for Message { index, generation, attempt, stopped, .. } in stopped {
            self.suppress(lane, (index, generation), attempt, stopped.unwrap_or(0));
        }
        rest
    }

    /// A message was ordered to be sent, and found in the stop list: its connection is ready again.
    pub(super) fn on_stopped(&mut self, id: FlightId, reason: u8) {
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
        self.suppress(flight.lane, (flight.index, flight.generation), flight.attempt, reason);
        self.mark(flight.number);
    }

    pub(super) fn suppress(&mut self, lane: usize, (index, generation): (u32, u8), attempt: u8, reason: u8) {
        let state = State::Suppressed;
        self.settle(lane, Settlement { index, generation, state, attempt, reason, due_ms: 0 });
    }
}
