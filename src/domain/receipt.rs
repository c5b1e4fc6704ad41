//! Receipts: what Meta's webhooks say of a message, and what that makes of its record.
//!
//! Receipts come in any order, twice, late, and before the send's own reply. So the flags are only ever OR-ed, and
//! the rule below is total: every receipt on every record has one outcome. `queue/receipt.lua` is the same rule.
//!
//! ```text
//!  sent, delivered, read ─► accepted, from whatever is no success yet (its retry is cancelled)
//!  failed ─► waiting, once, where the error table says that another attempt is worth it; else failed
//!            (from sending, accepted, held, in doubt, unresolved; never once it was delivered)
//! ```
//!
//! A message is claimed anew only after an attempt that did not reach the person, as far as we knew. Two flags tell
//! whether that was true: a positive receipt of the current generation and one of another generation, together, prove
//! that the person got it twice.

use super::ids::{MessageId, NumberId};
use super::record::{Record, State};

/// Flags of a record.
pub mod flags {
    /// Meta sent it.
    pub const SENT: u8 = 1;
    /// It reached the phone. Read implies it: Meta skips the one when the other comes at once.
    pub const DELIVERED: u8 = 2;
    /// The person saw it.
    pub const READ: u8 = 4;
    /// Meta gave up on it, after having taken it.
    pub const FAILED: u8 = 8;
    /// The person answered it. Nobody sets it yet, so its count stays 0: an inbound message names the `wamid` that it
    /// answers and not our id, and which message has a `wamid` only the journal of the process that sent it knows.
    pub const REPLIED: u8 = 16;
    /// The failed receipt is of the current generation.
    pub const NOW_FAILED: u8 = 32;
    /// A positive receipt of the current generation has come.
    pub const NOW_REACHED: u8 = 64;
    /// A positive receipt of another generation has come.
    pub const OTHER_REACHED: u8 = 128;

    /// Those that are counted, by their bit.
    pub const COUNTED: [(&str, u8); 5] =
        [("sent", SENT), ("delivered", DELIVERED), ("read", READ), ("failed", FAILED), ("replied", REPLIED)];
}

/// What a receipt says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum ReceiptKind {
    /// Meta sent it.
    Sent = 0,
    /// It reached the phone.
    Delivered = 1,
    /// The person saw it (or played it).
    Read = 2,
    /// It did not reach the person.
    Failed = 3,
}

/// One receipt of one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// Position in the lane.
    pub index: u32,
    /// Generation of the claim under which it was sent.
    pub generation: u8,
    /// What it says.
    pub kind: ReceiptKind,
    /// Failed: whether another attempt is worth it.
    pub again: bool,
    /// Failed: row of the error table.
    pub reason: u8,
    /// Failed and worth another attempt: when, in wall milliseconds.
    pub due_ms: u64,
}

/// What a receipt changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Where the message stood before.
    pub before: State,
    /// It said something that was not known of the message.
    pub news: bool,
    /// The message changed its state.
    pub moved: bool,
    /// It proved that the person got the message twice.
    pub twice: bool,
    /// There is no such message, or it was never claimed under this generation.
    pub nowhere: bool,
}

/// A receipt as it was heard and what it changed: what the journal keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    /// The message.
    pub message: MessageId,
    /// Generation of the claim under which it was sent.
    pub generation: u8,
    /// What the receipt says.
    pub kind: ReceiptKind,
    /// When it happened, in wall ms by Meta's clock; None: it did not say.
    pub at_ms: Option<u64>,
    /// When it was heard, in wall ms by ours.
    pub heard_at_ms: u64,
    /// Meta's id of the message.
    pub wamid: String,
    /// The number that sent it, if it was named.
    pub number: Option<NumberId>,
    /// Meta's code, of a failed one.
    pub code: Option<i64>,
    /// Row of the error table, of a failed one; else 0.
    pub reason: u8,
    /// Failed: whether the table and the campaign allow another attempt.
    pub again: bool,
    /// What it changed.
    pub outcome: Outcome,
}

impl ReceiptKind {
    /// Every kind, by its number.
    pub const ALL: [Self; 4] = [Self::Sent, Self::Delivered, Self::Read, Self::Failed];

    /// The word in metrics, reports and the journal.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Delivered => "delivered",
            Self::Read => "read",
            Self::Failed => "failed",
        }
    }

    /// The flags that it sets.
    pub const fn bits(self) -> u8 {
        match self {
            Self::Sent => flags::SENT,
            Self::Delivered => flags::DELIVERED,
            Self::Read => flags::READ | flags::DELIVERED,
            Self::Failed => flags::FAILED,
        }
    }
}

impl Outcome {
    /// The outcome for a message that is not there.
    pub const NOWHERE: Self =
        Self { before: State::Queued, news: false, moved: false, twice: false, nowhere: true };

    /// As the script answers it: state before, then one bit each.
    pub fn from_byte(byte: u8) -> Option<Self> {
        let bit = |bit: u8| byte & bit != 0;
        let before = State::from_number(byte >> 4)?;
        Some(Self { before, news: bit(1), moved: bit(2), twice: bit(4), nowhere: bit(8) })
    }
}

/// The flags of a record when its generation changes: what was of the current one is of another now.
pub const fn aged(all: u8) -> u8 {
    let kept = all & !(flags::NOW_FAILED | flags::NOW_REACHED);
    if all & flags::NOW_REACHED != 0 { kept | flags::OTHER_REACHED } else { kept }
}

impl Record {
    /// What a receipt makes of it. `max_attempts` bounds the retry of a failed one.
    #[must_use]
    pub fn received(self, with: &Receipt, max_attempts: u8) -> (Self, Outcome) {
        let before = self.state;
        let same = Outcome { before, news: false, moved: false, twice: false, nowhere: false };
        let forgotten = with.kind == ReceiptKind::Failed && with.generation > self.generation;
        if with.generation == 0 || forgotten {
            return (self, Outcome { nowhere: true, ..same });
        }
        let news = with.kind.bits() & !self.flags != 0;
        match with.kind {
            ReceiptKind::Failed => {
                let after = self.given_up(with, max_attempts);
                (after, Outcome { news, moved: after.state != before, ..same })
            }
            _ => {
                let after = self.reached(with);
                let both = flags::NOW_REACHED | flags::OTHER_REACHED;
                // A newer generation ages the flags first, which never makes them less.
                let twice = self.flags & both != both && after.flags & both == both;
                (after, Outcome { news, moved: after.state != before, twice, ..same })
            }
        }
    }

    /// Meta gave up on it. Of an older generation that is only noted; so it is once the phone has it, since one of
    /// several devices may fail alone.
    fn given_up(self, with: &Receipt, max_attempts: u8) -> Self {
        use State::{Accepted, Failed, Held, InDoubt, Sending, Unresolved, Waiting};
        let noted = Self { flags: self.flags | flags::FAILED, ..self };
        if with.generation < self.generation || self.flags & (flags::DELIVERED | flags::READ) != 0 {
            return noted;
        }
        let noted = Self { flags: noted.flags | flags::NOW_FAILED, ..noted };
        if !matches!(self.state, Sending | Accepted | Held | InDoubt | Unresolved) {
            return noted;
        }
        let attempt = self.tried();
        let again = with.again && self.flags & flags::FAILED == 0 && attempt < max_attempts;
        let state = if again { Waiting } else { Failed };
        Self { state, attempt, reason: with.reason, flags: noted.flags & !flags::NOW_REACHED, ..noted }
    }

    /// Meta sent it, or the person has it. A `sent` that comes after the same attempt's `failed` proves nothing: they
    /// were swapped on the way.
    fn reached(self, with: &Receipt) -> Self {
        let newer = with.generation > self.generation;
        // Redis may have forgotten a claim; Meta has not.
        let known =
            if newer { Self { generation: with.generation, flags: aged(self.flags), ..self } } else { self };
        let older = with.generation < known.generation;
        let overtaken = known.flags & if older { flags::FAILED } else { flags::NOW_FAILED } != 0;
        let noted = Self { flags: known.flags | with.kind.bits(), ..known };
        if with.kind == ReceiptKind::Sent && overtaken {
            return noted;
        }
        let whose = if older { flags::OTHER_REACHED } else { flags::NOW_REACHED };
        let flags = noted.flags | whose;
        if self.state == State::Accepted {
            return Self { flags, ..noted };
        }
        Self { state: State::Accepted, attempt: self.tried(), reason: 0, flags, ..noted }
    }

    /// Attempts, with the one under way.
    fn tried(self) -> u8 {
        if self.state == State::Sending { (self.attempt + 1).min(15) } else { self.attempt }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ATTEMPTS: u8 = 4;

    fn receipt(kind: ReceiptKind, generation: u8) -> Receipt {
        Receipt { index: 0, generation, kind, again: false, reason: 70, due_ms: 0 }
    }

    fn record(state: State, flags: u8) -> Record {
        Record { state, attempt: 1, generation: 2, reason: 9, flags }
    }

    /// The record after some receipts, and how many of them proved a second delivery.
    fn after(start: Record, receipts: &[(ReceiptKind, u8)]) -> (Record, usize) {
        receipts.iter().fold((start, 0), |(record, twice), (kind, generation)| {
            let (record, outcome) = record.received(&receipt(*kind, *generation), ATTEMPTS);
            (record, twice + usize::from(outcome.twice))
        })
    }

    fn check(start: State, receipts: &[(ReceiptKind, u8)], expect: State) {
        assert_eq!(after(record(start, 0), receipts).0.state, expect, "{start:?} {receipts:?}");
    }

    #[test]
    fn a_positive_receipt_lifts_every_state_whatever_its_generation() {
        use ReceiptKind::{Delivered, Read, Sent};
        for state in State::ALL {
            for kind in [Sent, Delivered, Read] {
                for generation in 1..=3 {
                    check(state, &[(kind, generation)], State::Accepted);
                }
            }
        }
    }

    #[test]
    fn a_failed_one_is_final_or_waits_once() {
        use State::{Accepted, Failed, Held, InDoubt, Sending, Unresolved, Waiting};
        let lost = Receipt { again: true, due_ms: 7, ..receipt(ReceiptKind::Failed, 2) };
        for state in State::ALL {
            let concerns = matches!(state, Sending | Accepted | Held | InDoubt | Unresolved);
            let (again, _) = record(state, 0).received(&lost, ATTEMPTS);
            assert_eq!(again.state, if concerns { Waiting } else { state }, "{state:?}");
            let (no_more, _) = record(state, 0).received(&lost, 1);
            assert_eq!(no_more.state, if concerns { Failed } else { state }, "{state:?}");
            let claimed = Record { state, flags: aged(again.flags), ..again };
            let (second, _) = claimed.received(&lost, ATTEMPTS);
            assert_eq!(second.state, if concerns { Failed } else { state }, "{state:?}");
        }
    }

    #[test]
    fn what_the_phone_has_does_not_fail_any_more() {
        use ReceiptKind::{Delivered, Failed, Read, Sent};
        check(State::Accepted, &[(Delivered, 2), (Failed, 2)], State::Accepted);
        check(State::Accepted, &[(Read, 2), (Failed, 2), (Sent, 2)], State::Accepted);
        check(State::Accepted, &[(Failed, 2), (Delivered, 2)], State::Accepted);
    }

    #[test]
    fn sent_and_failed_mean_the_same_in_either_order() {
        use ReceiptKind::{Failed, Sent};
        for order in [[(Sent, 2), (Failed, 2)], [(Failed, 2), (Sent, 2)]] {
            let (record, twice) = after(record(State::Accepted, 0), &order);
            assert_eq!(
                (record.state, record.flags & 15, twice),
                (State::Failed, flags::SENT | flags::FAILED, 0)
            );
        }
        // The refusal of an earlier attempt says nothing of this one.
        check(State::InDoubt, &[(Failed, 1), (Sent, 2)], State::Accepted);
        check(State::Waiting, &[(Failed, 1), (Sent, 1)], State::Waiting);
    }

    #[test]
    fn two_generations_that_arrived_are_a_duplicate_once() {
        use ReceiptKind::{Delivered, Failed, Read, Sent};
        let start = record(State::InDoubt, 0);
        assert_eq!(after(start, &[(Delivered, 1), (Sent, 2), (Delivered, 2), (Read, 1)]).1, 1);
        assert_eq!(after(start, &[(Sent, 2), (Read, 1)]).1, 1);
        assert_eq!(after(start, &[(Sent, 2), (Delivered, 2), (Delivered, 2)]).1, 0);
        assert_eq!(after(start, &[(Sent, 1), (Delivered, 1), (Read, 1)]).1, 0);
        // Failed, and retried: that is what the retry is for.
        assert_eq!(after(start, &[(Failed, 1), (Sent, 1), (Sent, 2), (Delivered, 2)]).1, 0);
        // A claim that Redis forgot, and the one that it remembers.
        assert_eq!(after(start, &[(Sent, 2), (Sent, 3)]).1, 1);
    }

    #[test]
    fn a_message_that_redis_never_saw_claimed_is_lifted_and_never_failed() {
        let (lifted, outcome) = Record::FRESH.received(&receipt(ReceiptKind::Sent, 1), ATTEMPTS);
        assert_eq!((lifted.state, lifted.generation, outcome.moved), (State::Accepted, 1, true));
        let (same, outcome) = Record::FRESH.received(&receipt(ReceiptKind::Failed, 1), ATTEMPTS);
        assert_eq!((same, outcome.nowhere), (Record::FRESH, true));
    }

    fn any_receipt() -> impl Strategy<Value = Receipt> {
        (0..4usize, 0u8..4, any::<bool>()).prop_map(|(kind, generation, again)| Receipt {
            again,
            ..receipt(ReceiptKind::ALL[kind], generation)
        })
    }

    proptest! {
        #[test]
        fn heard_twice_is_heard_once(state in 0u8..11, generation in 0u8..4, all: u8, one in any_receipt()) {
            let state = State::from_number(state).unwrap();
            let start = Record { state, attempt: 1, generation, reason: 3, flags: all };
            let (once, _) = start.received(&one, ATTEMPTS);
            let (again, outcome) = once.received(&one, ATTEMPTS);
            prop_assert_eq!(once, again);
            prop_assert!(!outcome.news && !outcome.moved && !outcome.twice);
            prop_assert_eq!(once.flags & 31, start.flags & 31 | once.flags & 31, "flags are only added");
        }

        #[test]
        fn a_success_is_left_only_by_a_failure(
            receipts in prop::collection::vec(any_receipt(), 0..12), delivered: bool
        ) {
            let flags = if delivered { flags::DELIVERED | flags::NOW_REACHED } else { 0 };
            let mut now = record(State::Accepted, flags);
            let mut failed = false;
            for one in &receipts {
                failed |= one.kind == ReceiptKind::Failed && one.generation == now.generation;
                now = now.received(one, ATTEMPTS).0;
            }
            prop_assert!(now.state == State::Accepted || (failed && !delivered), "{:?}", now);
        }
    }
}
