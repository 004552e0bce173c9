//! Reading a topic from its first record to a fixed end, once: for tools that recount. Nothing is
//! committed, no group is joined. Blocking: to be called where that is allowed.

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

/// How long Kafka may be silent.
const SILENCE: Duration = Duration::from_secs(10);

/// For each partition an offset: the next one to read.
pub type Ends = BTreeMap<i32, i64>;

/// A client that can ask and read.
pub struct Scanner(BaseConsumer);

impl Scanner {
    /// Connects lazily. `group` is only asked for its offsets.
    pub fn new(kafka: &KafkaConfig, group: &str) -> anyhow::Result<Self> {
        let consumer = kafka
            .client()?
            .set("group.id", group)
            .set("enable.auto.commit", "false")
            .set("auto.offset.reset", "earliest")
            .set("enable.partition.eof", "true")
            // The broker shall not wait for records that may never come: the end is told at once.
            .set("fetch.wait.max.ms", "10")
            .set("queued.max.messages.kbytes", "16384")
            .create()
            .context("configuring the Kafka reader")?;
        Ok(Self(consumer))
    }

    /// Where the group stands; a partition of which it has committed nothing is left out.
    pub fn committed(&self, topic: &str) -> anyhow::Result<Ends> {
        let mut partitions = TopicPartitionList::new();
        for partition in self.partitions(topic)? {
            partitions.add_partition(topic, partition);
        }
        let committed = self.0.committed_offsets(partitions, SILENCE);
        let committed = committed.context("asking for committed offsets")?;
        let next = committed.elements().into_iter().filter_map(|element| match element.offset() {
            Offset::Offset(next) => Some((element.partition(), next)),
            _ => None,
        });
        Ok(next.collect())
    }

    /// First offset still there and end of each partition.
    pub fn bounds(&self, topic: &str) -> anyhow::Result<BTreeMap<i32, (i64, i64)>> {
        let bounds = self.partitions(topic)?.into_iter().map(|partition| {
            let bounds = self.0.fetch_watermarks(topic, partition, SILENCE);
            let bounds = bounds.with_context(|| format!("asking where {topic} ends"))?;
            Ok((partition, bounds))
        });
        bounds.collect()
    }

    /// The end of each partition, for [`read`](Self::read) to read all that is there.
    pub fn ends(&self, topic: &str) -> anyhow::Result<Ends> {
        let bounds = self.bounds(topic)?.into_iter();
        Ok(bounds.map(|(partition, (_, end))| (partition, end)).collect())
    }

    /// Hands every record that is still there before `ends` to `heard`, partition by partition in
    /// their order, and tells after how many records.
    pub fn read(
        &self,
        topic: &str,
        ends: &Ends,
        mut heard: impl FnMut(Record<'_>) -> anyhow::Result<()>,
    ) -> anyhow::Result<u64> {
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
        let mut read = 0;
        let mut heard_at = Instant::now();
        while !open.is_empty() {
            match self.0.poll(Duration::from_millis(100)) {
                None if heard_at.elapsed() > SILENCE => bail!(silent()),
                None => {}
                // Its last offsets hold no records but markers of transactions.
                Some(Err(KafkaError::PartitionEOF(partition))) => {
                    open.remove(&partition);
                }
                Some(Err(error)) if heard_at.elapsed() > SILENCE => {
                    return Err(anyhow::Error::new(error).context(silent()));
                }
                Some(Err(error)) => tracing::debug!("reading {topic}: {error}"),
                Some(Ok(message)) => {
                    heard_at = Instant::now();
                    let record = Record::of(&message);
                    let Some(&end) = open.get(&record.position.partition) else { continue };
                    if record.position.offset < end {
                        heard(record)?;
                        read += 1;
                    }
                    // Or past it: what lies between may be compacted away or be no record at all.
                    if record.position.offset + 1 >= end {
                        open.remove(&record.position.partition);
                    }
                }
            }
        }
        self.0.unassign().context("reading a topic")?;
        Ok(read)
    }

    fn partitions(&self, topic: &str) -> anyhow::Result<Vec<i32>> {
        let metadata = self.0.fetch_metadata(Some(topic), SILENCE);
        let metadata = metadata.with_context(silent)?;
        let topics = metadata.topics().iter();
        Ok(topics.flat_map(|topic| topic.partitions()).map(|partition| partition.id()).collect())
    }
}

fn silent() -> ExitReason {
    ExitReason::Unreachable(
        "Kafka was silent for 10 seconds; start it, or give --kafka-brokers".to_owned(),
    )
}
