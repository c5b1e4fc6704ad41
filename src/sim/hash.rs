//! Keyed hashes of the simulator and the maps that are keyed by them.
//!
//! A hash stands for a message id or a person, so that ten million of them fit in memory; with 64 bits the odds
//! of one false duplicate among ten million are below 1 in 300,000. Nothing here reads a clock.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use siphasher::sip::SipHasher13;

/// What a hash is for: the same bytes hash differently in each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Domain {
    /// A message id without its generation.
    Id = 1,
    /// A person within a campaign.
    Person = 2,
    /// A sending number and a person.
    Pair = 3,
    /// Whether a fault strikes.
    Draw = 4,
    /// How long an answer takes.
    Latency = 5,
    /// The `wamid` of an answer.
    Wamid = 6,
    /// The name of a fault or a number.
    Name = 7,
    /// The id of a medium.
    Media = 8,
    /// Which receipts a message gets.
    Webhook = 9,
}

/// Hashes keyed by the seed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Keys(pub(crate) u64);

/// A map from hashes, cut into many small tables, so that growing one never stops the server for long
/// (doubling one table of a million entries takes longer than the lag a run may have).
#[derive(Debug)]
pub(crate) struct Sharded<V> {
    tables: Vec<Table<V>>,
    len: usize,
    max: usize,
}

type Table<V> = HashMap<u64, V, BuildHasherDefault<Through>>;

/// Hands a key through that is a hash already.
#[derive(Debug, Default)]
pub(crate) struct Through(u64);

const TABLES: u64 = 256;

impl Keys {
    pub(crate) fn bytes(self, domain: Domain, bytes: &[u8]) -> u64 {
        SipHasher13::new_with_keys(self.0, domain as u64).hash(bytes)
    }

    pub(crate) fn words<const N: usize>(self, domain: Domain, words: [u64; N]) -> u64 {
        let mut hasher = SipHasher13::new_with_keys(self.0, domain as u64);
        for word in words {
            hasher.write_u64(word);
        }
        hasher.finish()
    }
}

/// A number in [0, 1) from a hash.
pub(crate) fn unit(hash: u64) -> f64 {
    const STEP: f64 = 1.0 / (1u64 << 53) as f64;
    (hash >> 11) as f64 * STEP
}

impl<V> Sharded<V> {
    /// Holds at most `max` entries.
    pub(crate) fn new(max: usize) -> Self {
        Self { tables: (0..TABLES).map(|_| Table::default()).collect(), len: 0, max }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn get(&self, key: u64) -> Option<&V> {
        self.tables[table_of(key)].get(&key)
    }

    /// The entry of `key`, made by `default` when it is new; None when the map is full.
    pub(crate) fn entry(&mut self, key: u64, default: impl FnOnce() -> V) -> Option<&mut V> {
        let table = &mut self.tables[table_of(key)];
        match table.entry(key) {
            std::collections::hash_map::Entry::Occupied(entry) => Some(entry.into_mut()),
            std::collections::hash_map::Entry::Vacant(_) if self.len >= self.max => None,
            std::collections::hash_map::Entry::Vacant(entry) => {
                self.len += 1;
                Some(entry.insert(default()))
            }
        }
    }

    /// How many entries the table that `key` falls into has.
    pub(crate) fn table_len(&self, key: u64) -> usize {
        self.tables[table_of(key)].len()
    }

    /// Forgets what `keep` says no to, in the table that `key` falls into.
    pub(crate) fn sweep_table(&mut self, key: u64, mut keep: impl FnMut(&V) -> bool) {
        let table = &mut self.tables[table_of(key)];
        let before = table.len();
        table.retain(|_, value| keep(value));
        self.len -= before - table.len();
    }
}

/// The table comes from bits that the table itself uses neither for its buckets nor for its tags.
pub(crate) fn table_of(key: u64) -> usize {
    usize::from((key >> 40).to_le_bytes()[0])
}

impl Hasher for Through {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("keys are u64");
    }

    fn write_u64(&mut self, key: u64) {
        self.0 = key;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_map_takes_no_new_key_and_still_finds_the_old_ones() {
        let mut map = Sharded::new(2);
        for key in [1, 2] {
            *map.entry(key, || 0).unwrap() += 1;
        }
        assert!(map.entry(3, || 0).is_none());
        assert_eq!(map.entry(1, || 0), Some(&mut 1));
        map.sweep_table(1, |_| false);
        assert_eq!(map.len(), 0);
        assert!(map.entry(3, || 0).is_some());
    }

    #[test]
    fn draws_are_spread_over_the_unit_interval() {
        let keys = Keys(7);
        let below = (0..10_000u64).filter(|n| unit(keys.words(Domain::Draw, [*n])) < 0.25).count();
        assert!((2_300..2_700).contains(&below), "{below}");
        assert!(unit(u64::MAX) < 1.0);
    }
}
