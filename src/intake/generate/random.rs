//! The generator's own randomness: splitmix64, which will write the same files in every version, as the generators of a
//! crate do not promise.

#[derive(Debug)]
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Even over `0..bound`, but for a bias of at most `bound` in 2^32; `bound` is at most 2^32.
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        ((self.next() >> 32) * bound) >> 32
    }

    /// The position of one of `choices`.
    pub(super) fn pick<T>(&mut self, choices: &[T]) -> usize {
        super::index(self.below(choices.len() as u64))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}
