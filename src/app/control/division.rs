//! Numbers that come and go: what control does when this process gains one or parts with it, and lanes that change hands
//! between processes.

use std::collections::BTreeSet;
use std::time::Duration;

use super::Control;
use crate::app::board::Board;
use crate::app::ownership::News;
use crate::clock;
use crate::domain::ids::{CampaignSeq, LaneId, NumberId};
use crate::domain::record::State;
use crate::policy::shard::Input;
use crate::queue::lane::{self, LaneCounters};
use crate::queue::{QueueError, agenda, campaigns, owner};
use crate::sender::driver::Event;

/// A number of another process that was given a lane is given the next after this time: until then its board may not yet
/// know of the first.
const GIVE_AGAIN: Duration = Duration::from_secs(3);

/// Where a lane's number is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Here.
    Ours,
    /// With another process, or on its way; or it is another's to move.
    Elsewhere,
    /// No process has it any more, and we are the one to move the lane.
    Nowhere,
}

impl Control {
    /// Acts on everything that the ownership has to say by now.
    pub(super) async fn on_news(&mut self, first: News) -> Result<(), QueueError> {
        let (mut gained, mut lost, mut next) = (false, BTreeSet::new(), Some(first));
        while let Some(news) = next {
            match news {
                News::Drop(number) => self.part_with(&number),
                News::Gained { number, next } => {
                    gained = true;
                    self.state.owned.insert(number.clone());
                    self.house(&number);
                    if let Some(setup) = self.config.numbers.iter().find(|one| one.id == number) {
                        self.tell_number(setup);
                    }
                    match (next, self.shard_of(&number)) {
                        (Some(next), Some(shard)) => {
                            self.tell(shard, Event::Input(Input::Resume(number, next)));
                        }
                        _ => drop(lost.insert(number)),
                    }
                }
            }
            next = self.news.try_recv().ok();
        }
        if gained {
            self.sweep(&lost).await?;
            self.state.scanned.clear();
            self.reload().await?;
        }
        Ok(())
    }

    /// Waits for the first division, so that nobody finds this process ready and idle.
    pub(super) async fn divided(&mut self) -> Result<(), QueueError> {
        self.ownership.refresh().await?;
        match self.news.try_recv() {
            Ok(news) => self.on_news(news).await,
            Err(_) => Ok(()),
        }
    }

    /// Gives a number a shard, the one with the fewest; it keeps it for as long as this process lives.
    fn house(&mut self, number: &NumberId) {
        let mut counts = vec![0usize; self.shards.len()];
        for owned in &self.state.owned {
            if let Some(count) = self.state.homes.get(owned).and_then(|shard| counts.get_mut(*shard)) {
                *count += 1;
            }
        }
        let fewest = (0..counts.len()).min_by_key(|shard| counts[*shard]).unwrap_or(0);
        self.state.homes.entry(number.clone()).or_insert(fewest);
    }

    fn part_with(&mut self, number: &NumberId) {
        let home = self.shard_of(number);
        self.state.owned.remove(number);
        // A lane that is on its way to another number gets there, unless somebody else has its number by now.
        let lost = self.ownership.has_lost(number);
        let (lanes, moving) = (&mut self.state.lanes, &self.state.moving);
        lanes.retain(|id, info| info.number != *number || (!lost && moving.contains_key(id)));
        self.forget_number(number);
        match home {
            Some(shard) => self.tell(shard, Event::Input(Input::DropNumber(number.clone()))),
            None => self.ownership.forget(number),
        }
        self.ownership.told(number);
    }

    /// Lets go of everything, number by number: each is free for another process as soon as nothing of it is under way.
    pub(super) async fn hand_over_all(&mut self) -> Result<(), QueueError> {
        for number in self.ownership.leave() {
            self.part_with(&number);
        }
        while !self.ownership.is_empty() {
            let announced = self.announced.clone();
            tokio::select! {
                report = self.reports.recv() => match report {
                    Some(report) => self.on_report(report).await?,
                    None => return Ok(()),
                },
                // Nothing new begins any more, so whatever is announced is acted on as soon as the shards know that.
                () = announced.notified() => {
                    let version = self.link.call(async |redis| campaigns::version(redis).await).await?;
                    self.broadcast(|| Input::Barrier(version));
                }
                Some(news) = self.news.recv() => {
                    if let News::Drop(number) = news {
                        self.part_with(&number);
                    }
                }
                () = self.ownership.heard() => {}
            }
        }
        Ok(())
    }

    /// Puts what a lost owner was sending through these numbers in doubt, in every campaign, whether it runs or not.
    async fn sweep(&mut self, numbers: &BTreeSet<NumberId>) -> Result<(), QueueError> {
        if numbers.is_empty() {
            return Ok(());
        }
        let seqs = self.link.call(async |redis| campaigns::list(redis).await).await?;
        let seqs: Vec<CampaignSeq> = seqs.into_iter().map(|(seq, _)| seq).collect();
        let records = self.link.call(async |redis| campaigns::read_all(redis, &seqs).await).await?;
        let (token, mut in_doubt) = (self.ownership.token(), 0);
        for record in records {
            let all: Vec<LaneId> =
                (0..record.lanes()).map(|lane| LaneId { campaign: record.seq, lane }).collect();
            let counters = self.link.call(async |redis| lane::counters(redis, &all).await).await?;
            let theirs =
                |one: &LaneCounters| one.number.as_ref().is_some_and(|number| numbers.contains(number));
            for (id, _) in
                all.into_iter().zip(counters).filter(|(_, one)| one.of(State::Sending) > 0 && theirs(one))
            {
                match self.link.call(async |redis| lane::adopt(redis, id, token, true).await).await {
                    Ok(adopted) => in_doubt += adopted.in_doubt,
                    // It moved on meanwhile: whoever has it now has swept it.
                    Err(QueueError::Fenced) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        if in_doubt > 0 {
            tracing::warn!(in_doubt, "messages that a lost process was sending are in doubt");
        }
        Ok(())
    }

    /// Draws a newer token if one of these lanes was adopted under one that is newer than ours: it has come from a number
    /// of another process.
    pub(super) async fn be_newer_than(&self, lanes: &[LaneCounters]) -> Result<(), QueueError> {
        let ours =
            |one: &&LaneCounters| one.number.as_ref().is_some_and(|number| self.state.owned.contains(number));
        let newest = lanes.iter().filter(ours).map(|one| one.token).max().unwrap_or(0);
        if newest > self.ownership.token() {
            self.ownership.refresh().await?;
        }
        Ok(())
    }

    pub(super) fn standing_of(&self, number: &NumberId, pool: &[NumberId]) -> Standing {
        if self.state.owned.contains(number) && pool.contains(number) {
            Standing::Ours
        } else if self.state.failing.contains(number) {
            // Its owner moves the lanes: it alone knows when they are at rest.
            if self.state.owned.contains(number) { Standing::Nowhere } else { Standing::Elsewhere }
        } else if pool.contains(number) || !self.ownership.leads() {
            Standing::Elsewhere
        } else if self.ownership.others_offer(number) {
            // Another process has it still: configurations differ for a while.
            Standing::Elsewhere
        } else {
            Standing::Nowhere
        }
    }

    /// Reads the counters of our own lanes of a campaign that another process watches to its end.
    pub(super) async fn count_own(&mut self, seq: CampaignSeq) -> Result<(), QueueError> {
        let range = LaneId { campaign: seq, lane: 0 }..=LaneId { campaign: seq, lane: u32::MAX };
        let own: Vec<LaneId> = self.state.lanes.range(range).map(|(id, _)| *id).collect();
        let counters = self.link.call(async |redis| lane::counters(redis, &own).await).await?;
        for (id, one) in own.iter().zip(&counters) {
            if let Some(info) = self.state.lanes.get_mut(id) {
                info.left = one.of(State::Queued);
                info.untouched = one.next == 0;
            }
        }
        Ok(())
    }

    /// Looks for lanes that other processes gave to numbers of ours that have nothing left.
    pub(super) async fn receive(&mut self) -> Result<(), QueueError> {
        if self.ownership.others().is_empty() || !self.state.told.values().any(|setup| setup.running) {
            return Ok(());
        }
        for number in self.state.dry.clone() {
            let listed = self.link.call(async |redis| agenda::read(redis, &number).await).await?;
            let running = |id: &LaneId| self.state.told.get(&id.campaign).is_some_and(|setup| setup.running);
            let unknown =
                |id: &LaneId| !self.state.lanes.contains_key(id) && !self.state.moving.contains_key(id);
            let unspent = |id: &LaneId| !self.state.spent.contains(id);
            let new: Vec<LaneId> =
                listed.into_iter().filter(|id| running(id) && unknown(id) && unspent(id)).collect();
            let counters = self.link.call(async |redis| lane::counters(redis, &new).await).await?;
            self.be_newer_than(&counters).await?;
            for (id, one) in new.into_iter().zip(counters) {
                if one.settled() {
                    self.state.spent.insert(id);
                } else if one.number.as_ref() == Some(&number) {
                    self.give(id, &number, &one);
                }
            }
        }
        Ok(())
    }

    /// Gives a lane of ours to each number of another process that has nothing left.
    pub(super) async fn share_out_far(&mut self) -> Result<(), QueueError> {
        let others = self.ownership.others();
        if others.is_empty() || self.state.lanes.is_empty() {
            return Ok(());
        }
        let names: Vec<&str> = others.iter().map(String::as_str).collect();
        let said = self.link.call(async |redis| owner::read_statuses(redis, &names).await).await?;
        let boards = said.iter().filter_map(|said| serde_json::from_str::<Board>(said).ok());
        let dry: BTreeSet<NumberId> =
            boards.flat_map(|board| board.dry).map(|number| NumberId::from(number.as_str())).collect();
        let now = clock::mono();
        self.state.gave.retain(|_, at| now.since(*at) < GIVE_AGAIN);
        for number in dry {
            if self.state.gave.contains_key(&number) || self.state.owned.contains(&number) {
                continue;
            }
            if self.give_away(&number) {
                self.state.gave.insert(number, now);
            }
        }
        Ok(())
    }

    /// What of the board only this process knows: owners, and numbers with nothing left.
    pub(super) fn tell_owners(&self, board: &mut Board) {
        for shown in &mut board.numbers {
            shown.node = Some(board.node.clone());
            shown.since_ms = self.ownership.since_ms(&NumberId::from(shown.id.as_str()));
        }
        board.dry = self.state.dry.iter().map(NumberId::to_string).collect();
        board.configured = self.config.numbers.iter().map(|number| number.id.to_string()).collect();
    }

    /// Forgets the campaign metrics that another process shows from now on.
    pub(super) fn stop_leading(&mut self) {
        for known in self.state.campaigns.values() {
            self.metrics.drop_campaign(&known.record.id);
        }
    }
}
