//! The portfolio's limit: how many people may be written to within a window, over all numbers.
//!
//! Meta has no error for it that is known, so nothing is refused: the ledger says how far it was exceeded. Whoever was taken
//! counts until a window after the last time. Pure: time is an argument.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use crate::clock::Mono;

/// Takings that are remembered at most; further ones are not judged.
const TAKINGS_MAX: usize = 16_000_000;

/// The people of all numbers.
#[derive(Debug)]
pub(crate) struct People {
    window: Duration,
    /// People at most; 0 is unlimited.
    most: u64,
    last: HashMap<u64, Mono>,
    takings: VecDeque<(Mono, u64)>,
    /// The largest number of people within any window.
    worst: u64,
}

/// What a taking was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Judged {
    Within,
    /// One person more than may be.
    Exceeds,
    /// A bound was reached.
    Untracked,
}

impl People {
    pub(crate) fn new(most: u64, window: Duration) -> Self {
        Self { window, most, last: HashMap::new(), takings: VecDeque::new(), worst: 0 }
    }

    /// So many from now on.
    pub(crate) fn limit(&mut self, most: u64) {
        self.most = most;
    }

    /// The largest number of people within any window, as far as there was a limit.
    pub(crate) fn worst(&self) -> u64 {
        self.worst
    }

    /// A message to a person was taken.
    pub(crate) fn take(&mut self, now: Mono, person: u64) -> Judged {
        if self.most == 0 {
            return Judged::Within;
        }
        while let Some((at, past)) =
            self.takings.front().copied().filter(|(at, _)| now.since(*at) >= self.window)
        {
            self.takings.pop_front();
            if self.last.get(&past) == Some(&at) {
                self.last.remove(&past);
            }
        }
        if self.takings.len() >= TAKINGS_MAX {
            return Judged::Untracked;
        }
        self.takings.push_back((now, person));
        let new = self.last.insert(person, now).is_none();
        let people = self.last.len() as u64;
        self.worst = self.worst.max(people);
        if new && people > self.most { Judged::Exceeds } else { Judged::Within }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(most: u64, takings: &[(u64, u64)], exceeds: usize, worst: u64) {
        let mut people = People::new(most, Duration::from_secs(10));
        let judged = takings.iter().map(|(at, person)| people.take(Mono(Duration::from_secs(*at)), *person));
        assert_eq!(judged.filter(|one| *one == Judged::Exceeds).count(), exceeds, "{takings:?}");
        assert_eq!(people.worst(), worst, "{takings:?}");
    }

    #[test]
    fn people_count_once_and_until_a_window_after_their_last_message() {
        check(2, &[(0, 1), (1, 2), (2, 1), (9, 2)], 0, 2);
        check(2, &[(0, 1), (1, 2), (2, 3), (3, 4), (3, 4)], 2, 4);
        check(2, &[(0, 1), (1, 2), (10, 3), (11, 4)], 0, 2);
        check(2, &[(0, 1), (1, 2), (9, 1), (10, 3)], 1, 3);
        check(2, &[(0, 1), (0, 1), (10, 1), (19, 2), (20, 3)], 0, 2);
        check(0, &[(0, 1), (0, 2)], 0, 0);
    }
}
