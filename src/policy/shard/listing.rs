//! Which lanes stand on their number's agenda, and where claimed messages stand in its line.
//!
//! A lane stands among the turns while something of it may be claimed now, and among what waits while a retry of it is due
//! later: in both, if it has untouched messages too. When the time of a retry comes, its lane goes to the front, so that a
//! retry never waits for a whole backlog of untouched messages.

use super::lane::Phase;
use super::{Campaign, Message, Shard};
use crate::domain::ids::CampaignSeq;

/// Places in the line: one for each rank of priority.
pub(super) const PLACES: usize = 4;

/// The place of the lowest priority.
pub(super) const LAST_PLACE: u8 = 3;

const _: () = assert!(LAST_PLACE as usize + 1 == PLACES, "places are counted from 0");

/// A claimed message in its number's line. Its place is its own, not its lane's: a lane that is owed one message has others
/// in line that are owed nothing, and no message of a higher rank may wait for those.
#[derive(Debug)]
pub(super) struct InLine<P> {
    pub(super) lane: usize,
    pub(super) place: u8,
    pub(super) message: Message<P>,
}

impl<P> Shard<P> {
    /// Puts a lane on its number's agenda: with something to claim now, or to be claimed when it is due.
    pub(super) fn list(&mut self, lane: usize) {
        let now = self.now.mono;
        let closed = self.closed_by_hours(lane).is_some();
        let Some(one) = self.lanes[lane].as_mut() else {
            return;
        };
        if one.busy || one.dropping || one.phase == Phase::Lost || closed {
            return;
        }
        let (number, campaign, id) = (one.number, one.campaign(), one.id);
        let known = self.campaigns.get(&campaign).map(|known| (known.setup.rank, known.ceiling(id)));
        let Some((rank, ceiling)) = known else {
            return;
        };
        let ready = one.has_fresh(ceiling) || one.next_due.is_some_and(|due| due <= now);
        if ready && !one.listed {
            one.listed = true;
            self.numbers[number].agenda.push_front(rank, campaign, lane);
            self.mark(number);
        }
        self.wait_for_due(lane);
    }

    /// Lets a lane wait for its next retry, if that is due later.
    fn wait_for_due(&mut self, lane: usize) {
        let now = self.now.mono;
        let Some(one) = self.lanes[lane].as_mut() else { return };
        let (number, due) = (one.number, one.next_due.filter(|due| *due > now));
        let before = std::mem::replace(&mut one.due_at, due);
        if before == due {
            return;
        }
        if let Some(before) = before {
            self.numbers[number].agenda.remove_due(before, lane);
        }
        if let Some(due) = due {
            self.numbers[number].agenda.due.insert((due, lane));
            self.wake(number, due);
        }
    }

    pub(super) fn unlist(&mut self, lane: usize) {
        let Some(one) = self.lanes[lane].as_mut() else { return };
        let number = one.number;
        if one.unlist() {
            self.numbers[number].agenda.remove(lane);
        }
    }

    /// Lists every lane of a campaign anew, since its rank or its ceilings changed.
    pub(super) fn relist_campaign(&mut self, seq: CampaignSeq) {
        let theirs = |lane: &Option<super::Lane>| lane.as_ref().is_some_and(|lane| lane.campaign() == seq);
        let lanes: Vec<usize> = (0..self.lanes.len()).filter(|at| theirs(&self.lanes[*at])).collect();
        for lane in lanes {
            self.unlist(lane);
            self.list(lane);
        }
    }

    /// The first index of a lane that may not be claimed fresh.
    pub(super) fn ceiling_of(&self, lane: usize) -> u32 {
        let one = self.lanes.get(lane).and_then(Option::as_ref);
        let campaign = |one: &super::Lane| Some(self.campaigns.get(&one.campaign())?.ceiling(one.id));
        one.and_then(campaign).unwrap_or(u32::MAX)
    }

    /// Moves lanes whose time has come to the front of their turn.
    pub(super) fn wake_due(&mut self, number: usize) {
        while let Some((due, lane)) = self.numbers[number].agenda.due.first().copied() {
            if due > self.now.mono {
                self.wake(number, due);
                break;
            }
            self.numbers[number].agenda.due.pop_first();
            let one = self.lane(lane);
            one.due_at = None;
            let (listed, campaign) = (one.listed, one.campaign());
            let rank = self.campaigns.get(&campaign).map(|known| known.setup.rank);
            if let Some(rank) = rank.filter(|_| listed)
                && self.numbers[number].agenda.remove_turn(rank, campaign, lane)
            {
                self.lane(lane).listed = false;
            }
            self.list(lane);
        }
    }

    /// Puts claimed messages of a lane into their number's line: behind those of their own place, before those of later
    /// ones.
    pub(super) fn stand_in_line(
        &mut self,
        number: usize,
        (lane, place): (usize, u8),
        messages: Vec<Message<P>>,
    ) {
        let line = &mut self.numbers[number].claimed;
        let behind = line.split_off(line.partition_point(|waiting| waiting.place <= place));
        line.extend(messages.into_iter().map(|message| InLine { lane, place, message }));
        line.extend(behind);
    }

    /// Messages claimed or being claimed that a message of `rank` would have to wait for.
    fn before(&self, number: usize, rank: u8) -> usize {
        let one = &self.numbers[number];
        let claiming: usize = one.claiming.iter().take(usize::from(rank) + 1).sum();
        // Nearly always all of the line are of places up to this one, and looking at its end is enough.
        let all = one.claimed.back().is_none_or(|last| last.place <= rank);
        let claimed = if all {
            one.claimed.len()
        } else {
            one.claimed.partition_point(|waiting| waiting.place <= rank)
        };
        claiming + claimed
    }

    /// How many messages a number should claim now, no more than its pace will use soon and its free slots can take. Those
    /// of a higher rank are claimed although enough of a lower one is.
    pub(super) fn wanted(&self, number: usize) -> usize {
        let one = &self.numbers[number];
        let batch = super::BATCH_MAX;
        let ahead = one.pace.messages_in(self.config.claim_ahead).unwrap_or(batch).clamp(1, batch);
        let target = ahead.min(self.config.max_in_flight.saturating_sub(one.in_flight));
        let may_send = |seq| self.campaigns.get(&seq).is_some_and(Campaign::may_send);
        let rank = one.agenda.first_rank(may_send).unwrap_or(u8::MAX);
        let have = self.before(number, rank);
        if target == 0 || have > target / 2 || one.adopting > 0 { 0 } else { target - have }
    }
}
