//! Numbers that come and go while the shard runs, and the lease on all of them.

use super::{Mono, NumberId, Output, Shard};
use crate::policy::adapt::Adaptive;
use crate::policy::pace::Pace;

/// Whether a number is ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tenure {
    /// It is.
    Ours,
    /// It is on its way elsewhere: nothing new begins, what is under way is finished.
    Leaving,
    /// It is not, until it comes back.
    Gone,
}

impl<P> Shard<P> {
    /// Begins to part with a number and all its lanes.
    pub(super) fn on_drop_number(&mut self, id: NumberId) {
        let known = self.number_at.get(&id).copied();
        let Some(at) = known.filter(|at| self.numbers[*at].tenure != Tenure::Gone) else {
            return self.outputs.push_back(Output::NumberDropped(id, self.now.mono));
        };
        if self.numbers[at].tenure == Tenure::Leaving {
            return;
        }
        self.numbers[at].tenure = Tenure::Leaving;
        let of_number = |lane: &Option<super::Lane>| {
            lane.as_ref().is_some_and(|lane| lane.number == at && !lane.dropping)
        };
        let lanes: Vec<usize> = (0..self.lanes.len()).filter(|lane| of_number(&self.lanes[*lane])).collect();
        for lane in lanes {
            self.drop_lane(lane);
        }
        self.mark(at);
        self.part(at);
    }

    /// Lets go of a leaving number once nothing of it is under way, and says when its next message would be due.
    pub(super) fn part(&mut self, number: usize) {
        let now = self.now.mono;
        let one = &mut self.numbers[number];
        if one.tenure == Tenure::Leaving && one.lanes == 0 && one.in_flight == 0 {
            one.tenure = Tenure::Gone;
            (one.wanting, one.called) = (false, false);
            let next = one.pace.hand_over(now);
            self.outputs.push_back(Output::NumberDropped(one.setup.id.clone(), next));
        }
    }

    /// Goes on with the pace of a number's last owner.
    pub(super) fn on_resume(&mut self, id: &NumberId, next: Mono) {
        let Some(at) = self.number_at.get(id).copied() else {
            return;
        };
        let one = &mut self.numbers[at];
        one.adaptive = Adaptive::new(self.now.mono);
        one.pace = Pace::resumed(one.setup.rate_per_s, self.config.exactness, next);
        self.mark(at);
    }

    /// The lease was renewed; an answer that comes late does not shorten it.
    pub(super) fn on_lease(&mut self, until: Mono) {
        if self.lease.is_none_or(|known| known < until) {
            self.lease = Some(until);
            if std::mem::take(&mut self.lapsed) {
                self.mark_all();
            }
        }
    }

    /// Notices the end of the lease: what is claimed and not begun is given back.
    pub(super) fn look_at_lease(&mut self) {
        if !self.lapsed && self.lease.is_some_and(|until| until <= self.now.mono) {
            self.lapsed = true;
            self.mark_all();
        }
    }
}
