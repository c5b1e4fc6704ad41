//! How often a person was written to: what the creditor allows in a day and in a week, over all campaigns and numbers.
//!
//! A creditor's rule, not Meta's: nothing is refused for it, the ledger counts. A message that comes again is no second
//! contact. Pure: time is an argument.

use std::time::Duration;

use super::hash::Sharded;
use crate::clock::Mono;

/// People that are remembered at most; when full, new ones pass unwatched.
const PEOPLE_MAX: usize = 16_000_000;

/// Contacts of a person that are remembered at most: the latest.
const KEPT: usize = 16;

const DAY: Duration = Duration::from_secs(86_400);

/// Contacts that are allowed; None: any number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ContactCap {
    /// In 24 hours.
    pub per_day: Option<u32>,
    /// In seven times that.
    pub per_week: Option<u32>,
}

/// The contacts of all people.
#[derive(Debug)]
pub(crate) struct ContactWatch {
    cap: ContactCap,
    day: Duration,
    people: Sharded<Vec<(u64, Mono)>>,
}

impl ContactCap {
    /// Whether there is anything to watch.
    pub(crate) fn watches(self) -> bool {
        self != Self::default()
    }
}

impl ContactWatch {
    pub(crate) fn new(cap: ContactCap, time_scale: u32) -> Self {
        Self { cap, day: DAY / time_scale.max(1), people: Sharded::new(PEOPLE_MAX) }
    }

    /// Notes that `message` reached `person`. Whether that was once too often.
    pub(crate) fn taken(&mut self, now: Mono, person: u64, message: u64) -> bool {
        let (day, week) = (self.day, self.day * 7);
        let Some(contacts) = self.people.entry(person, Vec::new) else { return false };
        contacts.retain(|(other, at)| *other != message && now.since(*at) < week);
        let within = |window| contacts.iter().filter(|(_, at)| now.since(*at) < window).count();
        let over = |most: Option<u32>, window| most.is_some_and(|most| within(window) >= most as usize);
        let exceeded = over(self.cap.per_day, day) || over(self.cap.per_week, week);
        if contacts.len() == KEPT {
            contacts.remove(0);
        }
        contacts.push((message, now));
        exceeded
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takings as (hours, message) of one person; those that were once too often.
    fn check(takings: &[(u64, u64)], expect: &[bool]) {
        let mut watch = ContactWatch::new(ContactCap { per_day: Some(1), per_week: Some(2) }, 1);
        let at = |hours: u64| Mono(Duration::from_secs(hours * 3_600));
        let got: Vec<bool> =
            takings.iter().map(|(hours, message)| watch.taken(at(*hours), 7, *message)).collect();
        assert_eq!(got, expect, "{takings:?}");
        assert!(!watch.taken(at(0), 8, 1), "another person");
    }

    #[test]
    fn once_a_day_and_twice_a_week() {
        check(&[(0, 1), (23, 2)], &[false, true]);
        check(&[(0, 1), (24, 2), (100, 3), (168, 4)], &[false, false, true, true]);
        check(&[(0, 1), (24, 2), (192, 3)], &[false, false, false]);
        check(&[(0, 1), (1, 1), (25, 1), (48, 2)], &[false, false, false, true]);
        check(&[(0, 1), (1, 1), (25, 2)], &[false, false, false]);
    }
}
