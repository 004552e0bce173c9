//! The sequence in which records are sent: most in the order of their numbers, some a little
//! earlier or later, and the events of one order apart from each other.

use super::dice::{Dice, Purpose};

/// Numbers of one window change places only with each other.
const WINDOW: u64 = 64;
/// The walks of this number of orders are interleaved.
const WALKS: u64 = 256;

/// Returns the number that takes the place of `number`. Two numbers change places, so this is a
/// permutation, and its own inverse.
pub(crate) fn permute(seed: u64, purpose: Purpose, number: u64, count: u64, percent: f64) -> u64 {
    let window = number / WINDOW;
    let distance = 1 + Dice::new(seed, purpose, window).below(WINDOW - 1);
    let partner = number ^ distance;
    let pair = number.min(partner);
    let swaps = Dice::new(seed, purpose, u64::MAX - pair).chance(percent);
    if swaps && partner < count { partner } else { number }
}

/// A step of the walk of an order through its statuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Step {
    /// The number of the walk, from 0.
    pub(crate) walk: u64,
    pub(crate) step: u64,
}

/// Returns the step of the event with this number, if a walk has `steps` of them.
pub(crate) fn step(number: u64, steps: u64) -> Step {
    let block = WALKS * steps;
    let within = number % block;
    Step { walk: number / block * WALKS + within % WALKS, step: within / WALKS }
}

/// Returns the number of walks of `events` events.
pub(crate) fn walks(events: u64, steps: u64) -> u64 {
    let block = WALKS * steps;
    let rest = events % block;
    events / block * WALKS + rest.min(WALKS)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_sequence_is_a_permutation_of_near_numbers() {
        for count in [1, 63, 64, 1_000] {
            let place = |number| permute(3, Purpose::OrderSequence, number, count, 40.0);
            let all: BTreeSet<u64> = (0..count).map(place).collect();
            assert_eq!(all, (0..count).collect());
            for number in 0..count {
                assert_eq!(place(place(number)), number);
                assert!(place(number).abs_diff(number) < WINDOW);
            }
        }
        let moved =
            (0..10_000).filter(|it| permute(1, Purpose::OrderSequence, *it, 10_000, 5.0) != *it);
        assert!((300..700).contains(&moved.count()));
    }

    #[test]
    fn every_step_of_a_walk_occurs_once() {
        for (events, steps) in [(1, 1), (511, 3), (10_000, 3), (1_536, 3), (1_537, 3)] {
            let all: BTreeSet<_> =
                (0..events).map(|it| step(it, steps)).map(|it| (it.walk, it.step)).collect();
            assert_eq!(all.len() as u64, events);
            let orders: BTreeSet<_> = all.iter().map(|(walk, _)| *walk).collect();
            assert_eq!(orders.len() as u64, walks(events, steps));
            assert_eq!(orders.last(), Some(&(walks(events, steps) - 1)));
        }
    }
}
