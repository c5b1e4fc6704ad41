//! A campaign: what is sent, to whom it may go twice, in which order, and what may be done with it when.

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;

use super::calendar::OwnHours;
use super::contact::CapChoice;
use super::doubt::DoubtRules;
use super::format::Format;
use super::hours::WeekHours;
use super::ids::NumberId;
use super::template::Template;

/// Urgency of a campaign. Strict: a lower one waits while a higher one has something to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Priority {
    /// Single messages and codes.
    Urgent,
    /// Ahead of ordinary campaigns.
    High,
    /// The default.
    Normal,
    /// Whenever nothing else wants the number.
    Bulk,
}

/// What makes two rows of a campaign the same message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DedupKey {
    /// One message per person.
    Person,
    /// One message per person and `ref`: one per debt.
    PersonRef,
}

/// How often and how fast a message that Meta refused for the moment is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Attempts at most, the first included: 1 to 15 (the record holds four bits).
    pub max_attempts: u8,
    /// First backoff; doubles with every attempt.
    pub base: Duration,
    /// Longest backoff.
    pub max: Duration,
}

/// Which column of the file fills what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Columns {
    /// The phone.
    pub phone: String,
    /// The creditor's own reference of the debt, kept with the message.
    pub reference: Option<String>,
    /// The creditor's own key of the debtor, kept with the message.
    pub debtor: Option<String>,
}

/// A variable: a column of the file that fills one or more slots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variable {
    /// Name used in the campaign file (`nome`, or `1` when positional).
    pub name: String,
    /// Column of the recipients file.
    pub column: String,
    /// How the column is written, and how it is shown.
    pub format: Format,
}

/// A boleto's line or a Pix code that must say what the message says. All are positions in [`Campaign::variables`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PaymentCheck {
    /// The line or code.
    pub code: usize,
    /// The amount that it must have.
    pub value: Option<usize>,
    /// The due date that it must have.
    pub due: Option<usize>,
}

/// A campaign as validated from its file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Campaign {
    /// The operator's name of it: 1 to 64 of `a-z 0-9 - _`.
    pub id: String,
    /// WhatsApp Business Account.
    pub account: String,
    /// Numbers it may use; empty means all of the account.
    pub numbers: Vec<NumberId>,
    /// What is sent.
    pub template: Template,
    /// Columns that are not variables.
    pub columns: Columns,
    /// Columns that fill slots, in the order in which a row's values are stored.
    pub variables: Vec<Variable>,
    /// Payment codes that are compared with other columns of their row.
    pub checks: Vec<PaymentCheck>,
    /// What makes two rows the same message.
    pub dedup: DedupKey,
    /// Rows the operator expects over all loads; fixes the lanes at the first load.
    pub expected: Option<u64>,
    /// Urgency.
    pub priority: Priority,
    /// Retries.
    pub retry: RetryPolicy,
    /// What becomes of messages in doubt.
    pub doubt: DoubtRules,
    /// A message older than this since its load is expired, not sent.
    pub validity: Duration,
    /// From then on every message of it is expired, not sent.
    pub valid_until: Option<Timestamp>,
    /// What it says of its hours.
    pub calendar: OwnHours,
    /// When so many fail that it pauses by itself; None: never.
    pub stop_if: Option<StopIf>,
    /// Hours in which it may send, within those that the engine allows anyway; None: all of them.
    pub hours: Option<WeekHours>,
    /// The most that it may use of each number's rate, in thousandths; None: all of it.
    pub pace_share_per_mille: Option<u16>,
    /// Messages that it gets for each one of another campaign of its priority with weight 1, on a number that both use.
    pub weight: u32,
    /// What becomes of messages to people who were written to often enough.
    pub cap: CapChoice,
}

/// The brake: pause after so many messages when more than this share of them failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StopIf {
    /// Messages that must have come to an end since the start before it looks.
    pub after: u64,
    /// The share that may fail, in thousandths.
    pub failed_per_mille: u16,
}

/// Where a campaign stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CampaignState {
    /// Created, nothing loaded.
    Draft,
    /// Loaded, not started.
    Ready,
    /// Sending.
    Running,
    /// Stopped by an operator or a brake, can go on.
    Paused,
    /// Nothing queued, waiting or sending; a new load reopens it.
    Done,
    /// Ended by an operator for good.
    Cancelled,
}

/// What an operator does to a campaign.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verb {
    /// Adds recipients.
    Load,
    /// Begins sending.
    Start,
    /// Stops sending for now.
    Pause,
    /// Goes on after a pause.
    Resume,
    /// Ends it for good.
    Cancel,
    /// Sends the first N, then pauses.
    First,
    /// Begins sending at a time.
    Schedule,
    /// Changes how it is sent.
    Set,
    /// Takes no more recipients.
    Close,
    /// Tries again what Meta certainly refused.
    Retry,
    /// Sends once more what nobody knows of.
    Resend,
}

/// What a verb does to a campaign in a given state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transition {
    /// It is in this state from now on.
    Changed(CampaignState),
    /// The state stays; the verb has nothing to change or, for a load, changes no state.
    Already,
    /// The verb is not valid here.
    Refused {
        /// Why, and what to do instead.
        why: &'static str,
    },
}

/// Most attempts of a message: the record holds them in four bits.
pub const ATTEMPTS_MAX: u8 = 15;

/// What `verb` does to a campaign in `state`. Verbs are idempotent: what is asked for and is so already is no
/// error. That everything is sent (running → done) is the engine's finding, not a verb.
pub fn after(state: CampaignState, verb: Verb) -> Transition {
    use CampaignState as S;
    use Transition::{Already, Changed};
    const CANCELLED: &str = "the campaign is cancelled, for good; create a new one";
    const EMPTY: &str = "the campaign has no recipients yet; load some with `campaign load`";
    const NOT_STARTED: &str = "the campaign is not started; use `campaign start`";
    let refused = |why| Transition::Refused { why };
    match (verb, state) {
        (Verb::Load, S::Draft) => Changed(S::Ready),
        (Verb::Load, S::Ready | S::Running | S::Paused) => Already,
        (Verb::Load, S::Done) => Changed(S::Running),
        (Verb::Load, S::Cancelled) => refused(CANCELLED),

        (Verb::Start, S::Draft) => refused(EMPTY),
        (Verb::Start, S::Ready) => Changed(S::Running),
        (Verb::Start, S::Running | S::Done) => Already,
        (Verb::Start, S::Paused) => refused("the campaign is paused; use `campaign resume`"),
        (Verb::Start, S::Cancelled) => refused(CANCELLED),

        (Verb::Pause, S::Draft | S::Ready) => {
            refused("the campaign is not started, so nothing is being sent")
        }
        (Verb::Pause, S::Running) => Changed(S::Paused),
        (Verb::Pause, S::Paused) => Already,
        (Verb::Pause, S::Done) => refused("the campaign is done, so nothing is being sent"),
        (Verb::Pause, S::Cancelled) => refused(CANCELLED),

        (Verb::Resume, S::Draft | S::Ready) => refused(NOT_STARTED),
        (Verb::Resume, S::Running | S::Done) => Already,
        (Verb::Resume, S::Paused) => Changed(S::Running),
        (Verb::Resume, S::Cancelled) => refused(CANCELLED),

        (Verb::Cancel, S::Draft | S::Ready | S::Running | S::Paused) => Changed(S::Cancelled),
        (Verb::Cancel, S::Done) => refused("the campaign is done, so nothing is left to cancel"),
        (Verb::Cancel, S::Cancelled) => Already,

        // That a paused one paused after its first N, and a running one is at them, is asked of its record.
        (Verb::First, S::Ready | S::Paused) => Changed(S::Running),
        (Verb::First, S::Running) => Already,
        (Verb::First | Verb::Schedule, S::Draft) => refused(EMPTY),
        (Verb::First | Verb::Schedule, S::Done) => {
            refused("the campaign is done, so nothing is left to send")
        }
        (Verb::First | Verb::Schedule, S::Cancelled) => refused(CANCELLED),

        (Verb::Schedule, S::Ready) => Already,
        (Verb::Schedule, S::Running) => refused("the campaign is running already"),
        (Verb::Schedule, S::Paused) => refused("the campaign is paused; use `campaign resume`"),

        (Verb::Set, S::Draft | S::Ready | S::Running | S::Paused | S::Done) => Already,
        (Verb::Set, S::Cancelled) => refused(CANCELLED),

        (Verb::Close, _) => Already,

        (Verb::Retry | Verb::Resend, S::Draft | S::Ready) => refused(NOT_STARTED),
        (Verb::Retry | Verb::Resend, S::Running | S::Paused) => Already,
        (Verb::Retry | Verb::Resend, S::Done) => Changed(S::Running),
        (Verb::Retry | Verb::Resend, S::Cancelled) => refused(CANCELLED),
    }
}

impl CampaignState {
    /// All states, in the order in which a campaign passes through them.
    pub const ALL: [Self; 6] =
        [Self::Draft, Self::Ready, Self::Running, Self::Paused, Self::Done, Self::Cancelled];

    /// Its name in Redis, in `status` and in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Draft => "draft",
            Self::Ready => "ready",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Done => "done",
            Self::Cancelled => "cancelled",
        }
    }

    /// The state of this name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == text)
    }
}

impl fmt::Display for CampaignState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl Verb {
    /// All verbs.
    pub const ALL: [Self; 11] = [
        Self::Load,
        Self::Start,
        Self::Pause,
        Self::Resume,
        Self::Cancel,
        Self::First,
        Self::Schedule,
        Self::Set,
        Self::Close,
        Self::Retry,
        Self::Resend,
    ];

    /// Its name on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Load => "load",
            Self::Start => "start",
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Cancel => "cancel",
            Self::First => "start --first",
            Self::Schedule => "start --at",
            Self::Set => "set",
            Self::Close => "close",
            Self::Retry => "retry",
            Self::Resend => "resolve --resend",
        }
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl Priority {
    /// All priorities, the most urgent first: the position is the rank.
    pub const ALL: [Self; 4] = [Self::Urgent, Self::High, Self::Normal, Self::Bulk];

    /// Its name in files and on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Urgent => "urgent",
            Self::High => "high",
            Self::Normal => "normal",
            Self::Bulk => "bulk",
        }
    }

    /// The priority of this name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|priority| priority.as_str() == text)
    }

    /// 0 for the most urgent to 3.
    pub fn rank(self) -> u8 {
        match self {
            Self::Urgent => 0,
            Self::High => 1,
            Self::Normal => 2,
            Self::Bulk => 3,
        }
    }
}

impl fmt::Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl DedupKey {
    /// Both keys.
    pub const ALL: [Self; 2] = [Self::Person, Self::PersonRef];

    /// Its name in the campaign file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Person => "person",
            Self::PersonRef => "person_ref",
        }
    }

    /// The key of this name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|key| key.as_str() == text)
    }
}

impl Default for StopIf {
    /// After 500, when more than 5% failed.
    fn default() -> Self {
        Self { after: 500, failed_per_mille: 50 }
    }
}

impl Default for RetryPolicy {
    /// Five attempts, 2 s doubling to 10 min.
    fn default() -> Self {
        Self { max_attempts: 5, base: Duration::from_secs(2), max: Duration::from_secs(600) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One line per state, one column per verb: `.` stays, `!` refused, else the initial of the new state
    /// (`D`raft, rea`Y`, `R`unning, `P`aused, d`O`ne, `C`ancelled).
    #[test]
    fn every_verb_in_every_state() {
        //                    load start pause resume cancel first schedule set close retry resend
        let table = [
            (CampaignState::Draft, "Y ! ! ! C ! ! . . ! !"),
            (CampaignState::Ready, ". R ! ! C R . . . ! !"),
            (CampaignState::Running, ". . P . C . ! . . . ."),
            (CampaignState::Paused, ". ! . R C R ! . . . ."),
            (CampaignState::Done, "R . ! . ! ! ! . . R R"),
            (CampaignState::Cancelled, "! ! ! ! . ! ! ! . ! !"),
        ];
        for (state, row) in table {
            let cells: Vec<_> = Verb::ALL
                .into_iter()
                .map(|verb| match after(state, verb) {
                    Transition::Already => ".",
                    Transition::Refused { why } => {
                        assert!(!why.is_empty());
                        "!"
                    }
                    Transition::Changed(CampaignState::Draft) => "D",
                    Transition::Changed(CampaignState::Ready) => "Y",
                    Transition::Changed(CampaignState::Running) => "R",
                    Transition::Changed(CampaignState::Paused) => "P",
                    Transition::Changed(CampaignState::Done) => "O",
                    Transition::Changed(CampaignState::Cancelled) => "C",
                })
                .collect();
            assert_eq!(cells.join(" "), row, "{state}");
        }
    }

    #[test]
    fn a_verb_repeated_is_no_error() {
        for state in CampaignState::ALL {
            for verb in Verb::ALL {
                if let Transition::Changed(next) = after(state, verb) {
                    assert_eq!(after(next, verb), Transition::Already, "{verb} on {state}, twice");
                }
            }
        }
    }

    #[test]
    fn names_come_back() {
        for state in CampaignState::ALL {
            assert_eq!(CampaignState::parse(state.as_str()), Some(state));
        }
        for (rank, priority) in (0..).zip(Priority::ALL) {
            assert_eq!(Priority::parse(priority.as_str()), Some(priority));
            assert_eq!(priority.rank(), rank);
        }
        for key in DedupKey::ALL {
            assert_eq!(DedupKey::parse(key.as_str()), Some(key));
        }
        assert_eq!(CampaignState::parse("Running"), None);
        assert_eq!(Priority::parse(""), None);
    }
}
