//! Finds partitions that no member of the group has, after the start of a static member.
//!
//! In a cooperative rebalance, partitions move to another member in two steps. First, their owner
//! stops reading them. Then the owner joins the group again, and Kafka assigns the partitions to the
//! other member. If the owner is a static member, ends between the two steps and is restarted, Kafka
//! returns its other partitions without a rebalance. The second step is then missing: no member reads
//! the partitions that were to move until the next rebalance, however late that is. So a static
//! member searches for such partitions after its start. If it finds some, it leaves the group and
//! joins it again.
//!
//! Other members need no search: Kafka rebalances the group when their session ends.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use rdkafka::{
    consumer::{BaseConsumer, Consumer as _},
    error::KafkaResult,
};

use super::group::Group;

/// The interval of the searches: longer than the time between the two steps, in which a member
/// waits for its batches in flight.
const INTERVAL: Duration = Duration::from_secs(3);
/// Bounds one request. It blocks the poll thread, but no heartbeat.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);
/// The state of a group that is not in a rebalance, as Kafka names it.
const STABLE: &str = "Stable";

/// The searches of a member, which end when every partition has a member.
pub(super) struct Search {
    group: String,
    topic: String,
    next: Instant,
    /// The result of the last search.
    unread: BTreeSet<i32>,
}

/// The state of a group after a search.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// Every partition has a member.
    Nothing,
    /// It is too early to know, or there was no answer.
    Unknown,
    /// These partitions have had no member in two searches.
    Unread(BTreeSet<i32>),
}

impl Search {
    pub(super) fn new(group: &str, topic: &str) -> Self {
        let (group, topic) = (group.to_owned(), topic.to_owned());
        Self { group, topic, next: Instant::now() + INTERVAL, unread: BTreeSet::new() }
    }

    pub(super) fn run(&mut self, consumer: &BaseConsumer<Group>) -> Found {
        if Instant::now() < self.next {
            return Found::Unknown;
        }
        let unread = self.unread_partitions(consumer);
        self.next = Instant::now() + INTERVAL;
        match unread {
            Ok(Some(unread)) => self.compare(unread),
            Ok(None) => self.start_again(),
            Err(error) => {
                tracing::debug!("searching for partitions without a member: {error}");
                self.start_again()
            }
        }
    }

    /// Compares with the search before: in a rebalance, partitions have no member for a moment.
    fn compare(&mut self, unread: BTreeSet<i32>) -> Found {
        if unread.is_empty() {
            return Found::Nothing;
        }
        if unread == self.unread {
            self.unread.clear();
            return Found::Unread(unread);
        }
        self.unread = unread;
        Found::Unknown
    }

    fn start_again(&mut self) -> Found {
        self.unread.clear();
        Found::Unknown
    }

    /// Returns the partitions that no member has; `None` during a rebalance, or if Kafka does not name
    /// the partitions of the topic.
    fn unread_partitions(
        &self,
        consumer: &BaseConsumer<Group>,
    ) -> KafkaResult<Option<BTreeSet<i32>>> {
        let groups = consumer.fetch_group_list(Some(&self.group), ANSWER_TIMEOUT)?;
        let Some(group) = groups.groups().iter().find(|group| group.state() == STABLE) else {
            return Ok(None);
        };
        let metadata = consumer.fetch_metadata(Some(&self.topic), ANSWER_TIMEOUT)?;
        let partitions = metadata.topics().iter().flat_map(|topic| topic.partitions());
        let mut unread: BTreeSet<i32> = partitions.map(|partition| partition.id()).collect();
        if unread.is_empty() {
            return Ok(None);
        }
        for member in group.members() {
            let Some(assigned) = partitions_of(member.assignment().unwrap_or(&[]), &self.topic)
            else {
                return Ok(None);
            };
            unread.retain(|partition| !assigned.contains(partition));
        }
        Ok(Some(unread))
    }
}

/// Reads the partitions of a topic in the assignment of a member: `version i16, topics [name,
/// partitions [i32]]` and the assignor's own data, as Kafka's ConsumerProtocolAssignment defines it.
/// A member without partitions may have an empty assignment. Returns `None` if the bytes are not of
/// this form.
fn partitions_of(assignment: &[u8], topic: &str) -> Option<Vec<i32>> {
    let mut found = Vec::new();
    if assignment.is_empty() {
        return Some(found);
    }
    let mut rest = Bytes(assignment);
    rest.take(2)?;
    for _ in 0..rest.number()? {
        let length = rest.take(2)?.try_into().map(i16::from_be_bytes).ok()?;
        let name = rest.take(usize::try_from(length).ok()?)?;
        for _ in 0..rest.number()? {
            let partition = rest.number()?;
            if name == topic.as_bytes() {
                found.push(partition);
            }
        }
    }
    Some(found)
}

/// The bytes that are not read yet.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn number(&mut self) -> Option<i32> {
        self.take(4)?.try_into().map(i32::from_be_bytes).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The assignment of partitions 2 and 5 of the topic `orders`, and 1 of `other`.
    const ASSIGNMENT: &[u8] = b"\0\x01\0\0\0\x02\0\x06orders\0\0\0\x02\0\0\0\x02\0\0\0\x05\
                                \0\x05other\0\0\0\x01\0\0\0\x01\xff\xff\xff\xff";

    #[test]
    fn an_assignment_is_read() {
        assert_eq!(partitions_of(ASSIGNMENT, "orders"), Some(vec![2, 5]));
        assert_eq!(partitions_of(ASSIGNMENT, "other"), Some(vec![1]));
        assert_eq!(partitions_of(ASSIGNMENT, "none"), Some(vec![]));
        assert_eq!(partitions_of(b"", "orders"), Some(vec![]));
        // Everything up to the assignor's data is needed.
        for length in 1..ASSIGNMENT.len() - 4 {
            assert_eq!(partitions_of(&ASSIGNMENT[..length], "orders"), None, "{length}");
        }
    }

    #[test]
    fn only_a_result_that_stays_the_same_counts() {
        let mut search = Search::new("group", "topic");
        assert_eq!(search.compare(BTreeSet::from([1, 2])), Found::Unknown);
        assert_eq!(search.compare(BTreeSet::from([2])), Found::Unknown);
        assert_eq!(search.compare(BTreeSet::from([2])), Found::Unread(BTreeSet::from([2])));
        assert_eq!(search.compare(BTreeSet::from([2])), Found::Unknown, "it has joined again");
        assert_eq!(search.start_again(), Found::Unknown);
        assert_eq!(search.compare(BTreeSet::from([2])), Found::Unknown);
        assert_eq!(search.compare(BTreeSet::new()), Found::Nothing);
    }
}
