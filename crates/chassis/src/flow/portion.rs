//! The part that one sample adds to a series, and the value of several parts together. A longer
//! interval adds up the parts and not the values of shorter ones: its rate is its whole increase
//! divided by its time, and its percentile comes from all of its observations.

use std::sync::Arc;

/// The part that one sample adds to a series.
#[derive(Debug, Clone)]
pub(super) enum Portion {
    Missing,
    /// An increase, and the time or the increase by which it is divided. For a gauge, the value
    /// multiplied by the time, and the time.
    Quotient {
        part: f64,
        whole: f64,
    },
    Max(f64),
    /// The observations of a histogram, by bucket.
    Observations {
        rank: f64,
        bounds: Arc<[f64]>,
        counts: Vec<f64>,
    },
}

/// The sum of portions.
#[derive(Debug, Default)]
pub(super) struct Total {
    part: f64,
    whole: f64,
    counts: Vec<f64>,
}

impl Total {
    pub(super) fn clear(&mut self) {
        (self.part, self.whole) = (0.0, 0.0);
        self.counts.clear();
    }

    /// Adds a share, up to 1, of a portion.
    pub(super) fn add(&mut self, portion: &Portion, share: f64) {
        match portion {
            Portion::Missing => {}
            Portion::Quotient { part, whole } => {
                self.part += part * share;
                self.whole += whole * share;
            }
            Portion::Max(value) => {
                self.part = if self.whole > 0.0 { self.part.max(*value) } else { *value };
                self.whole = 1.0;
            }
            Portion::Observations { counts, .. } => {
                self.counts.resize(counts.len(), 0.0);
                for (sum, count) in self.counts.iter_mut().zip(counts) {
                    *sum += count * share;
                }
            }
        }
    }

    /// Returns the value of the series whose last portion is `last`; `NaN` if it has none.
    pub(super) fn value(&self, last: &Portion) -> f64 {
        match last {
            Portion::Observations { rank, bounds, .. } => percentile(*rank, bounds, &self.counts),
            _ if self.whole > 0.0 => self.part / self.whole,
            _ => f64::NAN,
        }
    }
}

/// Returns the value below which the share `rank` of the observations is. Within a bucket, the
/// observations count as evenly spread. The last bucket has no upper bound; its lower one is
/// returned.
pub(super) fn percentile(rank: f64, bounds: &[f64], counts: &[f64]) -> f64 {
    let all: f64 = counts.iter().sum();
    if all <= 0.0 {
        return f64::NAN;
    }
    let wanted = rank * all;
    let (mut below, mut lower) = (0.0, 0.0);
    for (bound, count) in bounds.iter().zip(counts) {
        if bound.is_infinite() {
            break;
        }
        if *count > 0.0 && below + count >= wanted {
            return lower + (bound - lower) * ((wanted - below) / count).clamp(0.0, 1.0);
        }
        below += count;
        lower = *bound;
    }
    lower
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bounds() -> Arc<[f64]> {
        Arc::from([1.0, 2.0, 4.0, f64::INFINITY])
    }

    fn observations(rank: f64, counts: [f64; 4]) -> Portion {
        Portion::Observations { rank, bounds: bounds(), counts: counts.into() }
    }

    fn value_of(portions: &[Portion]) -> f64 {
        let mut total = Total::default();
        for portion in portions {
            total.add(portion, 1.0);
        }
        total.value(portions.last().unwrap())
    }

    #[test]
    fn a_percentile_is_inside_its_bucket() {
        let of = |rank, counts: [f64; 4]| percentile(rank, &bounds(), &counts);
        assert_eq!(of(0.5, [10.0, 0.0, 0.0, 0.0]), 0.5);
        assert_eq!(of(0.5, [0.0, 10.0, 0.0, 0.0]), 1.5);
        assert_eq!(of(0.99, [0.0, 0.0, 100.0, 0.0]), 3.98);
        assert_eq!(of(0.5, [1.0, 1.0, 0.0, 0.0]), 1.0);
        assert_eq!(of(0.99, [0.0, 0.0, 0.0, 5.0]), 4.0, "above the last bound");
        assert!(of(0.5, [0.0; 4]).is_nan(), "nothing was observed");
    }

    #[test]
    fn a_longer_interval_has_the_percentile_of_all_observations() {
        // 99 fast observations in one second and one slow one in the next: the mean of both
        // medians would be 1.75.
        let parts =
            [observations(0.5, [99.0, 0.0, 0.0, 0.0]), observations(0.5, [0.0, 0.0, 1.0, 0.0])];
        assert!(value_of(&parts) < 0.51);
    }

    #[test]
    fn a_longer_interval_divides_whole_increases() {
        let quotient = |part, whole| Portion::Quotient { part, whole };
        // 1 of 1 and 0 of 99 is 1 %, and not the mean of 100 % and 0 %.
        assert_eq!(value_of(&[quotient(100.0, 1.0), quotient(0.0, 99.0)]), 1.0);
        assert!(value_of(&[quotient(0.0, 0.0)]).is_nan(), "no request, no share");
        assert_eq!(value_of(&[quotient(0.0, 0.0), quotient(50.0, 1.0), quotient(0.0, 0.0)]), 50.0);
    }

    #[test]
    fn a_maximum_may_be_below_zero_and_missing_portions_do_not_count() {
        assert_eq!(value_of(&[Portion::Max(-3.0), Portion::Max(-5.0)]), -3.0);
        assert_eq!(value_of(&[Portion::Max(7.0), Portion::Missing]), 7.0);
        assert!(value_of(&[Portion::Missing]).is_nan());
    }

    proptest! {
        #[test]
        fn shares_of_a_portion_add_up_to_it(part in 0.0..1e6_f64, number in 1..4_u32) {
            let portion = Portion::Quotient { part, whole: 1.0 };
            let mut total = Total::default();
            for _ in 0..number {
                total.add(&portion, 1.0 / f64::from(number));
            }
            prop_assert!((total.value(&portion) - part).abs() <= part * 1e-9);
        }

        #[test]
        fn a_percentile_lies_between_the_bounds(
            counts in proptest::array::uniform4(0.0..1e6_f64),
            rank in 0.0..=1.0_f64,
        ) {
            let value = percentile(rank, &bounds(), &counts);
            prop_assert!(value.is_nan() == (counts.iter().sum::<f64>() <= 0.0));
            prop_assert!(value.is_nan() || (0.0..=4.0).contains(&value));
        }
    }
}
