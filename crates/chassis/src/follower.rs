//! Following topics: what each replica must hear, outside any group. Unlike the
//! [`consumer`](crate::consumer) it commits nothing and may miss records after an outage.

use std::time::{Duration, Instant};

use anyhow::Context;
use rdkafka::{
    Message as _, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer as _},
};
use tokio_util::sync::CancellationToken;

use crate::{consumer::Record, kafka::KafkaConfig};

/// Reads all partitions of `topics` from their ends on, outside any group, until `shutdown`: for
/// what each replica must hear. Nothing is committed; after an outage it may have missed records.
pub async fn follow(
    kafka: &KafkaConfig,
    topics: &[String],
    heard: impl Fn(&str, Record<'_>) + Send + 'static,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let consumer: BaseConsumer = kafka
        .client()?
        .set("group.id", "unused")
        .set("enable.auto.commit", "false")
        .set("auto.offset.reset", "latest")
        .set("queued.max.messages.kbytes", "4096")
        .set("fetch.wait.max.ms", "50")
        .set("topic.metadata.refresh.interval.ms", "10000")
        .create()
        .context("configuring the Kafka follower")?;
    let topics = topics.to_vec();
    let shutdown = shutdown.child_token();
    let _stop_when_dropped = shutdown.clone().drop_guard();
    tokio::task::spawn_blocking(move || {
        let mut assigned = 0;
        let mut looked_at: Option<Instant> = None;
        while !shutdown.is_cancelled() {
            // Partitions may be added at any time, and topics may not be there yet.
            if looked_at.is_none_or(|at| {
                at.elapsed() > Duration::from_secs(if assigned == 0 { 1 } else { 30 })
            }) {
                looked_at = Some(Instant::now());
                let mut list = TopicPartitionList::new();
                for topic in &topics {
                    if let Ok(metadata) =
                        consumer.fetch_metadata(Some(topic), Duration::from_secs(2))
                    {
                        for partition in
                            metadata.topics().iter().flat_map(|topic| topic.partitions())
                        {
                            list.add_partition_offset(topic, partition.id(), Offset::End)?;
                        }
                    }
                }
                if list.count() > assigned {
                    assigned = list.count();
                    consumer.assign(&list).context("following topics")?;
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
