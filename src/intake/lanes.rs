//! Which lane a person belongs to: the calendar class and a slice of it, fixed at a campaign's first load.
//!
//! The number of slices of each class follows its share of the population, so that lanes are of about one size:
//! big enough to pack well, many enough to spread over the numbers.

use std::hash::Hasher;

use siphasher::sip::SipHasher13;

use crate::domain::area::CalendarClass;
use crate::domain::campaign::DedupKey;
use crate::domain::person::PersonKey;
use crate::policy::route::Load;

/// Messages that a lane should hold.
pub const LANE_TARGET: u64 = 1024;

/// Lanes of a campaign at most; beyond it lanes grow instead.
pub const LANES_MAX: u64 = 4096;

/// Rows assumed when neither the campaign file nor the input's size tells.
pub const EXPECTED_DEFAULT: u64 = 100_000;

/// Entries that a bucket of the dedup set should hold: well below the 512 up to which Redis packs integers.
const BUCKET_TARGET: u64 = 256;

/// The keys under which this installation hashes people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HashKey(pub u64, pub u64);

/// The lanes of one campaign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lanes {
    expected: u64,
    /// Slices per class.
    slices: Vec<u32>,
    /// First lane of each class, and the count of all.
    starts: Vec<u32>,
}

impl Lanes {
    /// Plans lanes for so many expected rows.
    pub fn plan(expected: u64) -> Self {
        let lanes = (expected / LANE_TARGET).clamp(1, LANES_MAX);
        let slices = CalendarClass::all().map(|class| {
            let share = lanes * u64::from(class.share_per_mille()) / 1000;
            u32::try_from(share.max(1)).unwrap_or(u32::MAX)
        });
        Self::new(expected, slices.collect())
    }

    /// The lanes of a campaign as they were fixed. None when the list is not one entry per class.
    pub fn frozen(expected: u64, slices: &[u32]) -> Option<Self> {
        let whole = slices.len() == CalendarClass::all().len() && slices.iter().all(|slices| *slices > 0);
        whole.then(|| Self::new(expected, slices.to_vec()))
    }

    fn new(expected: u64, slices: Vec<u32>) -> Self {
        let mut starts = vec![0];
        for count in &slices {
            starts.push(starts[starts.len() - 1] + count);
        }
        Self { expected, slices, starts }
    }

    /// Slices per class, in the order of classes.
    pub fn slices(&self) -> &[u32] {
        &self.slices
    }

    /// First lane of each class.
    pub fn starts(&self) -> &[u32] {
        &self.starts[..self.slices.len()]
    }

    /// Rows for which the lanes were planned.
    pub fn expected(&self) -> u64 {
        self.expected
    }

    /// How many lanes there are.
    pub fn count(&self) -> u32 {
        self.starts.last().copied().unwrap_or(0)
    }

    /// The lane of a person.
    pub fn lane_of(&self, class: CalendarClass, person: PersonKey, key: HashKey) -> u32 {
        let class = usize::from(class.index());
        let mut hasher = SipHasher13::new_with_keys(key.1, key.0);
        hasher.write_u64(person.0);
        self.starts[class] + u32::try_from(hasher.finish() % u64::from(self.slices[class])).unwrap_or(0)
    }

    /// The class of a lane.
    pub fn class_of(&self, lane: u32) -> u8 {
        let class = self.starts.partition_point(|start| *start <= lane).saturating_sub(1);
        u8::try_from(class).unwrap_or(u8::MAX)
    }

    /// Messages that each lane of a class is expected to hold.
    pub fn capacity(&self, class: u8) -> u32 {
        let share = CalendarClass::all().nth(usize::from(class)).map_or(1, CalendarClass::share_per_mille);
        let slices = self.slices.get(usize::from(class)).copied().unwrap_or(1).max(1);
        // A tenth more than the share says, since people do not spread as evenly as shares do.
        let rows = self.expected * u64::from(share) * 11 / 10_000 / u64::from(slices);
        u32::try_from(rows.clamp(64, 1 << 24)).unwrap_or(1 << 24)
    }

    /// Buckets of the dedup set of each lane of a class.
    pub fn buckets(&self, class: u8) -> u32 {
        u32::try_from(u64::from(self.capacity(class)).div_ceil(BUCKET_TARGET)).unwrap_or(1).max(1)
    }

    /// The lanes as loads to be placed on numbers. The same people have the same key in campaigns of one size.
    pub fn loads(&self) -> Vec<Load> {
        (0..self.count())
            .map(|lane| Load { key: u64::from(lane), weight: f64::from(self.capacity(self.class_of(lane))) })
            .collect()
    }
}

/// The keyed hash by which a message is known as loaded: 62 bits, so that Redis packs it as an integer.
pub fn dedup_hash(dedup: DedupKey, person: PersonKey, reference: &str, key: HashKey) -> i64 {
    let mut hasher = SipHasher13::new_with_keys(key.0, key.1);
    hasher.write_u64(person.0);
    if dedup == DedupKey::PersonRef {
        hasher.write(reference.as_bytes());
    }
    i64::try_from(hasher.finish() >> 2).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::person::Phone;
    use proptest::prelude::*;

    const KEY: HashKey = HashKey(1, 2);

    #[test]
    fn lanes_of_a_million_are_of_about_one_size() {
        let lanes = Lanes::plan(1_000_000);
        assert!((900..1100).contains(&lanes.count()), "{}", lanes.count());
        for class in 0..27 {
            assert!((500..2600).contains(&lanes.capacity(class)), "class {class}: {}", lanes.capacity(class));
        }
    }

    #[test]
    fn ten_million_do_not_need_ten_times_the_lanes() {
        assert!(Lanes::plan(100_000_000).count() <= 4096);
        assert_eq!(Lanes::plan(0).count(), 27);
    }

    #[test]
    fn frozen_lanes_are_the_planned_ones() {
        let planned = Lanes::plan(300_000);
        assert_eq!(Lanes::frozen(300_000, planned.slices()), Some(planned));
        assert_eq!(Lanes::frozen(1, &[1, 2]), None);
    }

    proptest! {
        #[test]
        fn a_person_has_one_lane_of_the_own_class(expected in 0u64..20_000_000, digits in 0u64..100_000_000) {
            let lanes = Lanes::plan(expected);
            let phone = Phone::from_digits(5_597_900_000_000 + digits);
            if let Some(phone) = phone {
                let lane = lanes.lane_of(phone.class(), phone.person(), KEY);
                prop_assert!(lane < lanes.count());
                prop_assert_eq!(lanes.class_of(lane), phone.class().index());
                prop_assert_eq!(lane, lanes.lane_of(phone.class(), phone.person(), KEY));
            }
        }

        #[test]
        fn hashes_tell_debts_apart_only_when_asked(person: u64, one in "[a-z]{1,9}", other in "[A-Z]{1,9}") {
            let person = PersonKey(person);
            let hash = |dedup, reference: &str| dedup_hash(dedup, person, reference, KEY);
            prop_assert_eq!(hash(DedupKey::Person, &one), hash(DedupKey::Person, &other));
            prop_assert_ne!(hash(DedupKey::PersonRef, &one), hash(DedupKey::PersonRef, &other));
            prop_assert!(hash(DedupKey::Person, &one) >= 0);
        }
    }
}
