//! The tail reader: reads topics from a point in time on, outside any group, for records that every
//! replica needs (the live feed, evictions from the cache). Unlike the
//! [`consumer`](crate::kafka::consumer) it commits nothing and may miss records after an outage.

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

/// The time for one request for metadata or offsets.
const METADATA_TIMEOUT: Duration = Duration::from_secs(2);
/// The pause between two searches for partitions, while a topic is missing.
const SEARCH_MISSING: Duration = Duration::from_secs(1);
/// The pause between two searches for partitions that were added.
const SEARCH_ADDED: Duration = Duration::from_secs(5);

/// A topic and a partition.
type Place = (String, i32);

/// Reads all partitions of `topics`, from the first record that Kafka took at `since` or later, until
/// `shutdown`, and passes each record with its topic to `on_record`. Topics may be created, and
/// partitions added, meanwhile.
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
        .set("group.id", "unused")
        .set("enable.auto.commit", "false")
        .set("auto.offset.reset", "latest")
        .set("queued.max.messages.kbytes", "4096")
        .set("topic.metadata.refresh.interval.ms", "10000")
        .create()
        .context("configuring the Kafka follower")
        .context(ExitReason::Configuration)?;
    let topics = topics.to_vec();
    let shutdown = shutdown.child_token();
    // The thread also ends when this future is dropped; otherwise the runtime could not end.
    let _stop_when_dropped = shutdown.clone().drop_guard();
    tokio::task::spawn_blocking(move || {
        let mut assigned = HashSet::new();
        let mut searched_at: Option<Instant> = None;
        while !shutdown.is_cancelled() {
            let missing =
                topics.iter().any(|topic| !assigned.iter().any(|(name, _)| name == topic));
            let pause = if missing { SEARCH_MISSING } else { SEARCH_ADDED };
            if searched_at.is_none_or(|at| at.elapsed() > pause) {
                searched_at = Some(Instant::now());
                if let Err(error) = assign_new(&consumer, &topics, since, &mut assigned) {
                    tracing::debug!("looking for partitions to follow: {error}");
                }
            }
            let Some(Ok(message)) = consumer.poll(Duration::from_millis(100)) else { continue };
            on_record(message.topic(), Record::of(&message));
        }
        Ok(())
    })
    .await
    .context("following topics ended")?
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
        let mut element = fresh.find_partition(topic, *partition).expect("it was asked for");
        element.error()?;
        // No record is as late as `since` yet. The client would ask for the end only when it first
        // fetches, and miss the records that came in between. The end above was asked for before
        // the question about `since`, so reading from there misses none.
        if element.offset() == Offset::End {
            element.set_offset(Offset::Offset(*end))?;
        }
    }
    consumer.incremental_assign(&fresh)?;
    assigned.extend(ends.into_keys());
    Ok(())
}
