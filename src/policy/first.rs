//! The first N: how far into each lane messages may be claimed, so that exactly N leave before a campaign pauses.
//!
//! Exact without a shared counter: each lane gets a **ceiling**, the first index that may not be claimed fresh, and the lanes'
//! owners keep below it on their own. Lanes that are not named may claim nothing fresh. Messages that were begun earlier
//! and wait for a retry are not counted: they belong to an earlier N.

use std::collections::BTreeMap;

use crate::domain::ids::NumberId;

/// Most messages that can be asked for: more is no trial any more.
pub const FIRST_MAX: u64 = 100_000;

/// How far a lane is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Room {
    /// The lane.
    pub lane: u32,
    /// The number that sends it.
    pub number: NumberId,
    /// First message never claimed.
    pub next: u32,
    /// Messages in it.
    pub count: u32,
}

/// The ceilings of a campaign whose first messages are to be sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct First {
    /// Messages granted.
    pub granted: u64,
    /// First index that may not be claimed fresh, by lane.
    pub ceilings: BTreeMap<u32, u32>,
}

impl First {
    /// Grants `wanted` untouched messages in turns over the numbers, and over the lanes of each.
    pub fn grant(rooms: &[Room], wanted: u64) -> Self {
        let mut by_number: BTreeMap<&NumberId, Vec<(u32, u32, u32)>> = BTreeMap::new();
        for room in rooms.iter().filter(|room| room.next < room.count) {
            by_number.entry(&room.number).or_default().push((room.lane, room.next, room.count));
        }
        let mut numbers: Vec<Vec<(u32, u32, u32)>> = by_number.into_values().collect();
        let mut turns = vec![0usize; numbers.len()];
        let mut first = Self::default();
        let mut at = 0;
        while first.granted < wanted.min(FIRST_MAX) && !numbers.is_empty() {
            at %= numbers.len();
            let lanes = &mut numbers[at];
            let turn = turns[at] % lanes.len();
            let (lane, next, count) = &mut lanes[turn];
            *next += 1;
            first.ceilings.insert(*lane, *next);
            first.granted += 1;
            let full = next == count;
            if full {
                lanes.remove(turn);
                turns[at] = turn;
            } else {
                turns[at] = turn + 1;
            }
            if lanes.is_empty() {
                numbers.remove(at);
                turns.remove(at);
            } else {
                at += 1;
            }
        }
        first
    }

    /// The first index of a lane that may not be claimed fresh.
    pub fn ceiling(&self, lane: u32) -> u32 {
        self.ceilings.get(&lane).copied().unwrap_or(0)
    }

    /// Whether a lane of `count` messages, `next` never claimed and `queued` in all, has none left that may leave
    /// without a retry. What was claimed and given back counts as left.
    pub fn used_up(&self, lane: u32, (count, next, queued): (u64, u64, u64)) -> bool {
        let beyond = count.saturating_sub(next.max(u64::from(self.ceiling(lane))));
        queued <= beyond
    }

    /// As it is stored: `N lane:ceiling lane:ceiling …`.
    pub fn to_text(&self) -> String {
        let mut text = self.granted.to_string();
        for (lane, ceiling) in &self.ceilings {
            text += &format!(" {lane}:{ceiling}");
        }
        text
    }

    /// What was stored. A part that cannot be read grants nothing.
    pub fn from_text(text: &str) -> Option<Self> {
        let mut words = text.split(' ');
        let granted = words.next()?.parse().ok()?;
        let ceiling = |word: &str| {
            let (lane, ceiling) = word.split_once(':')?;
            Some((lane.parse().ok()?, ceiling.parse().ok()?))
        };
        Some(Self { granted, ceilings: words.filter_map(ceiling).collect() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn room(lane: u32, number: &str, next: u32, count: u32) -> Room {
        Room { lane, number: NumberId::from(number), next, count }
    }

    #[test]
    fn numbers_and_lanes_take_turns() {
        let rooms = [room(0, "a", 0, 9), room(1, "a", 5, 9), room(2, "b", 0, 9), room(3, "b", 4, 4)];
        let first = First::grant(&rooms, 4);
        assert_eq!(first.to_text(), "4 0:1 1:6 2:2");
        assert_eq!(First::from_text(&first.to_text()), Some(first.clone()));
        assert_eq!((first.ceiling(1), first.ceiling(3)), (6, 0));
        assert_eq!(First::from_text(""), None);
    }

    #[test]
    fn a_lane_is_used_up_when_only_the_rest_is_queued() {
        let first = First { granted: 3, ceilings: BTreeMap::from([(0, 3)]) };
        // Ten messages, ceiling three.
        assert!(!first.used_up(0, (10, 2, 8)));
        assert!(first.used_up(0, (10, 3, 7)));
        assert!(!first.used_up(0, (10, 3, 8)), "one was claimed and given back");
        // Not named: nothing of it may leave, what was begun earlier is begun.
        assert!(first.used_up(1, (10, 4, 6)));
        assert!(first.used_up(1, (10, 0, 10)));
    }

    proptest! {
        #[test]
        fn exactly_as_many_as_there_are_or_were_asked_for(
            lanes in prop::collection::vec((0usize..4, 0u32..20, 0u32..20), 0..30),
            wanted in 0u64..300,
        ) {
            let rooms: Vec<Room> = lanes
                .iter()
                .enumerate()
                .map(|(at, (number, next, more))| {
                    room(u32::try_from(at).unwrap(), ["a", "b", "c", "d"][*number], *next, next + more)
                })
                .collect();
            let first = First::grant(&rooms, wanted);
            let there: u64 = rooms.iter().map(|room| u64::from(room.count - room.next)).sum();
            prop_assert_eq!(first.granted, wanted.min(there));
            let granted: u64 = rooms
                .iter()
                .filter_map(|room| Some(u64::from(first.ceilings.get(&room.lane)? - room.next)))
                .sum();
            prop_assert_eq!(granted, first.granted);
            for room in &rooms {
                prop_assert!(first.ceiling(room.lane) <= room.count);
            }
        }
    }
}
