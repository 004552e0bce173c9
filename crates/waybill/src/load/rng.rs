//! Random numbers that are the same on every platform and in every version.
//!
//! The algorithm (SplitMix64; Steele, Lea and Flood 2014) is written out here, because the same seed
//! must give the same bytes in every version, and a crate may change its algorithms. It uses integers
//! only: powers and logarithms of floats differ between platforms. Do not use it for secrets.

/// A stream of random numbers, which its initial state determines.
#[derive(Debug, Clone)]
pub(super) struct Rng(u64);

const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

impl Rng {
    /// Returns the stream of these words. Other words have an unrelated stream, so an order can be
    /// made again without the orders before it.
    pub(super) fn of(words: &[u64]) -> Self {
        Self(words.iter().fold(GOLDEN, |state, word| mix(state ^ mix(word.wrapping_add(GOLDEN)))))
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(GOLDEN);
        mix(self.0)
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

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first outputs of SplitMix64 for the seed 1234567 in other implementations.
    #[test]
    fn stream_is_splitmix64() {
        let mut rng = Rng(1_234_567);
        let first: Vec<u64> = (0..3).map(|_| rng.next()).collect();
        assert_eq!(
            first,
            [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]
        );
    }

    #[test]
    fn numbers_stay_in_their_bounds_and_reach_them() {
        let mut rng = Rng::of(&[7]);
        let seen: std::collections::BTreeSet<i64> =
            (0..1_000).map(|_| rng.between(-2, 3)).collect();
        assert_eq!(seen.into_iter().collect::<Vec<_>>(), [-2, -1, 0, 1, 2, 3]);
    }
}
