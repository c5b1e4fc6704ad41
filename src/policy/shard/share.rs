//! Shares: what one campaign may use of a number's rate, where that is not all of it.
//!
//! A share is a pace of its own for the pair of number and campaign, taken when messages are claimed; the number's own pace still
//! decides when each leaves. A campaign at its bound is passed over like one that may not send, and the number wakes when it has
//! room again. A number without a limit has no share to keep either.

use std::collections::HashMap;
use std::time::Duration;

use super::Shard;
use crate::clock::Mono;
use crate::domain::ids::CampaignSeq;
use crate::policy::pace::{Exactness, Pace};

/// How much of its share a campaign may catch up that other campaigns' turns made it miss. A share need not be exact in every
/// second: the number's own pace is.
const CATCH_UP: Duration = Duration::from_millis(200);

/// The shares of one number.
#[derive(Debug, Default)]
pub(super) struct Shares(HashMap<CampaignSeq, Share>);

#[derive(Debug)]
struct Share {
    pace: Pace,
    /// Messages that the pace allowed and nobody has claimed yet.
    room: usize,
}

impl Shares {
    /// Messages that a campaign may claim now; one without a share has no bound here.
    pub(super) fn room(&self, seq: CampaignSeq) -> usize {
        self.0.get(&seq).map_or(usize::MAX, |share| share.room)
    }

    /// Notes that so many were claimed.
    pub(super) fn spend(&mut self, seq: CampaignSeq, messages: usize) {
        if let Some(share) = self.0.get_mut(&seq) {
            share.room = share.room.saturating_sub(messages);
        }
    }

    /// Forgets the share of a campaign that changed or is over.
    pub(super) fn forget(&mut self, seq: CampaignSeq) {
        self.0.remove(&seq);
    }
}

impl<P> Shard<P> {
    /// Lets the campaigns with something to claim on a number have what their shares allow by now, up to `wanted`. When the
    /// first of those that have nothing will have something, if there is one.
    pub(super) fn fill_shares(&mut self, number: usize, wanted: usize) -> Option<Mono> {
        let now = self.now.mono;
        let one = &mut self.numbers[number];
        let rate_per_s = one.setup.rate_per_s?;
        let mut held_until: Option<Mono> = None;
        for seq in one.agenda.turns.values().flatten().map(|turn| turn.campaign) {
            let Some(campaign) = self.campaigns.get(&seq).filter(|campaign| campaign.may_send()) else {
                continue;
            };
            let Some(per_mille) = campaign.setup.pace_share_per_mille else { continue };
            let share = one.shares.0.entry(seq).or_insert_with(|| {
                // A pace keeps a tolerance out of every second; here the mean counts, so it is put back.
                let mean = 1.0 + CATCH_UP.as_secs_f64();
                let rate_per_s = rate_per_s * f64::from(per_mille) / 1000.0 * mean;
                let exactness = Exactness { tolerance: CATCH_UP, arrival_slack: Duration::ZERO };
                Share { pace: Pace::new(Some(rate_per_s), exactness, now), room: 0 }
            });
            while share.room < wanted {
                match share.pace.take(now) {
                    Ok(()) => share.room += 1,
                    Err(at) if share.room == 0 => {
                        held_until = Some(held_until.map_or(at, |known| known.min(at)));
                        break;
                    }
                    Err(_) => break,
                }
            }
        }
        held_until
    }
}
