//! Phone numbers by state, each at most once: a walk through all numbers of a state in steps that meet every number.

use super::random::Random;
use crate::domain::area::CalendarClass;

/// The last eight digits start with 6 to 9, so that the number can be written without its ninth digit.
const FIRST: u64 = 60_000_000;
const PER_AREA: u64 = 40_000_000;

#[derive(Debug)]
pub(super) struct Numbers {
    /// The state of each of a thousand people.
    states: Vec<usize>,
    walks: Vec<Walk>,
}

/// `at` moves by `step` through `0..size`; without a common factor of the two it meets every number before it repeats one.
#[derive(Debug)]
struct Walk {
    areas: Vec<u8>,
    size: u64,
    step: u64,
    at: u64,
}

impl Numbers {
    pub(super) fn new(random: &mut Random) -> Self {
        let mut states = Vec::with_capacity(1000);
        let mut walks = Vec::new();
        for class in CalendarClass::all() {
            states.extend(std::iter::repeat_n(walks.len(), usize::from(class.share_per_mille())));
            let areas: Vec<_> = class.areas().map(|area| area.get()).collect();
            let size = areas.len() as u64 * PER_AREA;
            let mut step = size / 3 + random.below(size / 3);
            while gcd(step, size) > 1 {
                step += 1;
            }
            let at = random.below(size);
            walks.push(Walk { areas, size, step, at });
        }
        Self { states, walks }
    }

    /// An area code and the last eight digits of a number that was not given before.
    pub(super) fn next(&mut self, random: &mut Random) -> (u8, u64) {
        let state = self.states[random.pick(&self.states)];
        let walk = &mut self.walks[state];
        loop {
            walk.at = (walk.at + walk.step) % walk.size;
            let number = FIRST + walk.at % PER_AREA;
            // One digit eight times is no phone.
            if !number.is_multiple_of(11_111_111) {
                return (walk.areas[super::index(walk.at / PER_AREA)], number);
            }
        }
    }
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_walk_meets_every_number_of_its_state_once() {
        let mut random = Random::new(3);
        let numbers = Numbers::new(&mut random);
        for walk in &numbers.walks {
            assert_eq!(gcd(walk.step, walk.size), 1);
            assert!(walk.step < walk.size && walk.at < walk.size);
        }
    }
}
