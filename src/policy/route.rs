//! Which number sends which lane: a weighted ring with bounded load.
//!
//! Each lane has a fixed preference among the numbers (weighted rendezvous hashing), so a debtor keeps
//! hearing from the same number over campaigns, and a number that joins or leaves moves only its own share.
//! Plain hashing of a hundred lanes over 32 numbers makes the busiest 2.3 times the mean; so a number that has its
//! share passes the lane on to the next in the lane's preference.

use std::hash::Hasher;

use siphasher::sip::SipHasher13;

use crate::domain::ids::NumberId;

/// How far above its share a number may be loaded.
const SLACK: f64 = 1.05;

/// A lane to be placed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Load {
    /// What its preference hangs on: the same for the same people in every campaign.
    pub key: u64,
    /// How many messages it is expected to hold.
    pub weight: f64,
}

/// Places every lane: the position of its number in `numbers`, which come with the weight of their pace.
/// Empty when there is no number.
pub fn assign(lanes: &[Load], numbers: &[(NumberId, f64)]) -> Vec<usize> {
    if numbers.is_empty() {
        return Vec::new();
    }
    let total: f64 = lanes.iter().map(|lane| lane.weight).sum();
    let capacity: f64 = numbers.iter().map(|(_, weight)| weight).sum();
    let bounds: Vec<f64> = numbers.iter().map(|(_, weight)| SLACK * total * weight / capacity).collect();
    let mut loads = vec![0.0; numbers.len()];
    let mut placed = vec![0; lanes.len()];
    // The heaviest first: what is left for the end is small enough to fit anywhere.
    let mut order: Vec<usize> = (0..lanes.len()).collect();
    order.sort_by(|one, other| lanes[*other].weight.total_cmp(&lanes[*one].weight).then(one.cmp(other)));
    for lane in order {
        let Load { key, weight } = lanes[lane];
        let mut liked: Vec<(f64, usize)> = numbers
            .iter()
            .enumerate()
            .map(|(at, (number, weight))| (score(key, number, *weight), at))
            .collect();
        liked.sort_by(|one, other| other.0.total_cmp(&one.0).then(one.1.cmp(&other.1)));
        let fits = liked.iter().find(|(_, at)| loads[*at] + weight <= bounds[*at]).map(|(_, at)| *at);
        let emptiest = || {
            let room = |at: &usize| bounds[*at] - loads[*at];
            (0..numbers.len()).max_by(|one, other| room(one).total_cmp(&room(other))).unwrap_or(0)
        };
        let at = fits.unwrap_or_else(emptiest);
        loads[at] += weight;
        placed[lane] = at;
    }
    placed
}

/// Weighted rendezvous: `-weight / ln(u)` with `u` uniform in (0, 1) from the hash of the pair.
fn score(key: u64, number: &NumberId, weight: f64) -> f64 {
    let mut hasher = SipHasher13::new();
    hasher.write_u64(key);
    hasher.write(number.0.as_bytes());
    #[allow(clippy::cast_precision_loss, reason = "53 bits are kept on purpose")]
    let uniform = ((hasher.finish() >> 11) as f64 + 0.5) / (1u64 << 53) as f64;
    -weight / uniform.ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(weights: &[f64]) -> Vec<(NumberId, f64)> {
        weights
            .iter()
            .enumerate()
            .map(|(at, weight)| (NumberId::from(format!("10{at}").as_str()), *weight))
            .collect()
    }

    fn lanes(count: u64) -> Vec<Load> {
        (0..count).map(|key| Load { key, weight: 1000.0 + (key % 7) as f64 * 100.0 }).collect()
    }

    fn loads(lanes: &[Load], placed: &[usize], numbers: usize) -> Vec<f64> {
        let mut loads = vec![0.0; numbers];
        for (lane, at) in lanes.iter().zip(placed) {
            loads[*at] += lane.weight;
        }
        loads
    }

    #[test]
    fn the_busiest_number_has_little_more_than_its_share() {
        let (lanes, numbers) = (lanes(640), numbers(&[1.0; 32]));
        let loads = loads(&lanes, &assign(&lanes, &numbers), 32);
        let mean = loads.iter().sum::<f64>() / 32.0;
        let busiest = loads.iter().copied().fold(0.0, f64::max);
        assert!(busiest <= 1.11 * mean, "busiest {busiest}, mean {mean}");
    }

    #[test]
    fn a_faster_number_gets_more() {
        let (lanes, numbers) = (lanes(600), numbers(&[80.0, 80.0, 1000.0]));
        let loads = loads(&lanes, &assign(&lanes, &numbers), 3);
        assert!(loads[2] > 10.0 * loads[0] && loads[2] < 15.0 * loads[0], "{loads:?}");
    }

    #[test]
    fn a_number_that_leaves_moves_little_else() {
        let (lanes, all) = (lanes(640), numbers(&[1.0; 32]));
        let before = assign(&lanes, &all);
        let after = assign(&lanes, &all[..31]);
        let moved = before.iter().zip(&after).filter(|(was, is)| **was != 31 && was != is).count();
        assert!(moved < 130, "{moved} of 620 moved");
    }

    #[test]
    fn no_number_no_place() {
        assert!(assign(&lanes(3), &[]).is_empty());
    }
}
