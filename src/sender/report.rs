//! What a shard tells control.

use crate::clock::Mono;
use crate::domain::ids::{CampaignSeq, LaneId, NumberId};
use crate::domain::person::Pii;
use crate::domain::stop::StopKind;
use crate::policy::classify::Verdict;
use crate::policy::shard::Throttled;

/// What a shard tells control.
#[derive(Debug)]
pub enum Report {
    /// A barrier was reached: shard and version.
    Reached(usize, u64),
    /// A scope must stop.
    Halt {
        /// Why and how wide.
        verdict: Verdict,
        /// The number that was refused.
        number: NumberId,
        /// Its account.
        account: String,
        /// The template that was refused.
        template: String,
    },
    /// Meta's code says that a person is not to be written to from the campaign's account.
    Suppress {
        /// The campaign whose message was refused.
        campaign: CampaignSeq,
        /// Whom it was for, as chunks hold it.
        phone: Pii<u64>,
        /// What the code says.
        kind: StopKind,
    },
    /// A limit wider than a number was refused.
    Throttle(usize, Throttled),
    /// A number has nothing left.
    Dry(NumberId),
    /// A lane may move.
    Dropped(LaneId),
    /// A number may move; its next message is due then.
    NumberDropped(NumberId, Mono),
    /// Everything is finished.
    Drained(usize),
}
