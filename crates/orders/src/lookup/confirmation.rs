//! The confirmation of an order by the database, and the rule that decides which of two states of
//! an order replaces the other.
//!
//! A query reads the state of an order at one moment between the time when it was sent and the time
//! when its answer arrived; a transaction of this service sets it at one moment between its begin
//! and the acknowledgement of its commit. Both times are kept, because the moment itself is not
//! known:
//!
//! - If one state was asked for after the answer with the other one had arrived, it is the later
//!   one, whether its version is higher or lower. Versions of an order start again at 1 if its row
//!   was deleted and its record is read again, and a failover or a restore may bring back an
//!   earlier version.
//! - If the two overlap, either may be the later one. Versions only rise while the database does
//!   not go back, so the higher version replaces the lower one.
//!
//! The age of an order counts from the time when the query was sent: the answer says nothing about
//! changes after that.

use std::time::Instant;

/// An interval of time: at some moment in it, the database held this state of an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Confirmation<T = Instant> {
    /// The time when the query was sent, or when the transaction began.
    pub(crate) sent: T,
    /// The time when the answer, or the acknowledgement of the commit, arrived.
    pub(crate) answered: T,
}

impl Confirmation {
    /// Returns the confirmation by a query that was sent at that time and answered just now.
    pub(crate) fn sent_at(sent: Instant) -> Self {
        Self { sent, answered: Instant::now() }
    }
}

impl<T: Ord + Copy> Confirmation<T> {
    /// True if `version` with this confirmation replaces `known`. The same version is replaced by a
    /// later confirmation.
    pub(super) fn replaces(self, version: i32, known: Self, known_version: i32) -> bool {
        if self.sent > known.answered {
            return true;
        }
        if known.sent > self.answered {
            return false;
        }
        (version, self.sent) > (known_version, known.sent)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type State = (i32, Confirmation<u32>);

    fn apply(entry: &mut Option<State>, (version, confirmation): State) -> bool {
        let replaces = entry.is_none_or(|(known_version, known)| {
            confirmation.replaces(version, known, known_version)
        });
        if replaces {
            *entry = Some((version, confirmation));
        }
        replaces
    }

    fn state(version: i32, sent: u32, answered: u32) -> State {
        (version, Confirmation { sent, answered })
    }

    #[test]
    fn a_later_answer_replaces_any_version_and_an_overlapping_one_only_a_lower_version() {
        let known = state(3, 10, 20);
        for (new, expected) in [
            (state(1, 21, 22), true),
            (state(4, 21, 22), true),
            (state(2, 15, 30), false),
            (state(2, 20, 30), false),
            (state(4, 15, 30), true),
            (state(4, 5, 15), true),
            (state(3, 15, 30), true),
            (state(3, 5, 30), false),
            (state(4, 5, 9), false),
            (state(2, 5, 9), false),
        ] {
            assert_eq!(apply(&mut Some(known), new), expected, "{new:?}");
        }
    }

    /// Queries: each has the time when it was sent, the time until it read, and the time until it
    /// was answered. They are applied in the order of the vector, that is, in any order.
    fn queries() -> impl Strategy<Value = Vec<(u32, u32, u32)>> {
        prop::collection::vec((0..100_u32, 0..40_u32, 0..40_u32), 1..12)
    }

    proptest! {
        #[test]
        fn versions_never_fall_while_the_database_does_not_go_back(
            queries in queries(),
            mut changes in prop::collection::vec(0..150_u32, 0..10),
        ) {
            changes.sort_unstable();
            let version_at = |time| changes.iter().filter(|change| **change <= time).count() as i32;
            let mut entry = None;
            let mut highest = 0;
            for (sent, until_read, until_answered) in queries {
                let read = sent + until_read;
                let new = state(version_at(read), sent, read + until_answered);
                highest = highest.max(new.0);
                apply(&mut entry, new);
                prop_assert_eq!(entry.map(|(version, _)| version), Some(highest));
            }
        }

        #[test]
        fn the_state_read_after_all_others_stays_whatever_the_versions_and_the_order(
            queries in queries(),
            versions in prop::collection::vec(1..5_i32, 12),
            last_version in 1..5_i32,
            position in 0..12_usize,
        ) {
            let answered = |(sent, until_read, until_answered): &(u32, u32, u32)| {
                sent + until_read + until_answered
            };
            let mut states: Vec<_> = queries
                .iter()
                .zip(versions)
                .map(|(query, version)| state(version, query.0, answered(query)))
                .collect();
            let end = queries.iter().map(answered).max().unwrap_or(0);
            let last = state(last_version, end + 1, end + 5);
            states.insert(position.min(states.len()), last);
            let mut entry = None;
            for one in states {
                apply(&mut entry, one);
            }
            prop_assert_eq!(entry, Some(last));
        }
    }
}
