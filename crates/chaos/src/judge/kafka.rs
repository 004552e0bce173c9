//! Reading of Kafka with a client of its own: whole topics without the records of aborted
//! transactions, and the offsets that groups have committed.

use std::{collections::BTreeSet, time::Duration};

use anyhow::{Context as _, bail};
use rdkafka::{
    ClientConfig, Message as _, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer as _},
    error::KafkaError,
    message::{BorrowedMessage, Headers as _},
};

use super::progress::Progress;

const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// A topic from which no record and no end arrives for this time cannot be read.
const POLL_TIMEOUT: Duration = Duration::from_secs(60);

/// The offsets of a partition: its first one, and the one after its last.
#[derive(Debug, Clone, Copy)]
pub(super) struct Range {
    pub(super) partition: i32,
    pub(super) start: i64,
    pub(super) end: i64,
}

/// Reads a topic from its beginning to its end, each partition in the order of its offsets.
pub(super) fn scan(
    brokers: &str,
    topic: &str,
    mut each: impl FnMut(&BorrowedMessage<'_>),
) -> anyhow::Result<Vec<Range>> {
    let consumer = consumer(brokers, "chaos.judge")?;
    let ranges = ranges(&consumer, topic)?;
    let progress = Progress::new(topic, ranges.iter().map(|it| it.end - it.start).sum());
    let mut list = TopicPartitionList::new();
    for Range { partition, .. } in &ranges {
        list.add_partition_offset(topic, *partition, Offset::Beginning)?;
    }
    consumer.assign(&list)?;
    let mut unfinished: BTreeSet<i32> = ranges.iter().map(|range| range.partition).collect();
    while !unfinished.is_empty() {
        match consumer.poll(POLL_TIMEOUT) {
            Some(Ok(message)) => {
                each(&message);
                progress.advance();
            }
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                unfinished.remove(&partition);
            }
            Some(Err(error)) => return Err(error).with_context(|| format!("reading {topic}")),
            None => bail!("reading {topic}: no record and no end of {unfinished:?} for a minute"),
        }
    }
    Ok(ranges)
}

/// Returns the value of the last header with this name.
pub(super) fn header<'a>(message: &'a BorrowedMessage<'_>, name: &str) -> Option<&'a [u8]> {
    let headers = message.headers()?;
    let found = headers.iter().filter(|header| header.key == name).last();
    found.and_then(|header| header.value)
}

/// Returns a header that holds text.
pub(super) fn text_header<'a>(message: &'a BorrowedMessage<'_>, name: &str) -> Option<&'a str> {
    header(message, name).and_then(|value| std::str::from_utf8(value).ok())
}

/// Returns the ranges of all partitions, and the offset that the group has committed in each.
pub(super) fn committed(
    brokers: &str,
    group: &str,
    topic: &str,
) -> anyhow::Result<Vec<(Range, Option<i64>)>> {
    let consumer = consumer(brokers, group)?;
    let ranges = ranges(&consumer, topic)?;
    let mut list = TopicPartitionList::new();
    for range in &ranges {
        list.add_partition(topic, range.partition);
    }
    let committed = consumer
        .committed_offsets(list, REQUEST_TIMEOUT)
        .with_context(|| format!("reading the offsets of {group}"))?;
    let offset = |range: &Range| {
        let element = committed.find_partition(topic, range.partition)?;
        element.offset().to_raw().filter(|offset| *offset >= 0)
    };
    Ok(ranges.iter().map(|range| (*range, offset(range))).collect())
}

fn consumer(brokers: &str, group: &str) -> anyhow::Result<BaseConsumer> {
    ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", group)
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "true")
        .set("isolation.level", "read_committed")
        .set("fetch.message.max.bytes", "5000000")
        .set("fetch.wait.max.ms", "50")
        .create()
        .context("connecting to Kafka")
}

fn ranges(consumer: &BaseConsumer, topic: &str) -> anyhow::Result<Vec<Range>> {
    let metadata = consumer
        .fetch_metadata(Some(topic), REQUEST_TIMEOUT)
        .with_context(|| format!("reading the partitions of {topic}"))?;
    let found = metadata.topics().first().context("Kafka names the topic")?;
    if let Some(error) = found.error() {
        bail!("reading the partitions of {topic}: {error:?}");
    }
    let range = |partition: i32| -> anyhow::Result<Range> {
        let (start, end) = consumer.fetch_watermarks(topic, partition, REQUEST_TIMEOUT)?;
        Ok(Range { partition, start, end })
    };
    found.partitions().iter().map(|partition| range(partition.id())).collect()
}
