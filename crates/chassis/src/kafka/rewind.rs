//! Sets the committed offsets of a consumer group back to a time, so that the group reads its topic
//! again from there. An offset never moves forward, so no record is skipped.
//!
//! The calls block the thread. Kafka refuses the new offsets while the group has members; the caller
//! asks for them first, so that it can explain this.

use std::time::{Duration, Instant};

use anyhow::Context;
use rdkafka::{
    Offset, TopicPartitionList,
    consumer::{BaseConsumer, CommitMode, Consumer as _},
    error::{KafkaError, RDKafkaErrorCode},
};
use time::OffsetDateTime;

use crate::{
    kafka::{config::KafkaConfig, offsets::NextOffset, topic_scan::ANSWER_TIMEOUT},
    process::exit::ExitReason,
};

/// The pause between two attempts to commit.
const RETRY_PAUSE: Duration = Duration::from_millis(100);
/// The states of a group without members, as Kafka names them.
const INACTIVE_STATES: [&str; 3] = ["Empty", "Dead", ""];

/// A group with its members, and the offsets that it will have.
pub struct Rewind {
    client: BaseConsumer,
    pub group: String,
    pub topic: String,
    /// Empty if Kafka has no such topic.
    pub partitions: Vec<PartitionRewind>,
    /// The host of each member, as Kafka sees it; not empty while the group is active.
    pub members: Vec<String>,
}

/// The offset of a partition before and after.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionRewind {
    pub partition: i32,
    /// The committed offset; without one, the group begins at the first record.
    pub committed: Option<NextOffset>,
    /// The offset to commit; `None` if the partition stays as it is.
    pub to: Option<NextOffset>,
    /// True if the offset to commit is that of the oldest record that Kafka has, and Kafka has deleted
    /// older ones. Some of these may have been sent after the time.
    pub is_oldest: bool,
    /// The metadata of the committed offset, which names the topic's id.
    metadata: String,
}

impl PartitionRewind {
    fn new(committed: Committed, first_since: Option<i64>, oldest: i64) -> Self {
        let Committed { partition, next, metadata } = committed;
        let to = next.zip(first_since).filter(|(next, first)| first < next).map(|(_, first)| first);
        Self {
            partition,
            committed: next.map(NextOffset::at),
            to: to.map(NextOffset::at),
            is_oldest: to.is_some_and(|to| to == oldest && oldest > 0),
            metadata,
        }
    }

    /// Returns the number of offsets that are read again.
    #[must_use]
    pub fn records(&self) -> u64 {
        let count = |(committed, to): (NextOffset, NextOffset)| committed.get() - to.get();
        self.committed.zip(self.to).map_or(0, |both| count(both).unsigned_abs())
    }
}

struct Committed {
    partition: i32,
    next: Option<i64>,
    metadata: String,
}

impl Rewind {
    /// Reads the offsets, and the members of the group. It changes nothing.
    pub fn plan(
        kafka: &KafkaConfig,
        group: String,
        topic: &str,
        to: OffsetDateTime,
    ) -> anyhow::Result<Self> {
        let client: BaseConsumer = kafka
            .client()?
            .set("group.id", &group)
            .set("enable.auto.commit", "false")
            .create()
            .context("configuring the Kafka client")?;
        let mut all = TopicPartitionList::new();
        for partition in partitions(&client, topic)? {
            all.add_partition(topic, partition);
        }
        let mut rewinds = Vec::new();
        if all.count() == 0 {
            let topic = topic.to_owned();
            return Ok(Self { client, group, topic, partitions: rewinds, members: Vec::new() });
        }
        let since = first_since(&client, all.clone(), to)?;
        for committed in committed(&client, all)? {
            let bounds = client.fetch_watermarks(topic, committed.partition, ANSWER_TIMEOUT);
            let (oldest, _) = bounds.with_context(|| format!("requesting the begin of {topic}"))?;
            let first_since = since.iter().find(|(partition, _)| *partition == committed.partition);
            rewinds.push(PartitionRewind::new(
                committed,
                first_since.map(|(_, first)| *first),
                oldest,
            ));
        }
        rewinds.sort_by_key(|rewind| rewind.partition);
        let members = members(&client, &group)?;
        let topic = topic.to_owned();
        Ok(Self { client, group, topic, partitions: rewinds, members })
    }

    /// Commits the offsets of the partitions that do not stay as they are.
    pub fn commit(&self) -> anyhow::Result<()> {
        let mut list = TopicPartitionList::new();
        for PartitionRewind { partition, to, metadata, .. } in &self.partitions {
            let Some(to) = to else { continue };
            let mut element = list.add_partition(&self.topic, *partition);
            element.set_offset(Offset::Offset(to.get()))?;
            // Kept, so that the service still finds out if the topic was re-created.
            element.set_metadata(metadata);
        }
        if list.count() == 0 {
            return Ok(());
        }
        let began = Instant::now();
        while let Err(error) = self.client.commit(&list, CommitMode::Sync) {
            let group = &self.group;
            if error.rdkafka_error_code().is_some_and(has_members) {
                return Err(anyhow::Error::new(error).context(format!(
                    "Kafka refuses the offsets of the group {group}, because a member has joined \
                     it just now; stop all replicas, and run this command again"
                )));
            }
            if began.elapsed() > ANSWER_TIMEOUT || is_unauthorized(&error) {
                return Err(failed(error));
            }
            std::thread::sleep(RETRY_PAUSE);
        }
        Ok(())
    }
}

/// Returns true if Kafka refuses the offsets of a client outside the group because of its members.
fn has_members(code: RDKafkaErrorCode) -> bool {
    matches!(
        code,
        RDKafkaErrorCode::UnknownMemberId
            | RDKafkaErrorCode::IllegalGeneration
            | RDKafkaErrorCode::RebalanceInProgress
    )
}

fn is_unauthorized(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(
            RDKafkaErrorCode::GroupAuthorizationFailed
                | RDKafkaErrorCode::TopicAuthorizationFailed
                | RDKafkaErrorCode::ClusterAuthorizationFailed
        )
    )
}

fn partitions(client: &BaseConsumer, topic: &str) -> anyhow::Result<Vec<i32>> {
    let metadata = client.fetch_metadata(Some(topic), ANSWER_TIMEOUT).map_err(failed)?;
    let topics = metadata.topics().iter();
    Ok(topics.flat_map(|topic| topic.partitions()).map(|partition| partition.id()).collect())
}

fn committed(client: &BaseConsumer, all: TopicPartitionList) -> anyhow::Result<Vec<Committed>> {
    let committed = client.committed_offsets(all, ANSWER_TIMEOUT).map_err(failed)?;
    let committed = committed.elements().into_iter().map(|element| Committed {
        partition: element.partition(),
        next: element.offset().to_raw().filter(|offset| *offset >= 0),
        metadata: element.metadata().to_owned(),
    });
    Ok(committed.collect())
}

/// Returns the offset of the first record since `to` of each partition that has one.
fn first_since(
    client: &BaseConsumer,
    mut all: TopicPartitionList,
    to: OffsetDateTime,
) -> anyhow::Result<Vec<(i32, i64)>> {
    let milliseconds = i64::try_from(to.unix_timestamp_nanos().div_euclid(1_000_000))?.max(0);
    all.set_all_offsets(Offset::Offset(milliseconds))?;
    let found = client.offsets_for_times(all, ANSWER_TIMEOUT).map_err(failed)?;
    let mut first = Vec::new();
    for element in found.elements() {
        element.error().context("requesting offsets by time")?;
        // The end means that there is no record since then.
        if let Offset::Offset(offset) = element.offset() {
            first.push((element.partition(), offset));
        }
    }
    Ok(first)
}

fn members(client: &BaseConsumer, group: &str) -> anyhow::Result<Vec<String>> {
    let groups = client.fetch_group_list(Some(group), ANSWER_TIMEOUT).map_err(failed)?;
    let mut members = Vec::new();
    for group in groups.groups() {
        members.extend(group.members().iter().map(|member| {
            let host = member.client_host();
            host.strip_prefix('/').unwrap_or(host).to_owned()
        }));
        // A group that is rebalancing may have no members at the moment.
        if members.is_empty() && !INACTIVE_STATES.contains(&group.state()) {
            members.push(format!("unknown, in the state {}", group.state()));
        }
    }
    Ok(members)
}

fn failed(error: KafkaError) -> anyhow::Error {
    let reason = if is_unauthorized(&error) {
        ExitReason::Configuration
    } else {
        ExitReason::Unreachable(
            "Kafka did not answer for 10 seconds; start it, or give --kafka-brokers".to_owned(),
        )
    };
    anyhow::Error::new(error).context(reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offset_moves_back_or_stays() {
        let rewind = |next, first_since, oldest| {
            let committed = Committed { partition: 0, next, metadata: String::new() };
            let rewind = PartitionRewind::new(committed, first_since, oldest);
            (rewind.to.map(NextOffset::get), rewind.records(), rewind.is_oldest)
        };
        assert_eq!(rewind(Some(9), Some(4), 0), (Some(4), 5, false));
        assert_eq!(rewind(Some(9), Some(4), 4), (Some(4), 5, true));
        assert_eq!(rewind(Some(9), Some(0), 0), (Some(0), 9, false));
        assert_eq!(rewind(Some(9), Some(9), 0), (None, 0, false));
        assert_eq!(rewind(Some(9), Some(12), 0), (None, 0, false));
        assert_eq!(rewind(Some(9), None, 0), (None, 0, false));
        assert_eq!(rewind(None, Some(4), 0), (None, 0, false));
    }
}
