//! The topic scan: reads a topic from its first record to a fixed end, once, for the checks of
//! `audit`. It commits nothing and joins no group. Its calls block the thread.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use rdkafka::{
    Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer as _},
    error::KafkaError,
};

use crate::{
    kafka::{config::KafkaConfig, record::Record},
    process::exit::ExitReason,
};

/// The longest time without an answer or a record from Kafka.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// For each partition the next offset to read.
pub type Ends = BTreeMap<i32, i64>;

/// A Kafka client for scans.
pub struct Scanner(BaseConsumer);

impl Scanner {
    /// Creates a client, which connects with its first request. `group` is not joined: it is the one
    /// whose offsets [`committed`](Self::committed) returns.
    pub fn new(kafka: &KafkaConfig, group: &str) -> anyhow::Result<Self> {
        let consumer = kafka
            .client()?
            .set("group.id", group)
            .set("enable.auto.commit", "false")
            .set("auto.offset.reset", "earliest")
            .set("enable.partition.eof", "true")
            // The broker does not wait for more records, so the end is reported at once.
            .set("fetch.wait.max.ms", "10")
            .set("queued.max.messages.kbytes", "16384")
            .create()
            .context("configuring the Kafka reader")?;
        Ok(Self(consumer))
    }

    /// Returns the committed offsets of the group, without the partitions that have none.
    pub fn committed(&self, topic: &str) -> anyhow::Result<Ends> {
        let mut partitions = TopicPartitionList::new();
        for partition in self.partitions(topic)? {
            partitions.add_partition(topic, partition);
        }
        let committed = self.0.committed_offsets(partitions, ANSWER_TIMEOUT);
        let committed = committed.context("asking for committed offsets")?;
        let next = committed.elements().into_iter().filter_map(|element| match element.offset() {
            Offset::Offset(next) => Some((element.partition(), next)),
            _ => None,
        });
        Ok(next.collect())
    }

    /// Returns the first offset and the end of each partition.
    pub fn bounds(&self, topic: &str) -> anyhow::Result<BTreeMap<i32, (i64, i64)>> {
        let bounds = self.partitions(topic)?.into_iter().map(|partition| {
            let bounds = self.0.fetch_watermarks(topic, partition, ANSWER_TIMEOUT);
            let bounds = bounds.with_context(|| format!("asking where {topic} ends"))?;
            Ok((partition, bounds))
        });
        bounds.collect()
    }

    /// Returns the end of each partition: with it, [`read`](Self::read) reads all present records.
    pub fn ends(&self, topic: &str) -> anyhow::Result<Ends> {
        let bounds = self.bounds(topic)?.into_iter();
        Ok(bounds.map(|(partition, (_, end))| (partition, end)).collect())
    }

    /// Passes every present record before `ends` to `on_record`, each partition in its order, and
    /// returns the number of records.
    pub fn read(
        &self,
        topic: &str,
        ends: &Ends,
        mut on_record: impl FnMut(Record<'_>) -> anyhow::Result<()>,
    ) -> anyhow::Result<u64> {
        let mut open = self.assign(topic, ends)?;
        let mut read = 0;
        let mut last_record_at = Instant::now();
        while !open.is_empty() {
            match self.0.poll(Duration::from_millis(100)) {
                None if last_record_at.elapsed() > ANSWER_TIMEOUT => bail!(unreachable()),
                None => {}
                // The last offsets of a partition may hold no records but markers of transactions.
                Some(Err(KafkaError::PartitionEOF(partition))) => {
                    open.remove(&partition);
                }
                Some(Err(error)) if last_record_at.elapsed() > ANSWER_TIMEOUT => {
                    return Err(anyhow::Error::new(error).context(unreachable()));
                }
                Some(Err(error)) => tracing::debug!("reading {topic}: {error}"),
                Some(Ok(message)) => {
                    last_record_at = Instant::now();
                    let record = Record::of(&message);
                    let Some(&end) = open.get(&record.position.partition) else { continue };
                    if record.position.offset < end {
                        on_record(record)?;
                        read += 1;
                    }
                    // Or past it: the offsets between may be compacted away, or be no records.
                    if record.position.offset + 1 >= end {
                        open.remove(&record.position.partition);
                    }
                }
            }
        }
        self.0.unassign().context("reading a topic")?;
        Ok(read)
    }

    /// Assigns the partitions that have records before `ends`, and returns their ends.
    fn assign(&self, topic: &str, ends: &Ends) -> anyhow::Result<Ends> {
        let mut open = Ends::new();
        let mut assignment = TopicPartitionList::new();
        for (partition, (first, end)) in self.bounds(topic)? {
            let end = ends.get(&partition).copied().unwrap_or(0).min(end);
            if first < end {
                open.insert(partition, end);
                assignment.add_partition_offset(topic, partition, Offset::Offset(first))?;
            }
        }
        self.0.assign(&assignment).context("reading a topic")?;
        Ok(open)
    }

    fn partitions(&self, topic: &str) -> anyhow::Result<Vec<i32>> {
        let metadata = self.0.fetch_metadata(Some(topic), ANSWER_TIMEOUT);
        let metadata = metadata.with_context(unreachable)?;
        let topics = metadata.topics().iter();
        Ok(topics.flat_map(|topic| topic.partitions()).map(|partition| partition.id()).collect())
    }
}

fn unreachable() -> ExitReason {
    ExitReason::Unreachable(
        "Kafka was silent for 10 seconds; start it, or give --kafka-brokers".to_owned(),
    )
}
