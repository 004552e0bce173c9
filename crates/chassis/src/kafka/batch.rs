//! A batch of items on its way to the database. Pure: knows no Kafka and no clock of its own.

use std::time::{Duration, Instant};

use crate::kafka::offsets::Offsets;

/// When a batch ends: by rows, by bytes, or by the age of its first item, whichever comes first.
/// So it is small when there is little to do and large when there is much.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct BatchPolicy {
    /// The most records of one batch.
    #[arg(long = "batch-rows", env = "BATCH_ROWS", default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub rows: u32,
    /// The most bytes of one batch.
    #[arg(long = "batch-bytes", env = "BATCH_BYTES", default_value_t = 4 << 20)]
    pub bytes: usize,
    /// The longest a record waits for others to join its batch, in milliseconds.
    #[arg(long = "batch-age-ms", env = "BATCH_AGE_MS", default_value_t = 5)]
    pub age_ms: u64,
}

/// Items with the offsets they came from.
#[derive(Debug)]
pub struct Batch<T> {
    /// In order of arrival.
    pub items: Vec<T>,
    /// What to store once the items are settled.
    pub offsets: Offsets,
    bytes: usize,
    first_at: Option<Instant>,
}

impl<T> Default for Batch<T> {
    fn default() -> Self {
        Self { items: Vec::new(), offsets: Offsets::default(), bytes: 0, first_at: None }
    }
}

impl<T> Batch<T> {
    /// An empty one with room for as many items as `other` has.
    #[must_use]
    pub fn as_large_as(other: &Self) -> Self {
        Self { items: Vec::with_capacity(other.items.len()), ..Self::default() }
    }

    /// Adds an item of `bytes` that came at `now` from `offset` of `partition`.
    pub fn push(&mut self, item: T, bytes: usize, partition: i32, offset: i64, now: Instant) {
        self.items.push(item);
        self.offsets.add(partition, offset);
        self.bytes += bytes;
        self.first_at.get_or_insert(now);
    }

    /// Nothing in it?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// No more may be added?
    #[must_use]
    pub fn is_full(&self, policy: &BatchPolicy) -> bool {
        self.items.len() >= policy.rows as usize || self.bytes >= policy.bytes
    }

    /// When its age ends it; `None` while it is empty.
    #[must_use]
    pub fn due_at(&self, policy: &BatchPolicy) -> Option<Instant> {
        self.first_at.map(|first_at| first_at + Duration::from_millis(policy.age_ms))
    }

    /// Has it ended at `now`?
    #[must_use]
    pub fn is_due(&self, policy: &BatchPolicy, now: Instant) -> bool {
        self.is_full(policy) || self.due_at(policy).is_some_and(|due| due <= now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: BatchPolicy = BatchPolicy { rows: 3, bytes: 100, age_ms: 10 };

    #[test]
    fn ends_by_rows_by_bytes_and_by_the_age_of_its_first_item() {
        let start = Instant::now();
        let mut batch = Batch::default();
        assert!(
            !batch.is_due(&POLICY, start + Duration::from_secs(1)),
            "an empty batch is never due"
        );

        batch.push('a', 10, 0, 0, start);
        batch.push('b', 10, 0, 1, start + Duration::from_millis(9));
        assert!(!batch.is_due(&POLICY, start + Duration::from_millis(9)));
        assert!(
            batch.is_due(&POLICY, start + Duration::from_millis(10)),
            "age counts from the first item"
        );

        batch.push('c', 10, 1, 0, start);
        assert!(batch.is_full(&POLICY), "three rows fill it");

        let mut large = Batch::default();
        large.push('x', 100, 0, 7, start);
        assert!(large.is_full(&POLICY), "a hundred bytes fill it");
    }
}
