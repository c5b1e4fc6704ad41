//! What control does about hours: tells shards whose hours changed, leaves campaigns alone that nothing can happen to,
//! and looks whether this machine's clock can be trusted.

use std::time::Duration;

use super::Control;
use crate::app::hours::{self, CLOCK_OFF_MAX};
use crate::clock::{self, Mono, WallMs};
use crate::domain::ids::{CampaignSeq, LaneId};
use crate::domain::record::State;
use crate::policy::shard::{CampaignSetup, Input};
use crate::queue::lane::LaneCounters;
use crate::queue::{QueueError, time};
use crate::sender::driver::Event;

/// How often the clock is compared with Redis'.
const CLOCK_PERIOD: Duration = Duration::from_secs(10);

/// How often a campaign is counted while all that is left of it waits for hours, or for its portfolio's budget.
const QUIET_PERIOD: Duration = Duration::from_secs(300);

impl Control {
    /// A campaign as the shards are to know it now.
    pub(super) fn setup_of(&mut self, seq: CampaignSeq) -> Option<CampaignSetup> {
        let known = self.state.campaigns.get(&seq)?;
        let now = clock::wall();
        let hours = self.hours.of(&known.record, &known.campaign, &self.config, now);
        let civil = WallMs(now.0.saturating_add_signed(self.config.calendar.clock_shift_ms));
        Some(known.setup(&self.state.halts, self.config.time_scale, civil, hours))
    }

    /// Tells the shards the campaigns whose hours have changed, and notes when the next of them change.
    pub(super) fn look_at_hours(&mut self) {
        let told: Vec<CampaignSeq> = self.state.told.keys().copied().collect();
        for seq in &told {
            let Some(setup) = self.setup_of(*seq) else { continue };
            if self.state.told.get(seq) == Some(&setup) {
                continue;
            }
            for shard in 0..self.shards.len() {
                self.tell(shard, Event::Input(Input::Campaign(setup.clone())));
            }
            self.state.told.insert(*seq, setup);
            self.state.quiet.remove(seq);
            // A number that had nothing to do may have its own lanes again.
            self.state.dry.clear();
        }
        self.hours.due = told.iter().filter_map(|seq| self.hours.until(*seq)).min();
    }

    /// The next round, or earlier when hours change before it.
    pub(super) fn or_hours(&self, next_round: Mono) -> Mono {
        let wait = |due: WallMs| Duration::from_millis(due.0.saturating_sub(clock::wall().0));
        self.hours.due.map_or(next_round, |due| next_round.min(clock::mono().after(wait(due))))
    }

    /// Whether hours let a lane send now.
    pub(super) fn lane_open(&self, id: LaneId) -> bool {
        let told = self.state.told.get(&id.campaign);
        told.is_some_and(|setup| setup.hours.closed(id.lane, clock::wall()).is_none())
    }

    /// Whether nothing can have happened to a campaign since it was counted last.
    pub(super) fn quiet(&self, seq: CampaignSeq) -> bool {
        self.state.quiet.get(&seq).is_some_and(|until| clock::mono() < *until)
    }

    /// Notes whether anything can happen to a campaign before its hours or its portfolio's budget change.
    pub(super) fn note_quiet(&mut self, seq: CampaignSeq, lanes: &[LaneId], counters: &[LaneCounters]) {
        let open = |one: &LaneCounters| -> u64 {
            State::ALL.into_iter().filter(|state| state.open()).map(|state| one.of(state)).sum()
        };
        let busy = lanes.iter().zip(counters).any(|(id, one)| {
            one.of(State::Sending) > 0
                || (open(one) > 0 && self.lane_open(*id) && !self.campaign_used_up(seq))
        });
        let waits = !busy && counters.iter().any(|one| open(one) > 0);
        if waits {
            self.state.quiet.insert(seq, clock::mono().after(QUIET_PERIOD));
        } else {
            self.state.quiet.remove(&seq);
        }
    }

    /// Compares this machine's clock with Redis' now and then. One that is far off must not judge hours.
    pub(super) async fn look_at_clock(&mut self) -> Result<(), QueueError> {
        let now = clock::mono();
        if now < self.hours.clock_due {
            return Ok(());
        }
        self.hours.clock_due = now.after(CLOCK_PERIOD);
        let (before, redis_ms, after) = self
            .link
            .call(async |redis| {
                let before = clock::wall();
                let redis_ms = time::now_ms(redis).await?;
                Ok((before, redis_ms, clock::wall()))
            })
            .await?;
        let off = hours::off_by(before, redis_ms, after);
        let right = off <= CLOCK_OFF_MAX;
        if right != std::mem::replace(&mut self.hours.clock_right, right) {
            if right {
                tracing::info!("the clock agrees with redis again");
            } else {
                tracing::error!(
                    off_ms = off.as_millis(),
                    "the clock is far off redis; nothing is sent until it is right"
                );
            }
            self.broadcast(|| Input::Clock(right));
        }
        Ok(())
    }
}
