//! A batch of items on its way to the database. Pure: it makes no calls to Kafka, and the caller
//! passes the time.

use std::time::{Duration, Instant};

use crate::{
    kafka::{offsets::Offsets, record::Position},
    process::number::within,
};

/// The limits of a batch. It ends at the first limit that it reaches: its rows, its bytes, or the age
/// of its first item. So a batch is small when few records arrive, and large when there is a backlog.
#[derive(Debug, Clone, Copy, clap::Args)]
#[command(next_help_heading = "Batches")]
pub struct BatchPolicy {
    /// Maximum number of orders in a batch, from 1 to 10000.
    ///
    /// A batch of events has up to four times as many, because events are small. A batch is one
    /// transaction in PostgreSQL. It ends when it has this number of records, when it has
    /// --batch-bytes, or when its first record has waited --batch-age-ms. Larger batches cost less
    /// for each record, but each transaction takes longer.
    #[arg(
        long = "batch-rows",
        env = "BATCH_ROWS",
        default_value_t = 500,
        value_name = "N",
        value_parser = within::<u32>(1..=10_000),
        hide_short_help = true
    )]
    pub rows: u32,
    /// Maximum size of a batch, in bytes, from 1024 to 268435456 (256 MiB).
    ///
    /// The default is 4 MiB. All lanes of a topic together hold at most four times as much.
    #[arg(
        long = "batch-bytes",
        env = "BATCH_BYTES",
        default_value_t = 4 << 20,
        value_name = "BYTES",
        value_parser = within::<u32>(1_024..=(256 << 20)),
        hide_short_help = true
    )]
    pub bytes: u32,
    /// Maximum time that a record waits for its batch to fill, in milliseconds, from 0 to 60000.
    ///
    /// When few records arrive, a longer time makes fewer, larger transactions, and stores each
    /// record later.
    #[arg(
        long = "batch-age-ms",
        env = "BATCH_AGE_MS",
        default_value_t = 5,
        value_name = "MILLISECONDS",
        value_parser = within::<u64>(0..=60_000),
        hide_short_help = true
    )]
    pub age_ms: u64,
}

/// The maximum number of events in a batch, as a multiple of that of orders: events are small.
const EVENT_FACTOR: u32 = 4;

impl BatchPolicy {
    /// Returns the limits of a batch of events.
    #[must_use]
    pub fn of_events(self) -> Self {
        Self { rows: self.rows.saturating_mul(EVENT_FACTOR), ..self }
    }
}

/// Items with the offsets of their records.
#[derive(Debug)]
pub struct Batch<T> {
    /// In order of arrival.
    pub items: Vec<T>,
    /// The offsets to store once the items are settled.
    pub offsets: Offsets,
    /// The oldest timestamp of its records.
    pub oldest_ms: Option<i64>,
    /// The sum of the sizes of its items.
    pub bytes: usize,
    first_at: Option<Instant>,
}

impl<T> Default for Batch<T> {
    fn default() -> Self {
        let offsets = Offsets::default();
        Self { items: Vec::new(), offsets, oldest_ms: None, bytes: 0, first_at: None }
    }
}

impl<T> Batch<T> {
    /// Returns an empty batch with room for as many items as `other` has.
    #[must_use]
    pub fn as_large_as(other: &Self) -> Self {
        Self { items: Vec::with_capacity(other.items.len()), ..Self::default() }
    }

    /// Adds an item of `bytes` whose record, at `position`, was taken at `now`.
    pub fn push(&mut self, item: T, bytes: usize, position: Position, now: Instant) {
        self.items.push(item);
        self.offsets.add(position.partition, position.offset);
        self.bytes += bytes;
        self.first_at.get_or_insert(now);
        // Kafka gives 0 or -1 for a record without a timestamp; its age is unknown.
        let timestamp_ms = position.timestamp_ms;
        if timestamp_ms > 0 && self.oldest_ms.is_none_or(|oldest| timestamp_ms < oldest) {
            self.oldest_ms = Some(timestamp_ms);
        }
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    #[must_use]
    pub fn is_full(&self, policy: &BatchPolicy) -> bool {
        self.items.len() >= policy.rows as usize || self.bytes >= policy.bytes as usize
    }

    /// Returns the time at which its age ends it; `None` while it is empty.
    #[must_use]
    pub fn due_at(&self, policy: &BatchPolicy) -> Option<Instant> {
        self.first_at.map(|first_at| first_at + Duration::from_millis(policy.age_ms))
    }

    /// Returns true if it has ended at `now`.
    #[must_use]
    pub fn is_due(&self, policy: &BatchPolicy, now: Instant) -> bool {
        self.is_full(policy) || self.due_at(policy).is_some_and(|due| due <= now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: BatchPolicy = BatchPolicy { rows: 3, bytes: 100, age_ms: 10 };

    fn at(partition: i32, offset: i64) -> Position {
        Position { timestamp_ms: 0, partition, offset }
    }

    #[test]
    fn ends_by_rows_by_bytes_and_by_the_age_of_its_first_item() {
        let start = Instant::now();
        let mut batch = Batch::default();
        assert!(
            !batch.is_due(&POLICY, start + Duration::from_secs(1)),
            "an empty batch is never due"
        );

        batch.push('a', 10, at(0, 0), start);
        batch.push('b', 10, at(0, 1), start + Duration::from_millis(9));
        assert!(!batch.is_due(&POLICY, start + Duration::from_millis(9)));
        assert!(
            batch.is_due(&POLICY, start + Duration::from_millis(10)),
            "age counts from the first item"
        );

        batch.push('c', 10, at(1, 0), start);
        assert!(batch.is_full(&POLICY), "three rows fill it");

        let mut large = Batch::default();
        large.push('x', 100, at(0, 7), start);
        assert!(large.is_full(&POLICY), "a hundred bytes fill it");
    }

    #[test]
    fn a_record_without_a_timestamp_has_no_age() {
        let mut batch = Batch::default();

        for timestamp_ms in [0, 30, 20, 40, 0] {
            let position = Position { timestamp_ms, ..at(0, 0) };
            batch.push('a', 1, position, Instant::now());
        }

        assert_eq!(batch.oldest_ms, Some(20));
    }
}
