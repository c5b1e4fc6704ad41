//! Deliberate defects: each breaks one rule of the model or of the process around the machine, and the simulation has to
//! find it. Without one, nothing here changes anything.

use std::borrow::Cow;

use carteiro::domain::receipt::{Receipt, ReceiptKind};
use carteiro::domain::record::{Settlement, State};

use crate::faults::Ratios;
use crate::lane_model::LaneModel;

/// Token and request number.
type Asked = (u64, u64);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mutant {
    /// A settle is written over whatever generation is there.
    SettleIgnoresGeneration,
    /// A claim under another owner's token is granted.
    ClaimIgnoresToken,
    /// What a lost owner was sending is left as it is.
    AdoptLeavesSending,
    /// A claim that is asked again takes more instead of answering the same.
    RetriedClaimAnswersAnew,
    /// A release gives back whatever generation is there, under any token.
    ReleaseIgnoresGeneration,
    /// A receipt of failure is taken for the current attempt's, and the message waits anew.
    ReceiptLowersState,
    /// An outcome that nobody knows is tried again at once.
    DoubtIsResent,
    /// A settle is answered and not written.
    SettleIsLost,
    /// A process goes on when its lease has ended.
    LeaseIsIgnored,
    /// A process that restarts gives back all that its last run claimed, begun or not.
    BegunIsGivenBack,
    /// A change is acknowledged before the shards know of it.
    AcknowledgedTooEarly,
    /// Retries are forgotten by a release.
    ReleaseForgetsRetry,
    /// What Redis forgot is not written again.
    ForgottenStaysForgotten,
    /// Chunks that are missing are not waited for when it is said who claimed from them.
    ChunksAreNotAwaited,
    /// A number that Redis wrongly takes for ours is left as it is.
    StraysAreKept,
    /// After a failover numbers are granted, and lanes adopted, at once.
    NoGrace,
    /// The clock of a doubt runs although no receipts come.
    DoubtClockNeverStands,
    /// What Meta probably did not take is tried again at once.
    DoubtDoesNotWait,
    /// People are written to however often they were.
    CapIsIgnored,
    /// What may have reached a person is taken back as if it had not.
    DoubtIsNoContact,
    /// Nobody is too many for the portfolio's budget.
    BudgetIsIgnored,
    /// Who was counted leaves the budget a window after that, although the message left later.
    BudgetHasNoMargin,
    /// Somebody is taken back although they were counted again since.
    BackTakesWhoWasCountedLater,
    /// What may have reached a person does not count.
    DoubtIsUncounted,
}

impl Mutant {
    pub(crate) const ALL: [Self; 24] = [
        Self::SettleIgnoresGeneration,
        Self::ClaimIgnoresToken,
        Self::AdoptLeavesSending,
        Self::RetriedClaimAnswersAnew,
        Self::ReleaseIgnoresGeneration,
        Self::ReceiptLowersState,
        Self::DoubtIsResent,
        Self::SettleIsLost,
        Self::LeaseIsIgnored,
        Self::BegunIsGivenBack,
        Self::AcknowledgedTooEarly,
        Self::ReleaseForgetsRetry,
        Self::ForgottenStaysForgotten,
        Self::ChunksAreNotAwaited,
        Self::StraysAreKept,
        Self::NoGrace,
        Self::DoubtClockNeverStands,
        Self::DoubtDoesNotWait,
        Self::CapIsIgnored,
        Self::DoubtIsNoContact,
        Self::BudgetIsIgnored,
        Self::BudgetHasNoMargin,
        Self::BackTakesWhoWasCountedLater,
        Self::DoubtIsUncounted,
    ];

    pub(crate) fn claim(mutant: Option<Self>, lane: &LaneModel, (token, request): Asked) -> Asked {
        match mutant {
            Some(Self::ClaimIgnoresToken) => (lane.token, request.max(lane.request + 1)),
            Some(Self::RetriedClaimAnswersAnew) if request == lane.request => (token, request + 1),
            _ => (token, request),
        }
    }

    /// Each is looked for where what would show it is frequent.
    pub(crate) fn favour(self, ratios: &mut Ratios) {
        match self {
            Self::SettleIgnoresGeneration => (ratios.call_twice, ratios.refused) = (400, 300),
            Self::AdoptLeavesSending | Self::BegunIsGivenBack => (ratios.kills, ratios.journal_lost) = (8, 0),
            Self::ReleaseIgnoresGeneration => (ratios.call_twice, ratios.freezes) = (300, 6),
            Self::ReceiptLowersState => (ratios.given_up, ratios.webhook_late) = (200, 300),
            Self::LeaseIsIgnored => ratios.freezes = 8,
            Self::AcknowledgedTooEarly => ratios.pauses = 3,
            Self::ForgottenStaysForgotten | Self::ChunksAreNotAwaited => ratios.forgets = 8,
            Self::StraysAreKept | Self::NoGrace => (ratios.forgets, ratios.restarts) = (8, 4),
            Self::DoubtClockNeverStands => (ratios.server_error, ratios.webhook_lost) = (150, 900),
            Self::DoubtDoesNotWait => (ratios.server_error, ratios.webhook_late) = (150, 700),
            Self::BackTakesWhoWasCountedLater => {
                (ratios.call_twice, ratios.pauses, ratios.journal_fulls) = (900, 16, 12)
            }
            Self::DoubtIsNoContact | Self::DoubtIsUncounted => {
                (ratios.reply_lost, ratios.reset_after) = (200, 200)
            }
            _ => {}
        }
    }

    pub(crate) fn release<'a>(
        mutant: Option<Self>,
        lane: &LaneModel,
        (token, request): Asked,
        messages: &'a [(u32, u8)],
    ) -> (Asked, Cow<'a, [(u32, u8)]>) {
        let held = |(index, generation): &(u32, u8)| {
            let record = lane.records.get(*index as usize);
            (*index, record.map_or(*generation, |record| record.generation))
        };
        match mutant {
            Some(Self::ReleaseIgnoresGeneration) => {
                ((lane.token, request.max(lane.request + 1)), messages.iter().map(held).collect())
            }
            _ => ((token, request), Cow::Borrowed(messages)),
        }
    }

    pub(crate) fn settle<'a>(
        mutant: Option<Self>,
        lane: &LaneModel,
        settlements: &'a [Settlement],
        now_ms: u64,
    ) -> Cow<'a, [Settlement]> {
        let change =
            |change: &dyn Fn(Settlement) -> Settlement| settlements.iter().copied().map(change).collect();
        match mutant {
            Some(Self::SettleIgnoresGeneration) => change(&|one| {
                let record = lane.records.get(one.index as usize);
                Settlement { generation: record.map_or(one.generation, |record| record.generation), ..one }
            }),
            Some(Self::DoubtIsResent) => change(&|one| match one.state {
                State::InDoubt => Settlement { state: State::Waiting, due_ms: now_ms, ..one },
                _ => one,
            }),
            Some(Self::SettleIsLost) => Cow::Owned(Vec::new()),
            _ => Cow::Borrowed(settlements),
        }
    }

    pub(crate) fn receipt(mutant: Option<Self>, lane: &mut LaneModel, receipt: Receipt) -> Receipt {
        let record = lane.records.get_mut(receipt.index as usize);
        match (mutant, record) {
            (Some(Self::ReceiptLowersState), Some(record)) if receipt.kind == ReceiptKind::Failed => {
                record.flags = 0;
                Receipt { generation: record.generation, again: true, ..receipt }
            }
            _ => receipt,
        }
    }
}
