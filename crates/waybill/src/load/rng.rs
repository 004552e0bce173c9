//! Random numbers that are the same on every platform and in every version.
//!
//! The numbers are those of SplitMix64 (Steele, Lea and Flood 2014), and the ranges are made here:
//! the same seed must give the same bytes in every version, but a new version of `rand` may draw from
//! a range in another way. There are integers only: powers and logarithms of floats differ between
//! platforms. Do not use it for secrets.

use rand_xoshiro::{
    SplitMix64,
    rand_core::{Rng as _, SeedableRng as _},
};

/// A stream of random numbers, which its initial state determines.
#[derive(Debug, Clone)]
pub(super) struct Rng(SplitMix64);

impl Rng {
    /// Returns the stream of these words. Other words have an unrelated stream, so an order can be
    /// made again without the orders before it.
    pub(super) fn of(words: &[u64]) -> Self {
        let state = words.iter().fold(0, |state, word| first_of(state ^ first_of(*word)));
        Self(SplitMix64::seed_from_u64(state))
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// Returns a number from 0 to `bound - 1`.
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        // The high half of the product; its bias is below bound / 2^64.
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }

    /// Returns a number from `low` to `high`, both included.
    pub(super) fn between(&mut self, low: i64, high: i64) -> i64 {
        low + self.below(low.abs_diff(high) + 1) as i64
    }

    /// Returns one of `choices`, which must not be empty.
    pub(super) fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len() as u64) as usize]
    }

    /// Returns true `percent` times in a hundred.
    pub(super) fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// Appends `pattern`, with a random digit for each `#` and a random capital letter for each `@`.
    pub(super) fn fill(&mut self, pattern: &str, out: &mut String) {
        for place in pattern.chars() {
            out.push(match place {
                '#' => char::from(b'0' + self.below(10) as u8),
                '@' => char::from(b'A' + self.below(26) as u8),
                other => other,
            });
        }
    }
}

/// Returns the first number of the stream with this state.
fn first_of(state: u64) -> u64 {
    SplitMix64::seed_from_u64(state).next_u64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stay_in_their_bounds_and_reach_them() {
        let mut rng = Rng::of(&[7]);
        let seen: std::collections::BTreeSet<i64> =
            (0..1_000).map(|_| rng.between(-2, 3)).collect();
        assert_eq!(seen.into_iter().collect::<Vec<_>>(), [-2, -1, 0, 1, 2, 3]);
    }
}
