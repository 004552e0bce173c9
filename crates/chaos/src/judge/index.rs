//! The records of a topic by position: what each of them is, and which rows were found for it.
//! One entry takes 32 bytes.

use super::Position;

/// A record on a topic.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    pub(super) offset: i64,
    /// Kafka's timestamp, in milliseconds since 1970.
    pub(super) timestamp_ms: i64,
    pub(super) origin: Origin,
    /// True if the record must be rejected.
    pub(super) is_rejected: bool,
    seen: u8,
}

/// The sender of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// The senders of the run: the record with this number.
    Sent(u64),
    /// The order service: the entry of this number in the list of its events.
    Own(u32),
    /// Any other one. It is a finding already.
    Foreign,
}

/// A place in which each record must occur.
#[derive(Debug, Clone, Copy)]
pub(super) enum Place {
    Rejections = 1,
    DeadLetters = 2,
    History = 4,
}

#[derive(Debug, Default)]
pub(super) struct RecordIndex {
    partitions: Vec<Vec<Entry>>,
}

impl RecordIndex {
    /// Adds a record. The records of a partition come in the order of their offsets.
    pub(super) fn push(&mut self, position: Position, origin: Origin, is_rejected: bool) {
        let partition = usize::try_from(position.partition).expect("a partition is not negative");
        if self.partitions.len() <= partition {
            self.partitions.resize_with(partition + 1, Vec::new);
        }
        let Position { timestamp_ms, offset, .. } = position;
        let entry = Entry { offset, timestamp_ms, origin, is_rejected, seen: 0 };
        self.partitions[partition].push(entry);
    }

    pub(super) fn find(&mut self, partition: i32, offset: i64) -> Option<&mut Entry> {
        let entries = self.partitions.get_mut(usize::try_from(partition).ok()?)?;
        let index = entries.binary_search_by_key(&offset, |entry| entry.offset).ok()?;
        entries.get_mut(index)
    }

    /// Returns all records with their positions.
    pub(super) fn entries(&self) -> impl Iterator<Item = (Position, &Entry)> {
        let numbered = (0..).zip(&self.partitions);
        numbered.flat_map(|(partition, entries)| {
            entries.iter().map(move |entry| {
                let Entry { timestamp_ms, offset, .. } = *entry;
                (Position { timestamp_ms, partition, offset }, entry)
            })
        })
    }
}

impl Entry {
    /// Marks the record as seen in a place; returns true if it was seen there before.
    pub(super) fn see(&mut self, place: Place) -> bool {
        let before = self.is_seen(place);
        self.seen |= place as u8;
        before
    }

    pub(super) fn is_seen(&self, place: Place) -> bool {
        self.seen & place as u8 != 0
    }
}
