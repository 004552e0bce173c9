//! Pseudo-random values that depend only on a seed, a purpose and a number (splitmix64).

/// The use of a sequence of values, so that two uses of one number are independent.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Purpose {
    OrderSequence = 1,
    StatusSequence,
    OrderPlan,
    StatusPlan,
    Id,
    Order,
    OrderForm,
    Poison,
    Envelope,
    Walk,
    Event,
}

#[derive(Debug, Clone)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64, purpose: Purpose, number: u64) -> Self {
        let start = mix(seed ^ mix(purpose as u64));
        Self(mix(start ^ mix(number.wrapping_add(0x51_7c_c1_b7_27_22_0a_95))))
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// Returns a value from 0 to `limit` - 1; 0 if `limit` is 0.
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        let scaled = u128::from(self.next()) * u128::from(limit);
        u64::try_from(scaled >> 64).expect("the product of two 64-bit numbers has 128 bits")
    }

    pub(crate) fn index(&mut self, length: usize) -> usize {
        usize::try_from(self.below(length as u64)).expect("it is below a usize")
    }

    pub(crate) fn pick<'a, T>(&mut self, values: &'a [T]) -> &'a T {
        &values[self.index(values.len())]
    }

    /// Returns a value from 0 to 100, exclusively.
    pub(crate) fn percent(&mut self) -> f64 {
        self.below(100_000_000) as f64 / 1_000_000.0
    }

    pub(crate) fn chance(&mut self, percent: f64) -> bool {
        self.percent() < percent
    }
}

fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}
