//! The topic scan: reads a topic once, from its first record to a fixed end, for the checks of
//! `audit`, and compares a group's committed offsets with the ends of a topic. It commits nothing
//! and joins no group. Its calls block the thread. A service that reads new records uses the
//! [`tail`](crate::kafka::tail) reader instead.

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

/// The longest wait for an answer or for a record of Kafka, for tools.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// The next offset to read of each partition.
pub type Ends = BTreeMap<i32, i64>;

/// A Kafka client for scans.
pub struct Scanner {
    client: BaseConsumer,
    answer_timeout: Duration,
}

impl Scanner {
    /// Creates a client, which connects with its first request. It does not join `group`: this is
    /// only the group whose offsets [`committed`](Self::committed) returns.
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
        Ok(Self { client: consumer, answer_timeout: ANSWER_TIMEOUT })
    }

    /// Sets the longest wait for each answer.
    #[must_use]
    pub fn with_answer_timeout(self, answer_timeout: Duration) -> Self {
        Self { answer_timeout, ..self }
    }

    /// Returns the committed offsets of the group, without the partitions that have none.
    pub fn committed(&self, topic: &str) -> anyhow::Result<Ends> {
        let mut partitions = TopicPartitionList::new();
        for partition in self.partitions(topic)? {
            partitions.add_partition(topic, partition);
        }
        let committed = self.client.committed_offsets(partitions, self.answer_timeout);
        let committed = committed.context("requesting committed offsets")?;
        let next = committed.elements().into_iter().filter_map(|element| match element.offset() {
            Offset::Offset(next) => Some((element.partition(), next)),
            _ => None,
        });
        Ok(next.collect())
    }

    /// Returns the first offset and the end of each partition.
    pub fn bounds(&self, topic: &str) -> anyhow::Result<BTreeMap<i32, (i64, i64)>> {
        let bounds = self.partitions(topic)?.into_iter().map(|partition| {
            let bounds = self.client.fetch_watermarks(topic, partition, self.answer_timeout);
            let bounds = bounds.with_context(|| format!("requesting the end of {topic}"))?;
            Ok((partition, bounds))
        });
        bounds.collect()
    }

    /// Returns the end of each partition. With it, [`read`](Self::read) reads all records that the
    /// topic has now.
    pub fn ends(&self, topic: &str) -> anyhow::Result<Ends> {
        let bounds = self.bounds(topic)?.into_iter();
        Ok(bounds.map(|(partition, (_, end))| (partition, end)).collect())
    }

    /// Passes each record before `ends` to `on_record`, in the order of its partition, and returns
    /// the number of records.
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
            match self.client.poll(Duration::from_millis(100)) {
                None if last_record_at.elapsed() > self.answer_timeout => bail!(unreachable()),
                None => {}
                // The end was reached without a record at the last offset: the last offsets may be
                // transaction markers, or compaction may have removed their records.
                Some(Err(KafkaError::PartitionEOF(partition))) => {
                    open.remove(&partition);
                }
                // The client repeats failed requests itself, so only an error without any record
                // for the whole timeout ends the scan.
                Some(Err(error)) if last_record_at.elapsed() > self.answer_timeout => {
                    return Err(anyhow::Error::new(error).context(unreachable()));
                }
                Some(Err(error)) => tracing::debug!("reading {topic}: {error}"),
                Some(Ok(message)) => {
                    last_record_at = Instant::now();
                    let record = Record::of(&message);
                    let Some(&end) = open.get(&record.position.partition) else { continue };
                    // Records beyond the end were sent after the scan began and are not part of it.
                    if record.position.offset < end {
                        on_record(record)?;
                        read += 1;
                    }
                    // `>=`, because the last offsets before the end may have no records.
                    if record.position.offset + 1 >= end {
                        open.remove(&record.position.partition);
                    }
                }
            }
        }
        self.client.unassign().context("reading a topic")?;
        Ok(read)
    }

    /// Assigns the partitions that have records before `ends`, and returns their ends.
    fn assign(&self, topic: &str, ends: &Ends) -> anyhow::Result<Ends> {
        let mut open = Ends::new();
        let mut assignment = TopicPartitionList::new();
        for (partition, (first, end)) in self.bounds(topic)? {
            // Bounded by the current end: if the topic was re-created since `ends` was read, it may
            // have fewer records, and the scan would wait for the others. A partition that was
            // added since then is not read.
            let end = ends.get(&partition).copied().unwrap_or(0).min(end);
            if first < end {
                open.insert(partition, end);
                assignment.add_partition_offset(topic, partition, Offset::Offset(first))?;
            }
        }
        self.client.assign(&assignment).context("reading a topic")?;
        Ok(open)
    }

    fn partitions(&self, topic: &str) -> anyhow::Result<Vec<i32>> {
        // The client keeps the errors of its connections until it is polled. No partition is
        // assigned here, so no record is among them.
        while self.client.poll(Duration::ZERO).is_some() {}
        let metadata = self.client.fetch_metadata(Some(topic), self.answer_timeout);
        let metadata = metadata.with_context(unreachable)?;
        let topics = metadata.topics().iter();
        Ok(topics.flat_map(|topic| topic.partitions()).map(|partition| partition.id()).collect())
    }
}

fn unreachable() -> ExitReason {
    ExitReason::Unreachable(
        "Kafka did not answer for 10 seconds; start it, or give --kafka-brokers".to_owned(),
    )
}
