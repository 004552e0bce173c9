//! Following topics: what each replica must hear, outside any group. Unlike the
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

/// How long the broker may take to answer a question.
const PATIENCE: Duration = Duration::from_secs(2);

/// Reads all partitions of `topics`, from the first record that Kafka took at `since` or later,
/// outside any group, until `shutdown`: for what each replica must hear. Nothing is committed;
/// after an outage it may have missed records. Topics may come, and partitions be added, meanwhile.
pub async fn follow(
    kafka: &KafkaConfig,
    topics: &[String],
    since: SystemTime,
    heard: impl Fn(&str, Record<'_>) + Send + 'static,
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
    let _stop_when_dropped = shutdown.clone().drop_guard();
    tokio::task::spawn_blocking(move || {
        let mut followed = HashSet::new();
        let mut looked_at: Option<Instant> = None;
        while !shutdown.is_cancelled() {
            let missing =
                topics.iter().any(|topic| !followed.iter().any(|(name, _)| name == topic));
            let look_every = Duration::from_secs(if missing { 1 } else { 30 });
            if looked_at.is_none_or(|at| at.elapsed() > look_every) {
                looked_at = Some(Instant::now());
                if let Err(error) = follow_new(&consumer, &topics, since, &mut followed) {
                    tracing::debug!("looking for partitions to follow: {error}");
                }
            }
            let Some(Ok(message)) = consumer.poll(Duration::from_millis(100)) else { continue };
            heard(message.topic(), Record::of(&message));
        }
        Ok(())
    })
    .await
    .context("following topics ended")?
}

/// Assigns the partitions that are not yet in `followed`.
fn follow_new(
    consumer: &BaseConsumer,
    topics: &[String],
    since: SystemTime,
    followed: &mut HashSet<(String, i32)>,
) -> KafkaResult<()> {
    let since = since.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let since = Offset::Offset(i64::try_from(since.as_millis()).unwrap_or(i64::MAX));
    let mut ends = HashMap::new();
    let mut fresh = TopicPartitionList::new();
    for topic in topics {
        let metadata = consumer.fetch_metadata(Some(topic), PATIENCE)?;
        for partition in metadata.topics().iter().flat_map(|topic| topic.partitions()) {
            let place = (topic.clone(), partition.id());
            if !followed.contains(&place) {
                let (_, end) = consumer.fetch_watermarks(topic, partition.id(), PATIENCE)?;
                fresh.add_partition_offset(topic, partition.id(), since)?;
                ends.insert(place, end);
            }
        }
    }
    if fresh.count() == 0 {
        return Ok(());
    }
    let fresh = consumer.offsets_for_times(fresh, PATIENCE)?;
    for ((topic, partition), end) in &ends {
        let mut element = fresh.find_partition(topic, *partition).expect("it was asked for");
        element.error()?;
        // Nothing is as late yet. The client would look the end up once it fetches, and what came
        // meanwhile would be missed: so it was asked before.
        if element.offset() == Offset::End {
            element.set_offset(Offset::Offset(*end))?;
        }
    }
    consumer.incremental_assign(&fresh)?;
    followed.extend(ends.into_keys());
    Ok(())
}
