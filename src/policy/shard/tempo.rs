//! How a number's pace follows what Meta takes: the limiter of the adapted rate.

use super::{Flight, Shard};
use crate::policy::adapt::Adaptive;
use crate::policy::pace::Pace;

impl<P> Shard<P> {
    /// Meta refused a number for its pace.
    pub(super) fn slow_down(&mut self, flight: Flight) {
        let (now, config) = (self.now.mono, self.config.adapt);
        if self.numbers[flight.number].adaptive.on_refused(now, flight.began, &config) {
            self.retune(flight.number);
        }
    }

    /// Meta took a message of a number.
    pub(super) fn speed_up(&mut self, number: usize) {
        let (now, config) = (self.now.mono, self.config.adapt);
        if self.numbers[number].adaptive.on_accepted(now, &config) {
            self.retune(number);
        }
    }

    /// Goes on at the adapted rate from where the limiter stands: a number has one pace, whatever it was before.
    fn retune(&mut self, number: usize) {
        let one = &mut self.numbers[number];
        let Some(limit) = one.setup.rate_per_s else { return };
        let next = one.pace.hand_over(self.now.mono);
        one.pace = Pace::resumed(Some(limit * one.adaptive.part()), self.config.exactness, next);
    }

    /// Begins anew at all of the limit: the number is new here, came back, or has another limit.
    pub(super) fn fresh_pace(&mut self, number: usize) {
        let one = &mut self.numbers[number];
        one.adaptive = Adaptive::new(self.now.mono);
        one.pace = Pace::new(one.setup.rate_per_s, self.config.exactness, self.now.mono);
    }
}
