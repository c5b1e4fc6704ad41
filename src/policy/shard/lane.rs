//! Lanes: which messages are claimed, given back and settled. One claim or release at a time per lane, so that
//! a call whose reply was lost can be made again without a later one having overtaken it.

use super::listing::InLine;
use super::{BATCH_MAX, LaneView, Message, Output, Shard};
use crate::clock::Mono;
use crate::domain::ids::{CampaignSeq, LaneId};
use crate::domain::record::{Settlement, State};

/// One lane of this shard.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) id: LaneId,
    pub(super) number: usize,
    pub(super) phase: Phase,
    /// Whether the messages of a lost owner were put in doubt under our token.
    swept: bool,
    /// It is to move elsewhere as soon as it is at rest.
    pub(super) dropping: bool,
    /// It stands among its number's turns.
    pub(super) listed: bool,
    /// It stands among what waits on its number's agenda, for then.
    pub(super) due_at: Option<Mono>,
    /// Where the messages of the claim under way come to stand among those that are claimed: by the rank of its campaign,
    /// or first if it was owed them.
    pub(super) place: u8,
    /// An adopt, claim or release is under way.
    pub(super) busy: bool,
    request: u64,
    /// Messages asked for by the claim under way.
    asked: usize,
    next: u32,
    count: u32,
    pub(super) next_due: Option<Mono>,
    pub(super) claimed: usize,
    pub(super) in_flight: usize,
    to_release: Vec<(u32, u8)>,
    settles: Vec<Settlement>,
    /// Batches of settles under way, and when the first of their retries is due.
    settling: usize,
    settling_due: Option<Mono>,
}

/// How far we know a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Not adopted, or it may have grown since.
    Unknown,
    /// Ours.
    Ours,
    /// Somebody else's.
    Lost,
}

impl Lane {
    /// A lane that begins to be known at `now`. Its request numbers begin there in µs, and none takes less than one: so
    /// they are above those of an earlier stay of the lane here or in another shard of this process, whose token is the
    /// same and whose numbers Redis remembers.
    pub(super) fn new(id: LaneId, number: usize, now: Mono) -> Self {
        Self {
            id,
            number,
            phase: Phase::Unknown,
            swept: false,
            dropping: false,
            listed: false,
            due_at: None,
            place: 0,
            busy: false,
            request: u64::try_from(now.0.as_micros()).unwrap_or(u64::MAX),
            asked: 0,
            next: 0,
            count: 0,
            next_due: None,
            claimed: 0,
            in_flight: 0,
            to_release: Vec::new(),
            settles: Vec::new(),
            settling: 0,
            settling_due: None,
        }
    }

    pub(super) fn campaign(&self) -> CampaignSeq {
        self.id.campaign
    }

    pub(super) fn at_rest(&self) -> bool {
        let quiet = self.claimed == 0 && self.in_flight == 0 && self.to_release.is_empty();
        quiet && !self.busy && self.settles.is_empty() && self.settling == 0
    }

    /// Whether messages of it wait that may be claimed now or later.
    pub(super) fn has_work(&self, ceiling: u32) -> bool {
        self.has_fresh(ceiling) || self.next_due.is_some()
    }

    /// It stands on no agenda any more. False: it stood on none.
    pub(super) fn unlist(&mut self) -> bool {
        let waited = self.due_at.take().is_some();
        std::mem::take(&mut self.listed) || waited
    }

    /// Whether there is something untouched below `ceiling`, or may be.
    pub(super) fn has_fresh(&self, ceiling: u32) -> bool {
        self.phase == Phase::Unknown || self.next < self.count.min(ceiling)
    }

    /// It may have grown, have come back from somebody else, or more of it may be due: look again when nothing known is
    /// left.
    pub(super) fn look_again(&mut self, ceiling: u32) {
        let lost = self.phase == Phase::Lost;
        if lost || (self.phase == Phase::Ours && !self.has_fresh(ceiling)) {
            self.phase = Phase::Unknown;
            self.swept &= !lost;
        }
    }

    fn stands(&mut self, view: LaneView, due: Option<Mono>) {
        (self.next, self.count, self.next_due) = (view.next, view.count, due);
    }
}

impl<P> Shard<P> {
    pub(super) fn lane(&mut self, lane: usize) -> &mut Lane {
        self.lanes[lane].as_mut().expect("a lane is kept until it is at rest and dropped")
    }

    pub(super) fn lane_index(&self, id: LaneId) -> Option<usize> {
        self.lane_at.get(&id).copied()
    }

    /// Orders up to `most` messages of a lane that was just taken off the agenda. Returns how many it ordered.
    pub(super) fn claim(&mut self, lane: usize, most: usize) -> usize {
        let now = self.now.mono;
        let ceiling = self.ceiling_of(lane);
        let one = self.lane(lane);
        one.listed = false;
        if one.busy || one.dropping {
            return 0;
        }
        if one.phase == Phase::Unknown {
            one.busy = true;
            let (id, sweep) = (one.id, !one.swept);
            one.swept = true;
            let number = one.number;
            self.numbers[number].adopting += 1;
            self.outputs.push_back(Output::Adopt { lane: id, sweep });
            return 0;
        }
        let due = if one.next_due.is_some_and(|due| due <= now) { most } else { 0 };
        let fresh =
            if due == 0 { most.min(one.count.min(ceiling).saturating_sub(one.next) as usize) } else { 0 };
        if fresh + due == 0 {
            self.list(lane);
            return 0;
        }
        one.busy = true;
        one.request += 1;
        one.asked = fresh + due;
        let (id, request, number, place) = (one.id, one.request, one.number, usize::from(one.place));
        let one = &mut self.numbers[number];
        one.claiming[place] += fresh + due;
        let order = Output::Claim { lane: id, number: one.setup.id.clone(), request, fresh, due };
        self.outputs.push_back(order);
        fresh + due
    }

    pub(super) fn on_adopted(&mut self, id: LaneId, view: Option<LaneView>) {
        let Some(lane) = self.lane_index(id) else { return };
        let due = view.and_then(|view| view.next_due).map(|due| self.wall_to_mono(due));
        let one = self.lane(lane);
        one.busy = false;
        let number = one.number;
        self.numbers[number].adopting -= 1;
        let one = self.lane(lane);
        match view {
            Some(view) => {
                one.phase = Phase::Ours;
                one.stands(view, due);
            }
            None => one.phase = Phase::Lost,
        }
        self.after_call(lane);
    }

    pub(super) fn on_claimed(&mut self, id: LaneId, claimed: Option<(Vec<Message<P>>, LaneView)>) {
        let Some(lane) = self.lane_index(id) else { return };
        let one = self.lane(lane);
        one.busy = false;
        let (number, place, asked) = (one.number, usize::from(one.place), std::mem::take(&mut one.asked));
        self.numbers[number].claiming[place] -= asked;
        match claimed {
            Some((messages, view)) => {
                let due = view.next_due.map(|due| self.wall_to_mono(due));
                self.lane(lane).stands(view, due);
                let messages = self.without_stopped(lane, messages);
                let messages = self.without_held(lane, messages);
                self.lane(lane).claimed += messages.len();
                self.spread(number);
                let place = self.lane(lane).place;
                self.stand_in_line(number, (lane, place), messages);
            }
            None => self.lane(lane).phase = Phase::Lost,
        }
        self.after_call(lane);
    }

    /// A claim that a failover could forget is given back whole.
    pub(super) fn on_unkept(&mut self, id: LaneId, messages: &[(u32, u8)], view: LaneView) {
        let Some(lane) = self.lane_index(id) else { return };
        messages.iter().for_each(|(index, generation)| self.give_back(lane, *index, *generation));
        self.on_claimed(id, Some((Vec::new(), view)));
    }

    pub(super) fn on_released(&mut self, id: LaneId, view: Option<LaneView>) {
        let Some(lane) = self.lane_index(id) else { return };
        let due = view.and_then(|view| view.next_due).map(|due| self.wall_to_mono(due));
        let one = self.lane(lane);
        one.busy = false;
        match view {
            Some(view) => one.stands(view, due),
            None => one.phase = Phase::Lost,
        }
        self.after_call(lane);
    }

    fn after_call(&mut self, lane: usize) {
        self.flush_release(lane);
        self.list(lane);
        let number = self.lane(lane).number;
        self.mark(number);
        self.rest(lane);
    }

    /// Gives back one message that was claimed and not begun (or certainly not taken).
    pub(super) fn give_back(&mut self, lane: usize, index: u32, generation: u8) {
        self.lane(lane).to_release.push((index, generation));
    }

    /// Orders the release of what was given back, unless a call of this lane is under way.
    pub(super) fn flush_release(&mut self, lane: usize) {
        let one = self.lane(lane);
        if one.busy || one.to_release.is_empty() {
            return;
        }
        // Off the agenda while the release is under way: the answer says anew what there is to claim.
        self.unlist(lane);
        let one = self.lane(lane);
        one.busy = true;
        one.request += 1;
        let rest = one.to_release.len().min(BATCH_MAX);
        let messages = one.to_release.drain(..rest).collect();
        let order = Output::Release { lane: one.id, request: one.request, messages };
        self.outputs.push_back(order);
    }

    /// Notes what became of a message; written with its neighbours.
    pub(super) fn settle(&mut self, lane: usize, settlement: Settlement) {
        let at = self.now.mono.after(self.config.settle_delay);
        let one = self.lane(lane);
        one.settles.push(settlement);
        let (waiting, dropping) = (one.settles.len(), one.dropping);
        self.unsettled += 1;
        if waiting == 1 {
            self.settles.push_back((at, lane));
        }
        // A lane on its way elsewhere waits for no company: its number sends nothing until it is there.
        if waiting >= BATCH_MAX || dropping {
            self.flush_settle(lane);
        }
    }

    /// Orders the settles whose company has had its time.
    pub(super) fn flush_settles(&mut self) {
        while let Some((at, lane)) = self.settles.front().copied() {
            if at > self.now.mono && !self.draining {
                break;
            }
            self.settles.pop_front();
            if self.lanes[lane].is_some() {
                self.flush_settle(lane);
            }
        }
    }

    fn flush_settle(&mut self, lane: usize) {
        let (now, wall) = (self.now.mono, self.now.wall.0);
        let one = self.lane(lane);
        if one.settles.is_empty() {
            return;
        }
        let settlements = std::mem::take(&mut one.settles);
        let waiting =
            settlements.iter().filter(|one| one.state == State::Waiting).map(|one| one.due_ms).min();
        let due = waiting.map(|due| now.after(std::time::Duration::from_millis(due.saturating_sub(wall))));
        one.settling += 1;
        one.settling_due = [one.settling_due, due].into_iter().flatten().min();
        let order = Output::Settle { lane: one.id, settlements };
        self.outputs.push_back(order);
    }

    pub(super) fn on_settled(&mut self, id: LaneId, count: usize) {
        let Some(lane) = self.lane_index(id) else { return };
        let full = self.unsettled >= self.config.max_unsettled;
        self.unsettled = self.unsettled.saturating_sub(count);
        if full && self.unsettled < self.config.max_unsettled {
            // The bound held every number back, and only this tells them.
            self.mark_all();
        }
        let one = self.lane(lane);
        one.settling = one.settling.saturating_sub(1);
        // Answers may come in another order than the orders went out: a due time is kept until all are answered,
        // since a claim that came too early has not found it.
        let due = if one.settling == 0 { one.settling_due.take() } else { one.settling_due };
        if due.is_some_and(|due| one.next_due.is_none_or(|known| due < known)) {
            one.next_due = due;
            self.list(lane);
        }
        let number = self.lane(lane).number;
        self.mark(number);
        self.rest(lane);
    }

    /// Begins to part with a lane.
    pub(super) fn drop_lane(&mut self, lane: usize) {
        let one = self.lane(lane);
        one.dropping = true;
        self.unlist(lane);
        let number = self.lane(lane).number;
        let held = std::mem::take(&mut self.numbers[number].claimed);
        let (back, kept): (Vec<_>, Vec<_>) = held.into_iter().partition(|waiting| waiting.lane == lane);
        self.numbers[number].claimed = kept.into();
        for InLine { message, .. } in back {
            self.lane(lane).claimed -= 1;
            self.give_back(lane, message.index, message.generation);
        }
        self.flush_release(lane);
        self.flush_settle(lane);
        self.rest(lane);
    }

    /// Lets go of a dropped lane once nothing of it is under way.
    fn rest(&mut self, lane: usize) {
        let one = self.lane(lane);
        if one.dropping && one.at_rest() {
            let (id, number) = (one.id, one.number);
            self.lanes[lane] = None;
            self.lane_at.remove(&id);
            // The place may still stand in the queue of settles: it is used again only when that is empty.
            self.free_lanes.push(lane);
            self.outputs.push_back(Output::Dropped(id));
            self.numbers[number].lanes -= 1;
            self.part(number);
        }
    }
}
