//! What goes wrong in a run, how often, and the count of what did.

use std::collections::BTreeMap;
use std::fmt;

use carteiro::domain::record::State;
use rand::RngExt;
use rand::rngs::SmallRng;

use crate::lane_model::Cause;

/// Every kind of trouble. The run counts each, and the whole of its seeds must have seen all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Fault {
    Killed,
    KilledWithinATurn,
    RestartedGracefully,
    JournalLost,
    JournalFull,
    Frozen,
    FrozenPastTheLease,
    CutOffFromRedis,
    RedisDown,
    RedisAnswerLost,
    ClaimAnswerLost,
    ClaimAskedAgain,
    CallCameTwice,
    AnnouncementLost,
    LineDown,
    ConnectionClosed,
    ReplyLost,
    ResetBeforeTaken,
    ResetAfterTaken,
    ServerError,
    Throttled,
    Refused,
    Halted,
    HeldByMeta,
    WebhookLost,
    WebhookLate,
    WebhookTwice,
    WebhooksSwapped,
    WebhookRefused,
    LaneMoved,
    AppendAskedAgain,
    Paused,
    HoursClosed,
    Suppressed,
    RetriedByOperator,
    /// Redis came back without its last moments.
    RedisForgot,
    /// What it had forgotten of a lane was written again.
    WrittenAgain,
    /// Rows that it had forgotten took their places again.
    AppendForgotten,
    /// A lane whose move it had forgotten was given its number again.
    MovedAgain,
    /// A lane was not adopted before others had time to say what Redis forgot of it.
    OthersAwaited,
    /// A release arrived when its message had been claimed again, or settled.
    ReleaseTooLate,
    /// A doubt was over, and its message is sent again.
    DoubtSentAgain,
    /// A doubt stood because no receipts came.
    DoubtStood,
    /// Somebody had been written to as often as allowed.
    PersonHeld,
    /// Somebody had just been written to by the same number.
    PairHeld,
    /// The portfolio had written to as many people as it may.
    BudgetUsedUp,
    /// Somebody was taken back to whom nothing was sent.
    Uncounted,
    /// Somebody was to be taken back who had been counted again.
    UncountedTooLate,
    /// Meta allowed the portfolio fewer people, or more.
    BudgetLowered,
    BudgetRaised,
}

impl Fault {
    pub(crate) const ALL: [Self; 50] = [
        Self::Killed,
        Self::KilledWithinATurn,
        Self::RestartedGracefully,
        Self::JournalLost,
        Self::JournalFull,
        Self::Frozen,
        Self::FrozenPastTheLease,
        Self::CutOffFromRedis,
        Self::RedisDown,
        Self::RedisAnswerLost,
        Self::ClaimAnswerLost,
        Self::ClaimAskedAgain,
        Self::CallCameTwice,
        Self::AnnouncementLost,
        Self::LineDown,
        Self::ConnectionClosed,
        Self::ReplyLost,
        Self::ResetBeforeTaken,
        Self::ResetAfterTaken,
        Self::ServerError,
        Self::Throttled,
        Self::Refused,
        Self::Halted,
        Self::HeldByMeta,
        Self::WebhookLost,
        Self::WebhookLate,
        Self::WebhookTwice,
        Self::WebhooksSwapped,
        Self::WebhookRefused,
        Self::LaneMoved,
        Self::AppendAskedAgain,
        Self::Paused,
        Self::HoursClosed,
        Self::Suppressed,
        Self::RetriedByOperator,
        Self::RedisForgot,
        Self::WrittenAgain,
        Self::AppendForgotten,
        Self::MovedAgain,
        Self::OthersAwaited,
        Self::ReleaseTooLate,
        Self::DoubtSentAgain,
        Self::DoubtStood,
        Self::PersonHeld,
        Self::PairHeld,
        Self::BudgetUsedUp,
        Self::Uncounted,
        Self::UncountedTooLate,
        Self::BudgetLowered,
        Self::BudgetRaised,
    ];
}

/// The edges of the drawing of states in `domain::record` and `domain::receipt`. Each must be walked.
pub(crate) const EDGES: [(Cause, State, State); 30] = [
    (Cause::Claim, State::Queued, State::Sending),
    (Cause::Claim, State::Waiting, State::Sending),
    (Cause::Release, State::Sending, State::Queued),
    (Cause::Settle, State::Sending, State::Accepted),
    (Cause::Settle, State::Sending, State::Held),
    (Cause::Settle, State::Sending, State::Waiting),
    (Cause::Settle, State::Sending, State::Failed),
    (Cause::Settle, State::Sending, State::Expired),
    (Cause::Settle, State::Sending, State::Suppressed),
    (Cause::Settle, State::Sending, State::InDoubt),
    (Cause::Settle, State::InDoubt, State::Accepted),
    (Cause::OwnerLost, State::Sending, State::InDoubt),
    (Cause::Receipt, State::Sending, State::Accepted),
    (Cause::Receipt, State::InDoubt, State::Accepted),
    (Cause::Receipt, State::Held, State::Accepted),
    (Cause::Receipt, State::Accepted, State::Waiting),
    (Cause::Receipt, State::Accepted, State::Failed),
    (Cause::Receipt, State::InDoubt, State::Failed),
    (Cause::Receipt, State::Failed, State::Accepted),
    (Cause::Unsent, State::InDoubt, State::Queued),
    (Cause::Suppress, State::Queued, State::Suppressed),
    (Cause::Suppress, State::Waiting, State::Suppressed),
    (Cause::Retry, State::Failed, State::Waiting),
    (Cause::Resolve, State::InDoubt, State::Unresolved),
    (Cause::Resolve, State::InDoubt, State::Waiting),
    (Cause::Receipt, State::Unresolved, State::Accepted),
    (Cause::Replay, State::Queued, State::Sending),
    (Cause::Replay, State::Queued, State::Accepted),
    (Cause::Replay, State::Sending, State::Accepted),
    (Cause::Replay, State::Sending, State::Queued),
];

/// How often each thing goes wrong: events in a run, or so many in a thousand chances.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ratios {
    pub(crate) kills: u32,
    pub(crate) kills_within_a_turn: u32,
    pub(crate) restarts: u32,
    pub(crate) freezes: u32,
    pub(crate) cut_offs: u32,
    pub(crate) redis_downs: u32,
    pub(crate) forgets: u32,
    pub(crate) line_downs: u32,
    pub(crate) journal_fulls: u32,
    pub(crate) lane_moves: u32,
    pub(crate) pauses: u32,
    pub(crate) closings: u32,
    pub(crate) suppressions: u32,
    pub(crate) operator_retries: u32,
    pub(crate) limits_said: u32,
    pub(crate) journal_lost: u32,
    pub(crate) answer_lost: u32,
    pub(crate) call_twice: u32,
    pub(crate) announcement_lost: u32,
    pub(crate) connection_closed: u32,
    pub(crate) reply_lost: u32,
    pub(crate) reset_before: u32,
    pub(crate) reset_after: u32,
    pub(crate) server_error: u32,
    pub(crate) throttled: u32,
    pub(crate) refused: u32,
    pub(crate) halted: u32,
    pub(crate) held: u32,
    pub(crate) given_up: u32,
    pub(crate) webhook_lost: u32,
    pub(crate) webhook_late: u32,
    pub(crate) webhook_twice: u32,
    pub(crate) webhooks_swapped: u32,
    pub(crate) webhook_refused: u32,
}

impl Ratios {
    /// A mix for one run: about half of the kinds are off, so that each is met alone as well as among others.
    pub(crate) fn draw(rng: &mut SmallRng) -> Self {
        let mut some = |most: u32| {
            if rng.random_bool(0.5) { rng.random_range(1..=most) } else { 0 }
        };
        Self {
            kills: some(4),
            kills_within_a_turn: some(4),
            restarts: some(3),
            freezes: some(4),
            cut_offs: some(3),
            redis_downs: some(3),
            forgets: some(4),
            line_downs: some(2),
            journal_fulls: some(2),
            lane_moves: some(8),
            pauses: some(3),
            closings: some(2),
            suppressions: some(6),
            operator_retries: some(3),
            limits_said: some(3),
            journal_lost: some(500),
            answer_lost: some(60),
            call_twice: some(150),
            announcement_lost: some(500),
            connection_closed: some(50),
            reply_lost: some(60),
            reset_before: some(60),
            reset_after: some(60),
            server_error: some(60),
            throttled: some(60),
            refused: some(150),
            halted: some(8),
            held: some(60),
            given_up: some(250),
            webhook_lost: some(200),
            webhook_late: some(300),
            webhook_twice: some(300),
            webhooks_swapped: some(300),
            webhook_refused: some(200),
        }
    }
}

/// What happened, over one run or many.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    faults: BTreeMap<Fault, u64>,
    edges: BTreeMap<(Cause, State, State), u64>,
    pub(crate) sent: u64,
    pub(crate) events: u64,
}

impl Tally {
    pub(crate) fn fault(&mut self, fault: Fault) {
        *self.faults.entry(fault).or_default() += 1;
    }

    pub(crate) fn edge(&mut self, edge: (Cause, State, State)) {
        *self.edges.entry(edge).or_default() += 1;
    }

    pub(crate) fn add(&mut self, other: &Self) {
        for (fault, count) in &other.faults {
            *self.faults.entry(*fault).or_default() += count;
        }
        for (edge, count) in &other.edges {
            *self.edges.entry(*edge).or_default() += count;
        }
        self.sent += other.sent;
        self.events += other.events;
    }

    /// What never happened.
    pub(crate) fn missing(&self) -> Vec<String> {
        let faults = Fault::ALL.iter().filter(|fault| !self.faults.contains_key(fault));
        let edges = EDGES.iter().filter(|edge| !self.edges.contains_key(edge));
        faults.map(|fault| format!("{fault:?}")).chain(edges.map(|edge| format!("{edge:?}"))).collect()
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} requests, {} events", self.sent, self.events)?;
        for fault in Fault::ALL {
            writeln!(f, "{:>10}  {fault:?}", self.faults.get(&fault).copied().unwrap_or(0))?;
        }
        for ((cause, from, to), count) in &self.edges {
            writeln!(f, "{count:>10}  {} to {} by {cause:?}", from.as_str(), to.as_str())?;
        }
        Ok(())
    }
}
