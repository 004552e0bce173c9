//! The offsets of consumed records. Pure: it makes no calls to Kafka; the
//! [`consumer`](crate::kafka::consumer) stores them after a batch is settled.

use std::collections::BTreeMap;

/// The next offset to read, as it is stored and committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct NextOffset(i64);

impl NextOffset {
    /// Returns the offset after the offset of a record. This is the only place with the `+ 1`.
    #[must_use]
    pub fn after(offset: i64) -> Self {
        Self(offset + 1)
    }

    #[must_use]
    pub fn get(self) -> i64 {
        self.0
    }
}

/// The offsets to store once a batch is settled: the next offset to read of each of its partitions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Offsets(BTreeMap<i32, NextOffset>);

impl Offsets {
    /// Adds the record at `offset` to the batch. The order of calls does not matter.
    pub fn add(&mut self, partition: i32, offset: i64) {
        // The greatest offset is enough: a batch is settled as a whole, and it follows the batch
        // before it without a gap.
        let next = NextOffset::after(offset);
        self.0.entry(partition).and_modify(|known| *known = next.max(*known)).or_insert(next);
    }

    pub fn iter(&self) -> impl Iterator<Item = (i32, NextOffset)> + '_ {
        self.0.iter().map(|(partition, next)| (*partition, *next))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_next_offset_is_one_past_the_greatest(records in prop::collection::vec((0..4i32, 0..1_000i64), 1..200)) {
            let mut offsets = Offsets::default();
            for (partition, offset) in &records {
                offsets.add(*partition, *offset);
            }
            for (partition, next) in offsets.iter() {
                let greatest = records.iter().filter(|r| r.0 == partition).map(|r| r.1).max();
                prop_assert_eq!(Some(next.get() - 1), greatest);
            }
            let partitions: std::collections::BTreeSet<_> = records.iter().map(|r| r.0).collect();
            prop_assert_eq!(offsets.iter().count(), partitions.len());
        }
    }
}
