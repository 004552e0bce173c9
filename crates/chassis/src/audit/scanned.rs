//! The part of a topic that a scan has read, and the reasons why a record is not in it. Pure: the
//! caller scans the topic.
//!
//! Kafka may have deleted records, by retention, by compaction, or because the topic was deleted and
//! created again. A row whose record may have been deleted is not checked; a row whose record cannot
//! have been deleted is foreign, which is a finding.
//!
//! A record is older than a topic if its timestamp is less than all timestamps of its partition. So
//! the producers' clocks do not matter, as long as the topic is the first one of its name. Only
//! [`complete_since`](ScannedTopic::complete_since) compares the clocks of two servers.

use std::collections::BTreeMap;

use crate::{
    audit::check::Check,
    kafka::{
        record::{Position, Record},
        topic_scan::{Bounds, Ends},
        topics::Cleanup,
    },
};

/// The greatest difference that is expected between the clocks of Kafka and PostgreSQL.
const CLOCK_TOLERANCE_MS: i64 = 60_000;

/// A scanned topic.
#[derive(Debug)]
pub struct ScannedTopic {
    name: String,
    cleanup: Cleanup,
    partitions: BTreeMap<i32, ScannedPartition>,
    /// True if producers have set the timestamp of a record.
    has_producers_timestamps: bool,
}

#[derive(Debug)]
struct ScannedPartition {
    /// The first offset that Kafka still has.
    first: i64,
    /// The end of the scan.
    end: i64,
    /// The offset after the last record that was read.
    next: i64,
    /// The least timestamp of its records.
    least_ms: Option<i64>,
    /// The offsets without a record: each from the first one to the one after the last.
    gaps: Vec<(i64, i64)>,
}

/// The reason why the record of a position was not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Absence {
    /// Kafka has deleted the records up to it.
    Deleted,
    /// Compaction may have removed it.
    Compacted,
    /// It is older than the records of its partition: it was deleted, or it was on a deleted topic of
    /// the same name.
    Earlier,
    /// There is none: it cannot have been on the topic.
    Foreign,
}

impl ScannedTopic {
    /// Begins with the bounds that the topic has when the scan begins.
    #[must_use]
    pub fn new(name: &str, bounds: &Bounds, cleanup: Cleanup) -> Self {
        let partition = |(number, (first, end)): (&i32, &(i64, i64))| {
            let (first, end) = (*first, *end);
            let partition =
                ScannedPartition { first, end, next: first, least_ms: None, gaps: Vec::new() };
            (*number, partition)
        };
        Self {
            name: name.to_owned(),
            cleanup,
            partitions: bounds.iter().map(partition).collect(),
            has_producers_timestamps: false,
        }
    }

    /// Returns the ends of the scan.
    #[must_use]
    pub fn ends(&self) -> Ends {
        self.partitions.iter().map(|(number, partition)| (*number, partition.end)).collect()
    }

    /// Notes a record that the scan has read. The records of a partition come in their order.
    pub fn see(&mut self, record: &Record<'_>) {
        self.has_producers_timestamps |= record.is_stamped_by_producer();
        self.see_position(record.position);
    }

    fn see_position(&mut self, Position { timestamp_ms, partition, offset }: Position) {
        let Some(partition) = self.partitions.get_mut(&partition) else { return };
        if partition.next < offset {
            partition.gaps.push((partition.next, offset));
        }
        partition.next = offset + 1;
        let least_ms = partition.least_ms.get_or_insert(timestamp_ms);
        *least_ms = timestamp_ms.min(*least_ms);
    }

    /// Ends the scan, with the bounds that the topic has afterwards: a record that Kafka deleted
    /// during the scan is not expected to have been read.
    pub fn finish(&mut self, bounds: &Bounds) {
        for (number, partition) in &mut self.partitions {
            if partition.next < partition.end {
                partition.gaps.push((partition.next, partition.end));
            }
            if let Some((first, _)) = bounds.get(number) {
                partition.first = partition.first.max(*first);
            }
        }
    }

    /// Counts a row whose record was not read: as broken if the record cannot have been deleted, else
    /// as not checked.
    pub fn look_absent(
        &self,
        check: &mut Check,
        position: Position,
        example: impl FnOnce() -> String,
    ) {
        match self.absence(position) {
            Absence::Foreign => check.look(false, example),
            absence => check.skip(1, &self.reason(absence)),
        }
    }

    /// Counts a row of which something other than its record is checked, if its record was not read.
    pub fn skip_absent(&self, check: &mut Check, position: Position) {
        check.skip(1, &self.reason(self.absence(position)));
    }

    /// Returns true if Kafka has deleted the records up to this position.
    #[must_use]
    pub fn has_deleted(&self, position: Position) -> bool {
        let partition = self.partitions.get(&position.partition);
        partition.is_some_and(|partition| position.offset < partition.first)
    }

    fn absence(&self, position: Position) -> Absence {
        let Position { timestamp_ms, partition, offset } = position;
        if self.has_deleted(position) {
            return Absence::Deleted;
        }
        let partition = self.partitions.get(&partition);
        let least_ms = partition.and_then(|partition| partition.least_ms);
        // Without any record, all of them may have been on an earlier topic.
        if least_ms.or_else(|| self.least_ms()).is_none_or(|least_ms| timestamp_ms < least_ms) {
            return Absence::Earlier;
        }
        let is_gap = partition.is_some_and(|partition| partition.is_gap(offset));
        if is_gap && self.cleanup != Cleanup::Delete {
            Absence::Compacted
        } else {
            Absence::Foreign
        }
    }

    fn reason(&self, absence: Absence) -> String {
        let name = &self.name;
        if self.partitions.is_empty() {
            return format!("Kafka has no topic {name}");
        }
        match absence {
            Absence::Deleted => format!("Kafka has deleted them from {name}"),
            Absence::Compacted => format!("compaction may have removed them from {name}"),
            Absence::Earlier => format!(
                "older than the records of {name}: deleted, or from an earlier topic of this name"
            ),
            Absence::Foreign => format!("no record of {name} has their position"),
        }
    }

    /// Counts the records that the check should have read, and that are not on the topic or have no
    /// committed offset.
    pub fn skip_unread(&self, check: &mut Check, committed: &Ends, group: &str) {
        let name = &self.name;
        let count = |from: i64, to: i64| to.saturating_sub(from).max(0).unsigned_abs();
        for (number, partition) in &self.partitions {
            let deleted = self.reason(Absence::Deleted);
            let Some(&next) = committed.get(number) else {
                check.skip(count(partition.first, partition.end), &no_offset(group));
                check.skip(count(0, partition.first), &deleted);
                continue;
            };
            check.skip(count(0, partition.first.min(next)), &deleted);
            let unread =
                format!("Kafka has deleted them from {name} before the group {group} read them");
            check.skip(count(next, partition.first), &unread);
            let removed = match self.cleanup {
                // The markers and the aborted records of transactions.
                Cleanup::Delete => continue,
                Cleanup::Compact => format!("compaction may have removed them from {name}"),
                Cleanup::Unknown => format!("{name} may be compacted, and has no records there"),
            };
            let gaps = partition.gaps.iter().map(|(from, to)| count(*from, next.min(*to)));
            check.skip(gaps.sum(), &removed);
        }
    }

    /// Returns the time since which every record that was sent to the topic is on it, in milliseconds
    /// since 1970; `None` if there is no such time. `oldest_ms` is the time of the oldest row whose
    /// record should be on the topic, by the clock of the database.
    #[must_use]
    pub fn complete_since(&self, oldest_ms: i64) -> Option<i64> {
        if self.may_be_compacted() {
            return None;
        }
        let begins_ms = self.begins_ms()?;
        // A topic that begins with the rows has never been deleted.
        let is_first = begins_ms <= oldest_ms.saturating_add(CLOCK_TOLERANCE_MS);
        let is_complete = is_first && self.partitions.values().all(|it| it.first == 0);
        Some(if is_complete { i64::MIN } else { begins_ms + CLOCK_TOLERANCE_MS })
    }

    /// Returns the timestamp from which every record must be on the topic, in milliseconds since
    /// 1970; `None` if there is no such timestamp.
    #[must_use]
    pub fn begins_ms(&self) -> Option<i64> {
        let mut begins_ms = self.least_ms()?;
        for partition in self.partitions.values().filter(|partition| partition.first > 0) {
            // If producers set the timestamps, deleted records may have had any.
            if self.has_producers_timestamps {
                return None;
            }
            begins_ms = begins_ms.max(partition.least_ms?);
        }
        Some(begins_ms)
    }

    /// Returns true if compaction may have removed records.
    #[must_use]
    pub fn may_be_compacted(&self) -> bool {
        self.cleanup != Cleanup::Delete
            && self.partitions.values().any(|partition| !partition.gaps.is_empty())
    }

    /// Returns the reason why nothing can be said about records that were sent before the topic is
    /// complete.
    #[must_use]
    pub fn incomplete(&self) -> String {
        let absence = if self.may_be_compacted() { Absence::Compacted } else { Absence::Earlier };
        self.reason(absence)
    }

    /// Returns the least timestamp of all records.
    fn least_ms(&self) -> Option<i64> {
        self.partitions.values().filter_map(|partition| partition.least_ms).min()
    }
}

impl ScannedPartition {
    fn is_gap(&self, offset: i64) -> bool {
        let after = self.gaps.partition_point(|(from, _)| *from <= offset);
        after.checked_sub(1).is_some_and(|index| offset < self.gaps[index].1)
    }
}

/// Returns the reason why the records of a partition are not checked for which `group` has committed
/// no offset.
#[must_use]
pub fn no_offset(group: &str) -> String {
    format!("the group {group} has committed no offset for their partition")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scans partition 0 with these offsets and timestamps.
    fn scan(bounds: (i64, i64), cleanup: Cleanup, records: &[(i64, i64)]) -> ScannedTopic {
        let bounds = Bounds::from([(0, bounds), (1, (0, 0))]);
        let mut topic = ScannedTopic::new("orders", &bounds, cleanup);
        for (offset, timestamp_ms) in records {
            let position = Position { timestamp_ms: *timestamp_ms, partition: 0, offset: *offset };
            topic.see_position(position);
        }
        topic.finish(&bounds);
        topic
    }

    fn absence(topic: &ScannedTopic, partition: i32, offset: i64, timestamp_ms: i64) -> Absence {
        topic.absence(Position { timestamp_ms, partition, offset })
    }

    #[test]
    fn a_row_is_foreign_if_its_record_cannot_have_been_deleted() {
        let records = [(3, 100), (4, 90), (7, 120)];
        let topic = scan((3, 10), Cleanup::Delete, &records);
        let compacted = scan((3, 10), Cleanup::Compact, &records);
        for (partition, offset, timestamp_ms, expected) in [
            (0, 2, 100, Absence::Deleted),
            (0, 2, 0, Absence::Deleted),
            (0, 3, 89, Absence::Earlier),
            (0, 3, 90, Absence::Foreign),
            (0, 5, 95, Absence::Compacted),
            (0, 6, 95, Absence::Compacted),
            (0, 7, 95, Absence::Foreign),
            (0, 9, 95, Absence::Compacted),
            (0, 10, 95, Absence::Foreign),
            // Partition 1 has no record, and partition 2 does not exist.
            (1, 0, 89, Absence::Earlier),
            (1, 0, 90, Absence::Foreign),
            (2, 0, 89, Absence::Earlier),
            (2, 0, 90, Absence::Foreign),
        ] {
            assert_eq!(absence(&compacted, partition, offset, timestamp_ms), expected);
            let without_compaction =
                if expected == Absence::Compacted { Absence::Foreign } else { expected };
            assert_eq!(absence(&topic, partition, offset, timestamp_ms), without_compaction);
        }
        let empty = scan((0, 0), Cleanup::Delete, &[]);
        assert_eq!(absence(&empty, 0, 0, i64::MAX), Absence::Earlier);
    }

    #[test]
    fn a_topic_is_complete_from_its_begin_on() {
        let whole = scan((0, 2), Cleanup::Delete, &[(0, 1_000_000), (1, 900_000)]);
        assert_eq!(whole.begins_ms(), Some(900_000));
        assert_eq!(whole.complete_since(840_000), Some(i64::MIN));
        // The rows are older: an earlier topic was deleted.
        assert_eq!(whole.complete_since(839_999), Some(960_000));
        let trimmed = scan((1, 3), Cleanup::Delete, &[(1, 900_000), (2, 900_001)]);
        assert_eq!(trimmed.complete_since(900_000), Some(960_000));
        let all_trimmed = scan((3, 3), Cleanup::Delete, &[]);
        assert_eq!((all_trimmed.begins_ms(), all_trimmed.complete_since(0)), (None, None));
        let compacted = scan((0, 2), Cleanup::Compact, &[(1, 900_000)]);
        assert_eq!(compacted.complete_since(900_000), None);
        let mut stamped = scan((1, 2), Cleanup::Delete, &[(1, 900_000)]);
        stamped.has_producers_timestamps = true;
        assert_eq!(stamped.begins_ms(), None);
    }

    #[test]
    fn records_that_were_not_read_are_counted_with_their_reasons() {
        let counts = |topic: &ScannedTopic, committed: &[(i32, i64)]| {
            let mut check = Check::new(1, "numbers are even");
            topic.skip_unread(&mut check, &committed.iter().copied().collect(), "group");
            check.reasons.into_iter().map(|reason| reason.count).collect::<Vec<_>>()
        };
        let records = [(3, 100), (4, 90), (7, 120)];
        let topic = scan((3, 10), Cleanup::Delete, &records);
        assert_eq!(counts(&topic, &[(0, 10)]), [3]);
        assert_eq!(counts(&topic, &[(0, 1)]), [1, 2]);
        assert_eq!(counts(&topic, &[]), [7, 3]);
        let compacted = scan((3, 10), Cleanup::Compact, &records);
        assert_eq!(counts(&compacted, &[(0, 9)]), [3, 3]);
        assert_eq!(counts(&scan((0, 3), Cleanup::Delete, &[(0, 1), (2, 1)]), &[(0, 3)]), [0; 0]);
    }
}
