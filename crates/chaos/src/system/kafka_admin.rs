//! Topics and their options.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use rdkafka::{
    ClientConfig,
    admin::{
        AdminClient, AdminOptions, AlterConfig, NewPartitions, NewTopic, ResourceSpecifier,
        TopicReplication,
    },
    client::DefaultClientContext,
    consumer::{BaseConsumer, Consumer as _},
    error::RDKafkaErrorCode,
};
use tokio::time::{Instant, sleep};

const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
const TOPIC_TIMEOUT: Duration = Duration::from_secs(60);

/// The options of every topic: it keeps all records, so that the judge can read them, and takes
/// records that are larger than an order may be.
const TOPIC_OPTIONS: [(&str, &str); 4] = [
    ("message.timestamp.type", "LogAppendTime"),
    ("max.message.bytes", "4194304"),
    ("retention.ms", "-1"),
    ("retention.bytes", "-1"),
];

pub(crate) fn client(brokers: &str) -> Result<AdminClient<DefaultClientContext>> {
    ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .create()
        .context("starting the client of Kafka's administration")
}

/// Creates a topic, with further options after those of every topic.
pub(crate) async fn create_topic(
    brokers: &str,
    name: &str,
    partitions: i32,
    replicas: i32,
    more: &[(&str, &str)],
) -> Result<()> {
    let topic = NewTopic::new(name, partitions, TopicReplication::Fixed(replicas));
    let topic = TOPIC_OPTIONS
        .iter()
        .chain(more)
        .fold(topic, |topic, (option, value)| topic.set(option, value));
    let deadline = Instant::now() + TOPIC_TIMEOUT;
    loop {
        let created = client(brokers)?.create_topics([&topic], &AdminOptions::new()).await;
        match created.map(|mut results| results.pop()) {
            Ok(Some(Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)))) => return Ok(()),
            other if Instant::now() > deadline => bail!("creating the topic {name}: {other:?}"),
            _ => sleep(Duration::from_millis(200)).await,
        }
    }
}

/// Sets one option of a topic, besides those of every topic.
pub(crate) async fn set_topic_option(
    brokers: &str,
    name: &str,
    option: &str,
    value: &str,
) -> Result<()> {
    let topic = AlterConfig::new(ResourceSpecifier::Topic(name));
    let topic = TOPIC_OPTIONS.iter().fold(topic, |topic, (option, value)| topic.set(option, value));
    let topic = topic.set(option, value);
    let deadline = Instant::now() + TOPIC_TIMEOUT;
    loop {
        let altered = client(brokers)?.alter_configs([&topic], &AdminOptions::new()).await;
        match altered.map(|mut results| results.pop()) {
            Ok(Some(Ok(_))) => return Ok(()),
            other if Instant::now() > deadline => bail!("changing the topic {name}: {other:?}"),
            _ => sleep(Duration::from_millis(200)).await,
        }
    }
}

/// Returns the number of partitions of a topic.
pub(crate) async fn partition_count(brokers: &str, name: &str) -> Result<usize> {
    let (brokers, name) = (brokers.to_owned(), name.to_owned());
    tokio::task::spawn_blocking(move || -> Result<usize> {
        let consumer: BaseConsumer =
            ClientConfig::new().set("bootstrap.servers", &brokers).create()?;
        let metadata = consumer.fetch_metadata(Some(&name), REQUEST_TIMEOUT)?;
        let topic = metadata.topics().first().context("the answer names the topic")?;
        Ok(topic.partitions().len())
    })
    .await
    .context("asking for the partitions of a topic")?
}

/// Raises the number of partitions of a topic.
pub(crate) async fn add_partitions(brokers: &str, name: &str, count: usize) -> Result<()> {
    let partitions = NewPartitions::new(name, count);
    let added = client(brokers)?.create_partitions([&partitions], &AdminOptions::new()).await;
    match added.context("adding partitions")?.pop() {
        Some(Ok(_)) => Ok(()),
        other => bail!("adding partitions to {name}: {other:?}"),
    }
}
