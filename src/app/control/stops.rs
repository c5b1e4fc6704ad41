//! Campaigns that begin and stop by themselves: at a time, after their first N, by the brake.
//!
//! Every move is a compare-and-set on what was seen, so that an operator who was faster is never overruled.

use super::Control;
use crate::clock;
use crate::domain::campaign::{Campaign, CampaignState};
use crate::domain::ids::{CampaignSeq, LaneId};
use crate::domain::record::State;
use crate::policy::brake::{self, Tally};
use crate::queue::campaigns::{self, CampaignRecord, Fields, Guard};
use crate::queue::lane::{self, LaneCounters};
use crate::queue::{QueueError, link};

/// Why a running campaign pauses by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stop {
    /// The word in metrics.
    reason: &'static str,
    /// What the operator reads.
    why: String,
}

/// What became of the messages of a campaign, as the brake counts it.
pub(crate) fn tally(sum: &LaneCounters) -> Tally {
    Tally { sent: sum.of(State::Accepted) + sum.of(State::Held), failed: sum.of(State::Failed) }
}

/// Whether a running campaign has to pause: too much failed, or its first N are through.
pub(super) fn why(
    record: &CampaignRecord,
    campaign: &Campaign,
    lanes: &[LaneCounters],
    sum: &LaneCounters,
) -> Option<Stop> {
    let since = tally(sum).since(record.baseline);
    if let Some(why) = campaign.stop_if.and_then(|stop| brake::trips(stop, since)) {
        return Some(Stop { reason: "stop_if", why });
    }
    let first = record.first.as_ref()?;
    // What waits for a retry does not keep it from pausing: it goes on when the rest does.
    let through = sum.of(State::Sending) == 0
        && (0..)
            .zip(lanes)
            .all(|(lane, one)| first.used_up(lane, (one.count, one.next, one.of(State::Queued))));
    through.then(|| Stop { reason: "first", why: format!("first {} sent", first.granted) })
}

impl Control {
    /// Pauses a campaign that has been running since `since_ms`, and says why.
    pub(super) async fn stop_campaign(
        &mut self,
        seq: CampaignSeq,
        since_ms: u64,
        stop: &Stop,
    ) -> Result<(), QueueError> {
        let (now_ms, fields) = (clock::wall().0, Fields::stop(&stop.why));
        let ways = (CampaignState::Running, CampaignState::Paused);
        let moved = self
            .link
            .call(async |redis| {
                let guard = Guard::Since(since_ms);
                let moved = campaigns::move_to(redis, seq, ways, now_ms, &fields, guard).await?;
                campaigns::announce(redis).await?;
                Ok(moved)
            })
            .await?;
        if let Some(known) = self.state.campaigns.get(&seq).filter(|_| moved) {
            let id = &known.record.id;
            match stop.reason {
                "first" => tracing::info!(campaign = id, why = stop.why, "a campaign pauses"),
                _ => tracing::error!(campaign = id, why = stop.why, "a campaign pauses by itself"),
            }
            self.metrics.stopped(id, stop.reason);
        }
        Ok(())
    }

    /// Begins the campaigns whose time has come.
    pub(super) async fn begin_scheduled(&mut self) -> Result<(), QueueError> {
        let now_ms = clock::wall().0;
        let due = self.state.campaigns.values().filter_map(|known| {
            let at_ms = known.record.start_at_ms.filter(|at| *at <= now_ms)?;
            (known.record.state == CampaignState::Ready).then(|| (known.record.clone(), at_ms))
        });
        for (record, at_ms) in due.collect::<Vec<_>>() {
            if begin(&self.link, &record, at_ms, now_ms).await? {
                tracing::info!(
                    campaign = record.id,
                    late_ms = now_ms - at_ms,
                    "a campaign begins at its time"
                );
            }
        }
        Ok(())
    }
}

async fn begin(
    link: &link::Link,
    record: &CampaignRecord,
    at_ms: u64,
    now_ms: u64,
) -> Result<bool, QueueError> {
    let lanes: Vec<LaneId> = (0..record.lanes()).map(|lane| LaneId { campaign: record.seq, lane }).collect();
    let ways = (CampaignState::Ready, CampaignState::Running);
    link.call(async |redis| {
        let mut sum = LaneCounters::default();
        lane::counters(redis, &lanes).await?.iter().for_each(|one| sum.add(one));
        let fields = Fields::begin(tally(&sum), None);
        let moved =
            campaigns::move_to(redis, record.seq, ways, now_ms, &fields, Guard::StartAt(at_ms)).await?;
        campaigns::announce(redis).await?;
        Ok(moved)
    })
    .await
}
