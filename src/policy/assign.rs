//! Which process owns which number: balanced by pace, with as few moves as that takes.
//!
//! Every process computes this from the same snapshot and comes to the same division; Redis grants a number to one of
//! them only. Nothing is decided here about when a number may change hands: its owner gives it back first, or its lease
//! ends.

use std::collections::BTreeMap;

use crate::domain::ids::NumberId;

/// A process that may own numbers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Member {
    /// How much it can carry, compared with the others: its shards.
    pub capacity: u32,
    /// It is stopping: what it owns goes to the others, and it gets nothing.
    pub leaving: bool,
    /// The numbers of its configuration, and what each weighs: its messages per second.
    pub offers: BTreeMap<NumberId, f64>,
}

/// Gains smaller than this share of the load are not worth a handover.
const GAIN_LEAST: f64 = 1e-9;

/// Who shall own which number. A number that nobody offers is not in the answer.
pub fn divide(
    members: &BTreeMap<String, Member>,
    owners: &BTreeMap<NumberId, String>,
) -> BTreeMap<NumberId, String> {
    let mut division = Division::new(members);
    let mut free = Vec::new();
    for (number, weight) in division.weights.clone() {
        let owner = owners.get(number).and_then(|owner| division.position(owner));
        match owner.filter(|at| division.sides[*at].offers(number)) {
            Some(at) => division.give(number, at),
            None => free.push((number, weight)),
        }
    }
    // The heaviest first: what is left for the end is light enough to fit anywhere.
    free.sort_by(|one, other| other.1.total_cmp(&one.1).then_with(|| one.0.cmp(other.0)));
    for (number, weight) in free {
        if let Some(at) = division.lightest_for(number, weight) {
            division.give(number, at);
        }
    }
    // Each move makes the division more even, so this ends; the bound is for weights that rounding makes equal.
    for _ in 0..2 * division.weights.len() {
        let Some((number, to)) = division.best_move() else { break };
        division.give(number, to);
    }
    division
        .owners
        .into_iter()
        .map(|(number, at)| (number.clone(), division.sides[at].name.clone()))
        .collect()
}

struct Side<'a> {
    name: &'a String,
    member: &'a Member,
    capacity: f64,
    load: f64,
}

impl Side<'_> {
    fn offers(&self, number: &NumberId) -> bool {
        self.member.offers.contains_key(number)
    }

    /// How full it is with `more` on top.
    fn filled(&self, more: f64) -> f64 {
        (self.load + more) / self.capacity
    }
}

struct Division<'a> {
    sides: Vec<Side<'a>>,
    /// The heaviest word on each number, since configurations may differ for a while.
    weights: BTreeMap<&'a NumberId, f64>,
    owners: BTreeMap<&'a NumberId, usize>,
}

impl<'a> Division<'a> {
    fn new(members: &'a BTreeMap<String, Member>) -> Self {
        let mut weights: BTreeMap<&NumberId, f64> = BTreeMap::new();
        let staying = members.iter().filter(|(_, member)| !member.leaving);
        let sides = staying.map(|(name, member)| {
            for (number, weight) in &member.offers {
                let known = weights.entry(number).or_default();
                *known = known.max(*weight);
            }
            Side { name, member, capacity: f64::from(member.capacity.max(1)), load: 0.0 }
        });
        Self { sides: sides.collect(), weights, owners: BTreeMap::new() }
    }

    fn position(&self, name: &String) -> Option<usize> {
        self.sides.iter().position(|side| side.name == name)
    }

    fn give(&mut self, number: &'a NumberId, to: usize) {
        let weight = self.weights.get(number).copied().unwrap_or_default();
        if let Some(from) = self.owners.insert(number, to) {
            self.sides[from].load -= weight;
        }
        self.sides[to].load += weight;
    }

    fn lightest_for(&self, number: &NumberId, weight: f64) -> Option<usize> {
        let able = (0..self.sides.len()).filter(|at| self.sides[*at].offers(number));
        able.min_by(|one, other| {
            self.sides[*one].filled(weight).total_cmp(&self.sides[*other].filled(weight))
        })
    }

    /// The move that evens out most, from the fullest side that can give to the emptiest that can take.
    fn best_move(&self) -> Option<(&'a NumberId, usize)> {
        let mut order: Vec<usize> = (0..self.sides.len()).collect();
        order.sort_by(|one, other| self.sides[*one].filled(0.0).total_cmp(&self.sides[*other].filled(0.0)));
        for &from in order.iter().rev() {
            for &to in order.iter().take_while(|to| **to != from) {
                if let Some(number) = self.best_between(from, to) {
                    return Some((number, to));
                }
            }
        }
        None
    }

    fn best_between(&self, from: usize, to: usize) -> Option<&'a NumberId> {
        let before = self.sides[from].filled(0.0);
        let after = |number: &NumberId| {
            let weight = self.weights.get(number).copied().unwrap_or_default();
            self.sides[from].filled(-weight).max(self.sides[to].filled(weight))
        };
        let ours = self.owners.iter().filter(|(number, at)| **at == from && self.sides[to].offers(number));
        let (number, best) = ours
            .map(|(number, _)| (*number, after(number)))
            .min_by(|one, other| one.1.total_cmp(&other.1).then_with(|| one.0.cmp(other.0)))?;
        (best < before * (1.0 - GAIN_LEAST)).then_some(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn number(at: usize) -> NumberId {
        NumberId::from(format!("55{at:04}").as_str())
    }

    fn member(capacity: u32, weights: &[f64]) -> Member {
        let offers = weights.iter().enumerate().map(|(at, weight)| (number(at), *weight)).collect();
        Member { capacity, leaving: false, offers }
    }

    /// Members `a`, `b`, … of these capacities, all with the same numbers.
    fn members(capacities: &[u32], weights: &[f64]) -> BTreeMap<String, Member> {
        let names = ('a'..).map(String::from);
        names.zip(capacities).map(|(name, capacity)| (name, member(*capacity, weights))).collect()
    }

    fn counts(division: &BTreeMap<NumberId, String>) -> BTreeMap<&str, usize> {
        let mut counts = BTreeMap::new();
        for owner in division.values() {
            *counts.entry(owner.as_str()).or_default() += 1;
        }
        counts
    }

    fn moves(before: &BTreeMap<NumberId, String>, after: &BTreeMap<NumberId, String>) -> usize {
        after.iter().filter(|(number, owner)| before.get(*number).is_some_and(|was| was != *owner)).count()
    }

    fn check(capacities: &[u32], weights: &[f64], expect: &[(&str, usize)]) {
        let division = divide(&members(capacities, weights), &BTreeMap::new());
        assert_eq!(counts(&division), expect.iter().copied().collect(), "{capacities:?} {weights:?}");
    }

    #[test]
    fn numbers_are_divided_by_pace_and_capacity() {
        check(&[1], &[80.0; 5], &[("a", 5)]);
        check(&[1, 1, 1], &[80.0; 6], &[("a", 2), ("b", 2), ("c", 2)]);
        check(&[1, 1], &[80.0; 5], &[("a", 3), ("b", 2)]);
        check(&[1, 3], &[80.0; 8], &[("a", 2), ("b", 6)]);
        check(&[1, 1], &[1000.0, 80.0, 80.0, 80.0], &[("a", 1), ("b", 3)]);
        check(&[1, 1, 1], &[80.0], &[("a", 1)]);
        check(&[], &[80.0], &[]);
    }

    #[test]
    fn a_member_that_joins_gets_its_share_and_nothing_else_moves() {
        let weights = [80.0; 12];
        let before = divide(&members(&[1, 1], &weights), &BTreeMap::new());
        let after = divide(&members(&[1, 1, 1], &weights), &before);
        assert_eq!(counts(&after), [("a", 4), ("b", 4), ("c", 4)].into());
        assert_eq!(moves(&before, &after), 4);
        assert_eq!(divide(&members(&[1, 1, 1], &weights), &after), after, "and there it rests");
    }

    #[test]
    fn what_a_leaving_member_had_is_all_that_moves() {
        let mut all = members(&[1, 1, 1], &[80.0; 9]);
        let before = divide(&all, &BTreeMap::new());
        all.get_mut("b").unwrap().leaving = true;
        let after = divide(&all, &before);
        assert_eq!((counts(&after), moves(&before, &after)), ([("a", 5), ("c", 4)].into(), 3));
    }

    #[test]
    fn a_number_goes_to_those_that_have_it_only() {
        let mut all = members(&[1, 1], &[80.0; 4]);
        all.get_mut("b").unwrap().offers.retain(|one, _| *one == number(3));
        let division = divide(&all, &BTreeMap::new());
        assert_eq!((counts(&division), division[&number(3)].as_str()), ([("a", 3), ("b", 1)].into(), "b"));
        all.get_mut("a").unwrap().offers.remove(&number(0));
        assert!(!divide(&all, &division).contains_key(&number(0)), "nobody has it any more");
    }

    /// Members and numbers of any weight; every member offers each number with some likelihood.
    fn any_members() -> impl Strategy<Value = BTreeMap<String, Member>> {
        let weights = prop::collection::vec(prop::sample::select(vec![0.01, 20.0, 80.0, 1000.0]), 0..40);
        let sides = prop::collection::vec((1u32..5, any::<u64>(), prop::bool::weighted(0.2)), 0..6);
        (weights, sides).prop_map(|(weights, sides)| {
            let names = ('a'..).map(String::from);
            let side = |(capacity, skipped, leaving): (u32, u64, bool)| {
                let mut one = Member { leaving, ..member(capacity, &weights) };
                let mut at = 0;
                one.offers.retain(|_, _| {
                    at += 1;
                    skipped >> at & 7 != 0
                });
                one
            };
            names.zip(sides.into_iter().map(side)).collect()
        })
    }

    fn loads(all: &BTreeMap<String, Member>, division: &BTreeMap<NumberId, String>) -> BTreeMap<String, f64> {
        let mut loads: BTreeMap<String, f64> =
            all.iter().filter(|(_, one)| !one.leaving).map(|(name, _)| (name.clone(), 0.0)).collect();
        for (number, owner) in division {
            *loads.get_mut(owner).unwrap() += all[owner].offers[number] / f64::from(all[owner].capacity);
        }
        loads
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

        /// Every number that somebody staying offers has one owner who offers it; the division rests where it is; and no
        /// single move would make it more even.
        #[test]
        fn complete_at_rest_and_even(all in any_members(), before in any_members()) {
            let owners = divide(&before, &BTreeMap::new());
            let division = divide(&all, &owners);
            let offered = |one: &NumberId| all.values().any(|side| !side.leaving && side.offers.contains_key(one));
            for at in 0..40 {
                prop_assert_eq!(division.contains_key(&number(at)), offered(&number(at)));
            }
            for (one, owner) in &division {
                prop_assert!(!all[owner].leaving && all[owner].offers.contains_key(one));
            }
            prop_assert_eq!(&divide(&all, &division), &division);
            let loads = loads(&all, &division);
            for (one, owner) in &division {
                for (other, load) in loads.iter().filter(|(name, _)| all[*name].offers.contains_key(one)) {
                    let weight = all[other].offers[one];
                    let there = load + weight / f64::from(all[other].capacity);
                    prop_assert!(other == owner || there >= loads[owner] * (1.0 - 1e-6), "{} to {}", one, other);
                }
            }
        }

        /// With equal numbers and members all shares differ by one at most, and a change moves no more than it must.
        #[test]
        fn few_moves(numbers in 0usize..60, members_before in 1usize..6, members_after in 1usize..6) {
            let weights = vec![80.0; numbers];
            let before = divide(&members(&vec![1; members_before], &weights), &BTreeMap::new());
            let after = divide(&members(&vec![1; members_after], &weights), &before);
            let counts = counts(&after);
            let most = counts.values().max().copied().unwrap_or(0);
            prop_assert_eq!(most, numbers.div_ceil(members_after));
            let gone: usize = before.values().filter(|owner| owner.as_str() >= &*('a'..).map(String::from).nth(members_after).unwrap()).count();
            let missing: usize = members_after.saturating_sub(members_before) * (numbers / members_after + 1);
            prop_assert!(moves(&before, &after) <= gone + missing, "{} moves", moves(&before, &after));
        }

        /// However numbers come back and are taken, everybody who computes it from the same snapshot agrees, and the
        /// members reach the division that they agreed on.
        #[test]
        fn steps_lead_to_the_division(numbers in 1usize..40, joined in 1usize..4) {
            let weights = vec![80.0; numbers];
            let mut owners = divide(&members(&[1, 1], &weights), &BTreeMap::new());
            let all = members(&vec![1; 2 + joined], &weights);
            for _ in 0..4 * numbers {
                let wanted = divide(&all, &owners);
                let Some((one, to)) = wanted.iter().find(|(one, to)| owners.get(*one) != Some(to)) else { break };
                if owners.remove(one).is_none() {
                    owners.insert(one.clone(), to.clone());
                }
            }
            prop_assert_eq!(&divide(&all, &owners), &owners);
            prop_assert_eq!(owners.len(), numbers);
        }
    }
}
