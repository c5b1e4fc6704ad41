//! The contacts of some people in memory, and whether one more is allowed now.
//!
//! A contact takes one entry of 16 bytes in a table that finds them by their person (18 to 36 bytes each, 44 to 88% of the
//! places taken). Times are kept in steps of 64 ms, rounded up, so that a window is never shorter than it should be.
//!
//! Pure and of one thread; `queue::cap` fills it from the notes in Redis and shares it between threads.

use std::time::Duration;

use hashbrown::HashTable;

use crate::domain::contact::{Contact, ContactRules, Note, RESERVED_MAX};
use crate::domain::person::PersonKey;

/// A step of time, in ms: 32 bits of them last for eight years, and no contact is kept so long.
const STEP_MS: u64 = 64;

/// Contacts of people.
#[derive(Debug, Default)]
pub struct Contacts {
    table: HashTable<Entry>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    /// 34 bits of the person, then the number's and the generation's eight.
    who: u64,
    message: u32,
    /// When, in steps.
    at: u32,
}

/// Why a message has to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rule {
    /// Its number wrote to the person a moment ago.
    Pair,
    /// The person was written to often enough.
    Cap,
}

/// That a message has to wait, and until when in Redis' time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hold {
    /// Why.
    pub rule: Rule,
    /// Until then.
    pub until_ms: u64,
}

/// A contact that was noted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Noted {
    /// Names its message.
    pub message: u32,
    /// When, in Redis' time.
    pub at_ms: u64,
}

const PERSON_SHIFT: u32 = 16;

fn who(contact: &Contact) -> u64 {
    contact.person.0 << PERSON_SHIFT | u64::from(contact.number) << 8 | u64::from(contact.generation)
}

impl Entry {
    fn person(&self) -> u64 {
        self.who >> PERSON_SHIFT
    }

    fn number(&self) -> u8 {
        self.who.to_le_bytes()[1]
    }

    fn generation(&self) -> u8 {
        self.who.to_le_bytes()[0]
    }

    /// When it happened, by the distance from now: what lies a little ahead was noted after now was read.
    fn at_ms(&self, now_ms: u64) -> u64 {
        let age = steps(now_ms).wrapping_sub(self.at).cast_signed();
        (now_ms / STEP_MS).saturating_add_signed(-i64::from(age)) * STEP_MS
    }
}

fn steps(ms: u64) -> u32 {
    let [a, b, c, d, ..] = (ms / STEP_MS).to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}

fn hash(person: u64) -> u64 {
    (person ^ person >> 17).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

fn ms(window: Duration) -> u64 {
    u64::try_from((window + RESERVED_MAX).as_millis()).unwrap_or(u64::MAX)
}

impl Contacts {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// Takes in what was noted at a time.
    pub fn note(&mut self, note: &Note, at_ms: u64) {
        let contact = note.contact();
        let same = |entry: &Entry| {
            entry.person() == contact.person.0
                && entry.message == contact.message
                && entry.generation() == contact.generation
        };
        let found = self.table.find_entry(hash(contact.person.0), same);
        match (note, found) {
            (Note::Made(_), Ok(mut known)) => {
                let entry = Entry { who: who(contact), message: contact.message, at: steps_up(at_ms) };
                *known.get_mut() = entry;
            }
            (Note::Made(_), Err(_)) => {
                let entry = Entry { who: who(contact), message: contact.message, at: steps_up(at_ms) };
                self.table.insert_unique(hash(contact.person.0), entry, |entry| hash(entry.person()));
            }
            (Note::Back(_), Ok(known)) => drop(known.remove()),
            (Note::Back(_), Err(_)) => {}
        }
    }

    /// Forgets those that were noted before a time.
    pub fn forget(&mut self, before_ms: u64, now_ms: u64) {
        self.table.retain(|entry| entry.at_ms(now_ms) >= before_ms);
    }

    /// Whether exactly this contact is noted.
    pub fn has(&self, contact: &Contact) -> bool {
        self.of_person(contact.person)
            .any(|entry| entry.message == contact.message && entry.generation() == contact.generation)
    }

    /// Why and until when a contact has to wait; None: it may be made now. `beside` are those that the same batch makes.
    pub fn hold(
        &self,
        rules: &ContactRules,
        contact: &Contact,
        beside: &[Contact],
        now_ms: u64,
    ) -> Option<Hold> {
        let mut pair = 0;
        let mut others: Vec<(u32, u64)> = Vec::new();
        let noted = self
            .of_person(contact.person)
            .map(|entry| (entry.number(), entry.message, entry.generation(), entry.at_ms(now_ms)));
        let beside = beside.iter().filter(|other| other.person == contact.person);
        let beside = beside.map(|other| (other.number, other.message, other.generation, now_ms));
        for (number, message, generation, at_ms) in noted.chain(beside) {
            if (message, generation) == (contact.message, contact.generation) {
                // This very claim: its answer was lost, and it is asked again.
                continue;
            }
            if number == contact.number && !rules.pair.is_zero() {
                pair = pair.max(at_ms.saturating_add(ms(rules.pair)));
            }
            if message != contact.message {
                others.push((message, at_ms));
            }
        }
        let cap = until(rules, others, now_ms);
        let until_ms = pair.max(cap);
        let rule = if cap > now_ms { Rule::Cap } else { Rule::Pair };
        (until_ms > now_ms).then_some(Hold { rule, until_ms })
    }

    /// Contacts of a person that still count, the latest first.
    pub fn of(&self, person: PersonKey, now_ms: u64) -> Vec<Noted> {
        let noted = |entry: &Entry| Noted { message: entry.message, at_ms: entry.at_ms(now_ms) };
        let mut all: Vec<Noted> = self.of_person(person).map(noted).collect();
        all.sort_unstable_by_key(|noted| std::cmp::Reverse(noted.at_ms));
        all
    }

    fn of_person(&self, person: PersonKey) -> impl Iterator<Item = &Entry> {
        self.table.iter_hash(hash(person.0)).filter(move |entry| entry.person() == person.0)
    }
}

fn steps_up(ms: u64) -> u32 {
    steps(ms.saturating_add(STEP_MS - 1))
}

/// Until when the contacts with other messages keep one more away; not later than now: they do not.
fn until(rules: &ContactRules, mut others: Vec<(u32, u64)>, now_ms: u64) -> u64 {
    if others.is_empty() {
        return 0;
    }
    // A message that was tried again counts once, when it was tried last.
    others.sort_unstable_by_key(|(message, at)| (*message, std::cmp::Reverse(*at)));
    others.dedup_by_key(|(message, _)| *message);
    let mut times: Vec<u64> = others.into_iter().map(|(_, at)| at).collect();
    times.sort_unstable_by_key(|at| std::cmp::Reverse(*at));
    let limits = [(Some(1), rules.gap), (rules.per_day, rules.day), (rules.per_week, rules.week())];
    let ends = limits.into_iter().filter(|(_, window)| !window.is_zero()).filter_map(|(most, window)| {
        let at = times.get(usize::from(most?).saturating_sub(1))?;
        Some(at.saturating_add(ms(window)))
    });
    ends.filter(|end| *end > now_ms).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_800_000_000_000;
    const DAY: u64 = 86_400_000;
    const MARGIN: u64 = 2_000;

    fn contact(number: u8, message: u32, generation: u8) -> Contact {
        Contact { person: PersonKey(11_987_654_321), number, message, generation }
    }

    /// Contacts as (number, message, minutes ago) against what one more of number 1, message 9 hears.
    fn check(noted: &[(u8, u32, u64)], expect: Option<(Rule, u64)>) {
        let mut contacts = Contacts::default();
        for (number, message, minutes_ago) in noted {
            let at = NOW - minutes_ago * 60_000;
            contacts.note(&Note::Made(contact(*number, *message, 1)), at);
            let somebody = Contact { person: PersonKey(1), ..contact(*number, *message, 1) };
            contacts.note(&Note::Made(somebody), at);
        }
        let hold = contacts.hold(&ContactRules::DEFAULT, &contact(1, 9, 1), &[], NOW);
        match (hold, expect) {
            (None, None) => {}
            (Some(hold), Some((rule, minutes))) => {
                let wanted = NOW + minutes * 60_000 + MARGIN;
                let off = hold.until_ms.abs_diff(wanted);
                assert!(hold.rule == rule && off <= STEP_MS, "{noted:?}: {hold:?}, wanted {wanted}");
            }
            other => panic!("{noted:?}: {other:?}"),
        }
    }

    #[test]
    fn one_a_day_and_two_a_week() {
        check(&[], None);
        check(&[(2, 1, 60)], Some((Rule::Cap, 1380)));
        check(&[(2, 1, 1446)], None);
        check(&[(2, 1, 1800), (3, 2, 3600)], Some((Rule::Cap, 6480)));
        check(&[(2, 1, 1800), (3, 2, 60)], Some((Rule::Cap, 8280)));
        check(&[(2, 1, 1800), (3, 2, 10086)], None);
        // Three within a week (somebody lowered the cap): the second latest decides.
        check(&[(2, 1, 1800), (3, 2, 3600), (3, 3, 6000)], Some((Rule::Cap, 6480)));
    }

    #[test]
    fn the_same_message_again_is_no_second_contact_but_keeps_its_pair() {
        check(&[(2, 9, 60)], None);
        let mut contacts = Contacts::default();
        contacts.note(&Note::Made(contact(1, 9, 1)), NOW - 1_000);
        let again = contacts.hold(&ContactRules::DEFAULT, &contact(1, 9, 2), &[], NOW).unwrap();
        assert_eq!(again.rule, Rule::Pair);
        assert!((NOW + 7_000..=NOW + 7_064).contains(&again.until_ms), "{again:?}");
        assert_eq!(contacts.hold(&ContactRules::DEFAULT, &contact(1, 9, 1), &[], NOW), None);
        assert_eq!(contacts.hold(&ContactRules::DEFAULT, &contact(2, 9, 2), &[], NOW), None);
        // Two attempts of one message are one contact for another.
        contacts.note(&Note::Made(contact(1, 9, 2)), NOW);
        let two = ContactRules { per_day: Some(2), ..ContactRules::DEFAULT };
        assert_eq!(contacts.hold(&two, &contact(3, 7, 1), &[], NOW), None);
    }

    #[test]
    fn a_gap_and_no_caps() {
        let rules = ContactRules {
            per_day: None,
            per_week: None,
            gap: Duration::from_secs(3_600),
            ..ContactRules::DEFAULT
        };
        let mut contacts = Contacts::default();
        contacts.note(&Note::Made(contact(2, 1, 1)), NOW - DAY);
        contacts.note(&Note::Made(contact(2, 2, 1)), NOW);
        let hold = contacts.hold(&rules, &contact(1, 9, 1), &[], NOW).unwrap();
        assert_eq!((hold.rule, hold.until_ms), (Rule::Cap, NOW + 3_602_000));
        let free = ContactRules { gap: Duration::ZERO, ..rules };
        assert_eq!(contacts.hold(&free, &contact(1, 9, 1), &[], NOW), None);
        assert_eq!(contacts.hold(&free, &contact(2, 9, 1), &[], NOW).unwrap().rule, Rule::Pair);
    }

    #[test]
    fn those_of_the_same_batch_count() {
        let contacts = Contacts::default();
        let beside = [contact(1, 8, 1)];
        let hold = contacts.hold(&ContactRules::DEFAULT, &contact(1, 9, 1), &beside, NOW).unwrap();
        assert_eq!((hold.rule, hold.until_ms), (Rule::Cap, NOW + DAY + MARGIN));
        let other = Contact { person: PersonKey(5), ..contact(1, 8, 1) };
        assert_eq!(contacts.hold(&ContactRules::DEFAULT, &contact(1, 9, 1), &[other], NOW), None);
    }

    #[test]
    fn only_what_was_noted_is_taken_back() {
        let mut contacts = Contacts::default();
        let made = contact(1, 1, 3);
        contacts.note(&Note::Made(made), NOW);
        contacts.note(&Note::Made(made), NOW + 10);
        assert_eq!(contacts.len(), 1);
        for other in [contact(1, 1, 2), contact(1, 2, 3)] {
            contacts.note(&Note::Back(other), NOW);
        }
        assert_eq!(contacts.of(made.person, NOW).len(), 1);
        contacts.note(&Note::Back(Contact { number: 255, ..made }), NOW);
        assert!(contacts.is_empty());
    }

    #[test]
    fn times_are_right_to_a_step_and_never_early() {
        let mut contacts = Contacts::default();
        for (message, at) in [(1, NOW), (2, NOW - 6 * DAY), (3, NOW + 130)] {
            contacts.note(&Note::Made(contact(1, message, 1)), at);
            let noted = contacts.of(PersonKey(11_987_654_321), NOW);
            let noted = noted.iter().find(|noted| noted.message == message).unwrap();
            assert!((at..at + STEP_MS).contains(&noted.at_ms), "{message}: {noted:?}");
        }
    }
}
