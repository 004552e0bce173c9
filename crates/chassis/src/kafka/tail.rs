//! The tail reader: reads topics from a point in time on, outside any group. Every replica reads
//! all records in this way, for the live feed and for evictions from the cache. Unlike the
//! [`consumer`](crate::kafka::consumer), it commits nothing and may miss records after an outage.

use std::{
    collections::{HashMap, HashSet},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::Context;
use rdkafka::{
    Message as _, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer as _},
    error::KafkaResult,
};
use tokio_util::sync::CancellationToken;

use crate::{
    kafka::{config::KafkaConfig, consumer::Pace, record::Record},
    process::exit::ExitReason,
};

/// The timeout of one request for metadata or offsets.
const METADATA_TIMEOUT: Duration = Duration::from_secs(2);
/// The interval of searches for partitions while a topic is missing.
const MISSING_TOPIC_INTERVAL: Duration = Duration::from_secs(1);
/// The interval of searches for partitions that were added to a topic.
const ADDED_PARTITION_INTERVAL: Duration = Duration::from_secs(30);

/// A topic and a partition.
type Place = (String, i32);

/// Reads all partitions of `topics` until `shutdown`, from the first record with a timestamp of
/// `since` or later, and passes each record with its topic to `on_record`. Also reads topics that
/// are created, and partitions that are added, in the meantime.
pub async fn read(
    kafka: &KafkaConfig,
    topics: &[String],
    since: SystemTime,
    on_record: impl Fn(&str, Record<'_>) + Send + 'static,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let mut config = kafka.client()?;
    Pace::Gathered.set(&mut config);
    let consumer: BaseConsumer = config
        // librdkafka assigns no partitions without a group id. The group is never joined.
        .set("group.id", "unused")
        .set("enable.auto.commit", "false")
        .set("auto.offset.reset", "latest")
        .set("queued.max.messages.kbytes", "4096")
        .set("topic.metadata.refresh.interval.ms", "10000")
        .create()
        .context("configuring the Kafka tail reader")
        .context(ExitReason::Configuration)?;
    let topics = topics.to_vec();
    let shutdown = shutdown.child_token();
    // The guard ends the thread also when this future is dropped: a runtime cannot end while a
    // blocking thread runs.
    let _stop_when_dropped = shutdown.clone().drop_guard();
    tokio::task::spawn_blocking(move || {
        let mut assigned = HashSet::new();
        let mut searched_at: Option<Instant> = None;
        while !shutdown.is_cancelled() {
            let missing =
                topics.iter().any(|topic| !assigned.iter().any(|(name, _)| name == topic));
            let interval = if missing { MISSING_TOPIC_INTERVAL } else { ADDED_PARTITION_INTERVAL };
            if searched_at.is_none_or(|at| at.elapsed() > interval) {
                searched_at = Some(Instant::now());
                if let Err(error) = assign_new(&consumer, &topics, since, &mut assigned) {
                    tracing::debug!("searching for partitions to read: {error}");
                }
            }
            // Errors are left to the client: it connects again by itself, and continues at the end
            // of a partition if the next offset is gone. Records may be missed then (see above).
            let Some(Ok(message)) = consumer.poll(Duration::from_millis(100)) else { continue };
            on_record(message.topic(), Record::of(&message));
        }
        Ok(())
    })
    .await
    .context("the tail reader ended")?
}

/// Assigns the partitions that are not yet in `assigned`.
fn assign_new(
    consumer: &BaseConsumer,
    topics: &[String],
    since: SystemTime,
    assigned: &mut HashSet<Place>,
) -> KafkaResult<()> {
    let since = since.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let since = Offset::Offset(i64::try_from(since.as_millis()).unwrap_or(i64::MAX));
    let mut ends = HashMap::new();
    let mut fresh = TopicPartitionList::new();
    for topic in topics {
        let metadata = consumer.fetch_metadata(Some(topic), METADATA_TIMEOUT)?;
        for partition in metadata.topics().iter().flat_map(|topic| topic.partitions()) {
            let place = (topic.clone(), partition.id());
            if !assigned.contains(&place) {
                let (_, end) =
                    consumer.fetch_watermarks(topic, partition.id(), METADATA_TIMEOUT)?;
                fresh.add_partition_offset(topic, partition.id(), since)?;
                ends.insert(place, end);
            }
        }
    }
    if fresh.count() == 0 {
        return Ok(());
    }
    let fresh = consumer.offsets_for_times(fresh, METADATA_TIMEOUT)?;
    for ((topic, partition), end) in &ends {
        let mut element = fresh
            .find_partition(topic, *partition)
            .expect("each requested partition is in the answer");
        // One failed partition fails the whole search: none is assigned yet, and the next search
        // asks for all of them again.
        element.error()?;
        // The partition has no record as late as `since` yet. With `Offset::End` the client would
        // request the end only when it first fetches, and would miss the records in between. The
        // end above was requested before the offset of `since`, so reading from there misses none.
        if element.offset() == Offset::End {
            element.set_offset(Offset::Offset(*end))?;
        }
    }
    // Added only after the assignment has succeeded: otherwise the next search tries them again.
    consumer.incremental_assign(&fresh)?;
    assigned.extend(ends.into_keys());
    Ok(())
}
