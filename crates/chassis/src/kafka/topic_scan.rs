//! The topic scan: reads a topic once, from its first record to a fixed end, for the checks of
//! `audit`, and compares a group's committed offsets with the ends of a topic. It commits nothing
//! and joins no group. Its calls block the thread. A service that reads new records uses the
//! [`tail`](crate::kafka::tail) reader instead.

use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use rdkafka::{
    Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer as _},
    error::KafkaError,
    message::BorrowedMessage,
};

use crate::{
    kafka::{config::KafkaConfig, record::Record},
    process::exit::ExitReason,
};

/// The longest wait for an answer or for a record of Kafka, for tools.
pub(super) const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// The next offset to read of each partition.
pub type Ends = BTreeMap<i32, i64>;

/// The first offset and the end of each partition.
pub type Bounds = BTreeMap<i32, (i64, i64)>;

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
    pub fn bounds(&self, topic: &str) -> anyhow::Result<Bounds> {
        let bounds = self.partitions(topic)?.into_iter().map(|partition| {
            let bounds = self.client.fetch_watermarks(topic, partition, self.answer_timeout);
            let bounds = bounds.with_context(|| format!("requesting the end of {topic}"))?;
            Ok((partition, bounds))
        });
        bounds.collect()
    }

    /// Passes each record before `ends` to `on_record`, in the order of its partition.
    pub fn read(
        &self,
        topic: &str,
        ends: &Ends,
        mut on_record: impl FnMut(Record<'_>) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let mut scan = self.scan(topic, ends)?;
        // All partitions at the same time, which is faster than one after the other.
        scan.waiting = VecDeque::from([scan.waiting.into_iter().flatten().collect()]);
        while let Some(record) = scan.next_record()? {
            on_record(record)?;
        }
        Ok(())
    }

    /// Begins to read the records before `ends`, partition by partition, in the order of their
    /// positions.
    pub fn scan(&self, topic: &str, ends: &Ends) -> anyhow::Result<Scan<'_>> {
        let waiting = self.bounds(topic)?.into_iter().filter_map(|(number, (first, end))| {
            // Bounded by the current end: if the topic was re-created since `ends` was read, it may
            // have fewer records, and the scan would wait for the others. A partition that was
            // added since then is not read.
            let end = ends.get(&number).copied().unwrap_or(0).min(end);
            (first < end).then_some(vec![Range { number, first, end }])
        });
        Ok(Scan {
            scanner: self,
            topic: topic.to_owned(),
            waiting: waiting.collect(),
            open: Ends::new(),
            last_record_at: Instant::now(),
            current: None,
        })
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

/// A scan of a topic in progress.
pub struct Scan<'s> {
    scanner: &'s Scanner,
    topic: String,
    /// The partitions that are not read yet. Those of a group are read at the same time.
    waiting: VecDeque<Vec<Range>>,
    /// The ends of the partitions that are being read.
    open: Ends,
    last_record_at: Instant,
    current: Option<BorrowedMessage<'s>>,
}

struct Range {
    number: i32,
    first: i64,
    end: i64,
}

impl<'s> Scan<'s> {
    /// Returns the next record; `None` at the end of the last partition.
    pub fn next_record(&mut self) -> anyhow::Result<Option<Record<'_>>> {
        let scanner: &'s Scanner = self.scanner;
        let Scanner { client, answer_timeout } = scanner;
        let topic = self.topic.as_str();
        loop {
            if self.open.is_empty() {
                let Some(ranges) = self.waiting.pop_front() else {
                    client.unassign().context("reading a topic")?;
                    return Ok(None);
                };
                let mut assignment = TopicPartitionList::new();
                for Range { number, first, end } in ranges {
                    assignment.add_partition_offset(topic, number, Offset::Offset(first))?;
                    self.open.insert(number, end);
                }
                client.assign(&assignment).context("reading a topic")?;
                self.last_record_at = Instant::now();
            }
            match client.poll(Duration::from_millis(100)) {
                None if self.last_record_at.elapsed() > *answer_timeout => bail!(unreachable()),
                None => {}
                // The end was reached without a record at the last offset: the last offsets may be
                // transaction markers, or compaction may have removed their records.
                Some(Err(KafkaError::PartitionEOF(partition))) => {
                    self.open.remove(&partition);
                }
                // The client repeats failed requests itself, so only an error without any record
                // for the whole timeout ends the scan.
                Some(Err(error)) if self.last_record_at.elapsed() > *answer_timeout => {
                    return Err(anyhow::Error::new(error).context(unreachable()));
                }
                Some(Err(error)) => tracing::debug!("reading {topic}: {error}"),
                Some(Ok(message)) => {
                    self.last_record_at = Instant::now();
                    let position = Record::of(&message).position;
                    let Some(&end) = self.open.get(&position.partition) else { continue };
                    // `>=`, because the last offsets before the end may have no records.
                    if position.offset + 1 >= end {
                        self.open.remove(&position.partition);
                    }
                    // Records beyond the end were sent after the scan began and are not part of it.
                    if position.offset < end {
                        self.current = Some(message);
                        break;
                    }
                }
            }
        }
        Ok(self.current.as_ref().map(Record::of))
    }
}

fn unreachable() -> ExitReason {
    ExitReason::Unreachable(
        "Kafka did not answer for 10 seconds; start it, or give --kafka-brokers".to_owned(),
    )
}
