//! Contacts: how often a person may be written to over all campaigns, and how often by one number.
//!
//! Windows roll: a day is the 24 hours before now, a week seven times that, by Redis' time. So they are exact, and know
//! neither zones nor midnights. A contact is a message that was taken, or may have been: accepted, held, in doubt. What
//! Meta refused and what was given back unsent is taken back, and a message that is tried again is no second contact.

use std::time::Duration;

use super::ids::{MessageId, NumberId};
use super::person::PersonKey;

/// How long after a message of a number the next one to the same person may follow: Meta's limit of pairs.
pub const PAIR: Duration = Duration::from_secs(6);

/// How old a reservation may be when its message begins; older ones are given back. Every window is longer by this, since
/// it counts from reservations, and Meta from arrivals.
pub const RESERVED_MAX: Duration = Duration::from_secs(2);

/// Bytes of a note in Redis.
pub const NOTE_BYTES: usize = 11;

/// Bytes of a person in a note.
pub const PERSON_BYTES: usize = 5;

/// In place of a number: the note takes a contact back.
const BACK: u8 = u8::MAX;

/// What a campaign does with a message to somebody who was written to often enough.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum CapChoice {
    /// It waits until they may be written to again, or it expires.
    #[default]
    Defer,
    /// It is never sent.
    Suppress,
}

/// How often a person may be written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContactRules {
    /// Contacts in a day at most; None: any number.
    pub per_day: Option<u16>,
    /// Contacts in a week at most; None: any number.
    pub per_week: Option<u16>,
    /// Time between two contacts at least.
    pub gap: Duration,
    /// A day, which trials shorten.
    pub day: Duration,
    /// Time between two messages of one number to one person at least.
    pub pair: Duration,
}

/// One message to one person.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Contact {
    /// The person.
    pub person: PersonKey,
    /// What is kept of the number's id: two numbers may share it, and then wait for each other as one would.
    pub number: u8,
    /// Names the message among those to the person.
    pub message: u32,
    /// Generation of its claim.
    pub generation: u8,
}

/// What is noted of a contact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Note {
    /// It happened, or is about to.
    Made(Contact),
    /// It did not happen after all.
    Back(Contact),
}

impl CapChoice {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Defer, Self::Suppress];

    /// Its name in the campaign file.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Defer => "defer",
            Self::Suppress => "suppress",
        }
    }

    /// The choice of this name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|choice| choice.as_str() == text)
    }
}

impl ContactRules {
    /// One a day and two a week.
    pub const DEFAULT: Self = Self {
        per_day: Some(1),
        per_week: Some(2),
        gap: Duration::ZERO,
        day: Duration::from_secs(86_400),
        pair: PAIR,
    };

    /// The same with every time divided.
    #[must_use]
    pub fn scaled(self, by: u32) -> Self {
        let by = by.max(1);
        Self { gap: self.gap / by, day: self.day / by, pair: self.pair / by, ..self }
    }

    /// Seven days.
    pub fn week(&self) -> Duration {
        self.day * 7
    }

    /// How long a contact counts for anything.
    pub fn keep(&self) -> Duration {
        let day = self.per_day.map(|_| self.day);
        let week = self.per_week.map(|_| self.week());
        let longest = [day, week].into_iter().flatten().max().unwrap_or_default();
        longest.max(self.gap).max(self.pair) + RESERVED_MAX
    }
}

impl Contact {
    /// The contact that a claimed message makes; [`short`] tells what is kept of its number.
    pub fn new(person: PersonKey, number: u8, message: MessageId, generation: u8) -> Self {
        Self { person, number, message: tag(message), generation }
    }
}

/// What is kept of a number's id.
pub fn short(number: &NumberId) -> u8 {
    let hash = number.0.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    u8::try_from((hash >> 32) % u64::from(BACK)).unwrap_or(0)
}

/// Names a message among those to one person: two have the same one once in four thousand million.
fn tag(message: MessageId) -> u32 {
    let MessageId { lane, index } = message;
    let mixed = (u64::from(lane.campaign.0) << 32 | u64::from(lane.lane)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ mixed >> 29 ^ u64::from(index)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    u32::try_from(mixed >> 32).unwrap_or(u32::MAX)
}

impl Note {
    /// Whom it is about.
    pub fn contact(&self) -> &Contact {
        match self {
            Self::Made(contact) | Self::Back(contact) => contact,
        }
    }

    /// Adds its bytes.
    pub fn write(&self, into: &mut Vec<u8>) {
        let (Self::Made(contact) | Self::Back(contact)) = self;
        let number = if matches!(self, Self::Back(_)) { BACK } else { contact.number };
        into.extend_from_slice(&person_bytes(contact.person));
        into.extend_from_slice(&[number, contact.generation]);
        into.extend_from_slice(&contact.message.to_le_bytes());
    }

    /// The note of these bytes; None: there are too few.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let [a, b, c, d, e, number, generation, m, n, o, p] = *bytes.first_chunk::<NOTE_BYTES>()?;
        let person = PersonKey(u64::from_le_bytes([a, b, c, d, e, 0, 0, 0]));
        let contact = Contact { person, number, message: u32::from_le_bytes([m, n, o, p]), generation };
        Some(if number == BACK { Self::Back(contact) } else { Self::Made(contact) })
    }
}

/// A person as notes have it: a key takes 34 bits.
pub fn person_bytes(person: PersonKey) -> [u8; PERSON_BYTES] {
    let [a, b, c, d, e, ..] = person.0.to_le_bytes();
    [a, b, c, d, e]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::{CampaignSeq, LaneId};
    use proptest::prelude::*;

    #[test]
    fn what_is_kept_of_a_number_is_never_the_mark_of_taking_back() {
        for number in 0..10_000u64 {
            assert_ne!(short(&NumberId::from(number.to_string().as_str())), BACK);
        }
    }

    #[test]
    fn messages_that_lie_beside_each_other_are_told_apart() {
        let mut seen = std::collections::BTreeSet::new();
        for campaign in 1..30 {
            for lane in 0..30 {
                for index in 0..30 {
                    let lane = LaneId { campaign: CampaignSeq(campaign), lane };
                    assert!(seen.insert(tag(MessageId { lane, index })));
                }
            }
        }
    }

    #[test]
    fn windows_are_kept_as_long_as_any_counts() {
        let rules = ContactRules::DEFAULT;
        assert_eq!(rules.keep(), Duration::from_secs(7 * 86_400) + RESERVED_MAX);
        let none = ContactRules { per_day: None, per_week: None, ..rules };
        assert_eq!(none.keep(), PAIR + RESERVED_MAX);
        assert_eq!(rules.scaled(100).day, Duration::from_secs(864));
    }

    proptest! {
        #[test]
        fn notes_survive_their_bytes(person in 0u64..1 << 34, number in 0u8..255, message: u32, generation: u8) {
            let contact = Contact { person: PersonKey(person), number, message, generation };
            let mut bytes = Vec::new();
            Note::Made(contact).write(&mut bytes);
            prop_assert_eq!(bytes.len(), NOTE_BYTES);
            prop_assert_eq!(Note::read(&bytes), Some(Note::Made(contact)));
            bytes.clear();
            Note::Back(contact).write(&mut bytes);
            let back = Note::Back(Contact { number: BACK, ..contact });
            prop_assert_eq!(Note::read(&bytes), Some(back));
            prop_assert_eq!(Note::read(&bytes[1..]), None);
        }
    }
}
