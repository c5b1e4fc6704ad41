//! People of both campaigns, and the notes of their contacts in Redis, as `queue::cap` and its script keep them: decided and
//! noted at once, and a copy of a call that comes late notes nothing if anything was noted about its people meanwhile. The
//! queue's tests hold the script against a model of the same.
//!
//! A Redis that forgets its last moments keeps them here: nothing promises that they are counted again.

use std::collections::BTreeMap;
use std::time::Duration;

use carteiro::domain::contact::{Contact, ContactRules, Note};
use carteiro::domain::ids::{MessageId, NumberId};
use carteiro::domain::person::PersonKey;
use carteiro::policy::contacts::{Contacts, Hold};

use crate::mutants::Mutant;
use crate::store::{PER_LANE, campaign_of, first_lane, lane_id};

/// A short day, so that whoever waits is written to before the run ends.
pub(crate) const RULES: ContactRules = ContactRules {
    per_day: Some(1),
    per_week: None,
    gap: Duration::ZERO,
    day: Duration::from_secs(28),
    pair: Duration::from_secs(6),
};

/// Whom a message is for. The people of the second campaign are among those of the first, in another order.
pub(crate) fn person(lane: usize, index: u32) -> PersonKey {
    let campaign = campaign_of(lane);
    let index = if campaign == 0 { index as usize } else { PER_LANE - 1 - index as usize };
    PersonKey(((lane - first_lane(campaign)) * PER_LANE + index) as u64)
}

fn contact(lane: usize, number: usize, (index, generation): (u32, u8)) -> Contact {
    let message = MessageId { lane: lane_id(lane), index };
    let number = carteiro::domain::contact::short(&NumberId::from(number.to_string().as_str()));
    Contact::new(person(lane, index), number, message, generation)
}

#[derive(Debug, Default)]
pub(crate) struct Notes {
    contacts: Contacts,
    changed_ms: BTreeMap<u64, u64>,
}

impl Notes {
    /// Notes those who may be written to. `late_from`: a copy of a call that was sent then.
    pub(crate) fn admit(
        &mut self,
        (lane, number): (usize, usize),
        messages: &[(u32, u8)],
        now_ms: u64,
        (late_from, mutant): (Option<u64>, Option<Mutant>),
    ) -> Vec<Option<Hold>> {
        let mut beside = Vec::new();
        let mut holds = Vec::new();
        for message in messages {
            let one = contact(lane, number, *message);
            let hold = self.contacts.hold(&RULES, &one, &beside, now_ms);
            let hold = hold.filter(|_| mutant != Some(Mutant::CapIsIgnored));
            if hold.is_none() {
                beside.push(one);
            }
            holds.push(hold);
        }
        for one in beside {
            self.note(Note::Made(one), now_ms, late_from);
        }
        holds
    }

    pub(crate) fn take_back(
        &mut self,
        lane: usize,
        messages: &[(u32, u8)],
        now_ms: u64,
        late_from: Option<u64>,
    ) {
        for message in messages {
            self.note(Note::Back(contact(lane, 0, *message)), now_ms, late_from);
        }
    }

    fn note(&mut self, note: Note, now_ms: u64, late_from: Option<u64>) {
        let person = note.contact().person.0;
        let changed = self.changed_ms.get(&person).copied().unwrap_or(0);
        if late_from.is_none_or(|from| changed < from) {
            self.contacts.note(&note, now_ms);
            self.changed_ms.insert(person, now_ms);
        }
    }
}
