//! The record: four bytes that say how far a message got.
//!
//! `state (4 bits) attempt (4 bits) · generation · reason · receipt flags`. Zero is queued and untouched, so a
//! fresh lane needs no initialising beyond its length. The Lua scripts of `queue` read and write the same bytes;
//! [`State`] is the one table of numbers for both.
//!
//! ```text
//!  queued ─ claim ─► sending ─ settle ─┬─► accepted | held
//!    ▲                  │              ├─► waiting (retry due at t) ─ claim ─► sending
//!    │ release          │              ├─► failed (permanent, or attempts used up)
//!    └──────────────────┤              ├─► expired | suppressed (found at the last gate, never begun)
//!                       │              └─► in doubt ─ settle of the same generation ─► any of the above
//!                       └ owner lost ──► in doubt
//! ```
//!
//! What Meta's receipts make of a record is in [`super::receipt`].

use super::receipt;

/// Bytes of a record.
pub const RECORD_BYTES: usize = 4;

/// Highest generation: a message claimed this often is claimed no more.
pub const GENERATION_MAX: u8 = 255;

/// Where a message stands. The numbers are stored: they are never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum State {
    /// Not claimed.
    Queued = 0,
    /// Claimed; the request may have left.
    Sending = 1,
    /// Meta took it.
    Accepted = 2,
    /// Meta took it and holds it back.
    Held = 3,
    /// Refused for now, due again later.
    Waiting = 4,
    /// Refused for good, or attempts used up.
    Failed = 5,
    /// Nobody knows yet whether it reached the person.
    InDoubt = 6,
    /// Nobody ever will.
    Unresolved = 7,
    /// Not to be sent: paid, opted out, cap.
    Suppressed = 8,
    /// Too old to be sent.
    Expired = 9,
    /// Its campaign was cancelled before it left.
    Cancelled = 10,
}

/// One message's record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Record {
    /// Where it stands.
    pub state: State,
    /// How often it was really tried, 0 to 15.
    pub attempt: u8,
    /// How often it was claimed and not given back.
    pub generation: u8,
    /// Row of the error table; 0 means none.
    pub reason: u8,
    /// Receipts seen.
    pub flags: u8,
}

/// What became of a claimed message, to be written to its record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settlement {
    /// Position in the lane.
    pub index: u32,
    /// Generation of the claim it belongs to; another generation's record is left alone.
    pub generation: u8,
    /// The new state: any but queued and sending.
    pub state: State,
    /// The new attempt count, 0 to 15.
    pub attempt: u8,
    /// Row of the error table; 0 means none.
    pub reason: u8,
    /// When a waiting message is due, in wall milliseconds; 0 otherwise.
    pub due_ms: u64,
}

impl State {
    /// Every state, by its number.
    pub const ALL: [Self; 11] = [
        Self::Queued,
        Self::Sending,
        Self::Accepted,
        Self::Held,
        Self::Waiting,
        Self::Failed,
        Self::InDoubt,
        Self::Unresolved,
        Self::Suppressed,
        Self::Expired,
        Self::Cancelled,
    ];

    /// The stored number.
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// The state of a stored number.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }

    /// The word used in `status`, reports and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Sending => "sending",
            Self::Accepted => "accepted",
            Self::Held => "held",
            Self::Waiting => "waiting",
            Self::Failed => "failed",
            Self::InDoubt => "in_doubt",
            Self::Unresolved => "unresolved",
            Self::Suppressed => "suppressed",
            Self::Expired => "expired",
            Self::Cancelled => "cancelled",
        }
    }

    /// Whether a claim may take a message from here.
    pub const fn claimable(self) -> bool {
        matches!(self, Self::Queued | Self::Waiting)
    }

    /// Whether a campaign with a message here still has something to do.
    pub const fn open(self) -> bool {
        matches!(self, Self::Queued | Self::Sending | Self::Waiting)
    }

    /// Whether a settlement of the same generation may write `next` over this state.
    pub const fn settles_to(self, next: Self) -> bool {
        matches!(self, Self::Sending | Self::InDoubt) && !matches!(next, Self::Queued | Self::Sending)
    }
}

impl Record {
    /// A message that was never touched.
    pub const FRESH: Self = Self { state: State::Queued, attempt: 0, generation: 0, reason: 0, flags: 0 };

    /// The stored bytes.
    pub const fn to_bytes(self) -> [u8; RECORD_BYTES] {
        [self.state.number() << 4 | self.attempt & 15, self.generation, self.reason, self.flags]
    }

    /// The record of stored bytes; None for a state number that does not exist.
    pub fn from_bytes(bytes: [u8; RECORD_BYTES]) -> Option<Self> {
        let [head, generation, reason, flags] = bytes;
        Some(Self { state: State::from_number(head >> 4)?, attempt: head & 15, generation, reason, flags })
    }

    /// Claims it: None when it may not be claimed.
    #[must_use]
    pub fn claimed(self) -> Option<Self> {
        let generation = self.generation.checked_add(1)?;
        let flags = receipt::aged(self.flags);
        self.state.claimable().then_some(Self { state: State::Sending, generation, flags, ..self })
    }

    /// Gives a claim back unsent: None unless it is sending under this generation.
    #[must_use]
    pub fn released(self, generation: u8) -> Option<Self> {
        let ours = self.state == State::Sending && self.generation == generation && generation > 0;
        ours.then_some(Self { state: State::Queued, generation: generation.wrapping_sub(1), ..self })
    }

    /// Writes what became of it: None when the settlement belongs to another generation or state.
    #[must_use]
    pub fn settled(self, with: &Settlement) -> Option<Self> {
        let applies = self.generation == with.generation && self.state.settles_to(with.state);
        applies.then_some(Self {
            state: with.state,
            attempt: with.attempt.min(15),
            reason: with.reason,
            ..self
        })
    }

    /// Its owner is gone while it was sending: None unless it was.
    #[must_use]
    pub fn owner_lost(self, reason: u8) -> Option<Self> {
        (self.state == State::Sending).then_some(Self { state: State::InDoubt, reason, ..self })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn record(state: State) -> Record {
        Record { state, attempt: 2, generation: 3, reason: 9, flags: 5 }
    }

    #[test]
    fn every_state_keeps_its_number_and_bytes() {
        for (number, state) in State::ALL.into_iter().enumerate() {
            assert_eq!(usize::from(state.number()), number);
            let record = record(state);
            assert_eq!(Record::from_bytes(record.to_bytes()), Some(record));
        }
        assert_eq!(Record::FRESH.to_bytes(), [0; 4]);
        assert_eq!(Record::from_bytes([11 << 4, 0, 0, 0]), None);
    }

    /// Cell by cell: from each state, what claim, release and owner-lost make of it.
    #[test]
    fn claims_releases_and_losses_cell_by_cell() {
        use State::{InDoubt, Queued, Sending, Waiting};
        for state in State::ALL {
            let from = record(state);
            let claimed =
                matches!(state, Queued | Waiting).then_some(Record { state: Sending, generation: 4, ..from });
            assert_eq!(from.claimed(), claimed, "claim {state:?}");
            let released = (state == Sending).then_some(Record { state: Queued, generation: 2, ..from });
            assert_eq!(from.released(3), released, "release {state:?}");
            assert_eq!(from.released(2), None, "release of another generation {state:?}");
            let lost = (state == Sending).then_some(Record { state: InDoubt, reason: 10, ..from });
            assert_eq!(from.owner_lost(10), lost, "owner lost {state:?}");
        }
    }

    #[test]
    fn settlements_cell_by_cell() {
        for from in State::ALL {
            for to in State::ALL {
                let with =
                    Settlement { index: 0, generation: 3, state: to, attempt: 3, reason: 7, due_ms: 0 };
                let allowed = matches!(from, State::Sending | State::InDoubt)
                    && !matches!(to, State::Queued | State::Sending);
                let expected = allowed.then_some(Record { state: to, attempt: 3, reason: 7, ..record(from) });
                assert_eq!(record(from).settled(&with), expected, "{from:?} to {to:?}");
                let other = Settlement { generation: 2, ..with };
                assert_eq!(record(from).settled(&other), None, "{from:?} to {to:?} of another generation");
            }
        }
    }

    #[test]
    fn the_last_generation_is_claimed_no_more() {
        let last = Record { generation: GENERATION_MAX, ..Record::FRESH };
        assert_eq!(last.claimed(), None);
    }

    proptest! {
        #[test]
        fn any_four_bytes_either_survive_or_are_refused(bytes: [u8; 4]) {
            match Record::from_bytes(bytes) {
                Some(record) => prop_assert_eq!(record.to_bytes(), bytes),
                None => prop_assert!(bytes[0] >> 4 > 10),
            }
        }

        #[test]
        fn a_claim_given_back_leaves_what_was_there(attempt in 0u8..16, generation in 0u8..255, reason: u8) {
            let before = Record { state: State::Queued, attempt, generation, reason, flags: 0 };
            let claimed = before.claimed().unwrap();
            prop_assert_eq!(claimed.released(claimed.generation), Some(before));
        }
    }
}
