//! The topics that a service needs: checked at the start, and created if they are missing.
//!
//! Only an answer that an operator must act on is an error. After any other answer, also an unknown
//! one, the request is repeated: a cluster that is starting gives many different errors before it
//! is ready.

use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use rdkafka::{
    admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication},
    client::DefaultClientContext,
    consumer::Consumer as _,
    error::RDKafkaErrorCode,
};
use tokio_util::sync::CancellationToken;

use crate::{
    kafka::{
        config::{KafkaConfig, MAX_RECORD_BYTES},
        refusal::{self, Probe},
    },
    process::{exit::ExitReason, retry::Backoff},
};

/// The timeout of one request for metadata.
const METADATA_TIMEOUT: Duration = Duration::from_secs(2);
/// The timeout of one request to create or describe topics.
const ADMIN_TIMEOUT: Duration = Duration::from_secs(10);
/// The time after which a missing topic is an error. Until then, the topic may exist although the
/// metadata of the broker do not show it yet.
const MISSING_TIMEOUT: Duration = Duration::from_secs(5);
/// The pause between two searches for a topic that the service works without.
const ABSENT_INTERVAL: Duration = Duration::from_secs(5);
/// The pause after topics were created, before they are searched for again.
const CREATED_PAUSE: Duration = Duration::from_millis(20);
/// The number of partitions of a topic that is created.
const PARTITIONS: i32 = 8;

/// The errors that only an operator can remove. Any other error is transient.
const PERMANENT: &[RDKafkaErrorCode] = &[
    RDKafkaErrorCode::TopicAuthorizationFailed,
    RDKafkaErrorCode::ClusterAuthorizationFailed,
    RDKafkaErrorCode::SaslAuthenticationFailed,
    RDKafkaErrorCode::InvalidTopic,
    RDKafkaErrorCode::InvalidConfig,
    RDKafkaErrorCode::InvalidPartitions,
    RDKafkaErrorCode::PolicyViolation,
    RDKafkaErrorCode::UnsupportedVersion,
    RDKafkaErrorCode::UnsupportedFeature,
];

/// Waits until all of `topics` exist and may be described, and logs once that it waits. Creates
/// missing topics; if `KAFKA_CREATE_TOPICS` is off, a missing topic is an error after
/// [`MISSING_TIMEOUT`]. Errors that only an operator can change end the wait, too.
pub async fn ensure(kafka: &KafkaConfig, topics: &[&str]) -> anyhow::Result<()> {
    let admin = admin(kafka)?;
    let mut backoff = Backoff::default();
    let mut missing_since = None;
    loop {
        let missing = match find_missing(kafka, topics).await? {
            Ok(missing) if missing.is_empty() => return Ok(()),
            Ok(missing) => missing,
            Err(reason) => {
                missing_since = None;
                wait(kafka, &mut backoff, &reason).await;
                continue;
            }
        };
        if kafka.kafka_create_topics {
            match create(&admin, &missing).await? {
                // The next turn checks them. The metadata of a broker may show them only later.
                Ok(()) => tokio::time::sleep(CREATED_PAUSE).await,
                Err(reason) => wait(kafka, &mut backoff, &reason).await,
            }
        } else {
            let since: &mut Instant = missing_since.get_or_insert_with(Instant::now);
            if since.elapsed() > MISSING_TIMEOUT {
                return Err(anyhow!(
                    "Kafka has no topic {}: create it, or set KAFKA_CREATE_TOPICS=true",
                    missing.join(", ")
                )
                .context(ExitReason::Configuration));
            }
            wait(kafka, &mut backoff, &format!("there is no topic {}", missing.join(", "))).await;
        }
    }
}

/// Waits until a topic exists and may be described, without a limit: the service works without it. A
/// missing topic is created; if that is off or refused, the reason is logged once.
pub async fn wait_for(kafka: &KafkaConfig, topic: &str) -> anyhow::Result<()> {
    let admin = admin(kafka)?;
    let mut is_reported = false;
    loop {
        let reason = match find_missing(kafka, &[topic]).await? {
            Ok(missing) if missing.is_empty() => return Ok(()),
            Ok(_) if !kafka.kafka_create_topics => Some("KAFKA_CREATE_TOPICS is false".to_owned()),
            Ok(missing) => match create(&admin, &missing).await {
                Ok(Ok(())) => {
                    tokio::time::sleep(CREATED_PAUSE).await;
                    continue;
                }
                Ok(Err(reason)) => Some(reason),
                Err(refusal) => Some(refusal.root_cause().to_string()),
            },
            // The other parts of the service report that Kafka does not answer.
            Err(_) => None,
        };
        if let Some(reason) = reason.filter(|_| !is_reported) {
            tracing::warn!(
                topic,
                "Kafka has no topic {topic}; the service works without it, and reads it once it \
                 exists: {reason}"
            );
            is_reported = true;
        }
        tokio::time::sleep(ABSENT_INTERVAL).await;
    }
}

fn admin(kafka: &KafkaConfig) -> anyhow::Result<AdminClient<DefaultClientContext>> {
    let admin = kafka.client()?.create();
    admin.context("configuring the Kafka client").context(ExitReason::Configuration)
}

/// Pauses, and logs before the first pause that the service waits for Kafka.
async fn wait(kafka: &KafkaConfig, backoff: &mut Backoff, reason: &str) {
    if backoff.is_first() {
        tracing::warn!("waiting for Kafka at {}: {reason}", kafka.brokers());
    }
    backoff.pause().await;
}

/// A transient error, as text.
type Transient = String;

/// Returns the topics of `topics` that Kafka does not have. The inner error is transient.
async fn find_missing(
    kafka: &KafkaConfig,
    topics: &[&str],
) -> anyhow::Result<Result<Vec<String>, Transient>> {
    let client = refusal::probe(kafka.client()?)?;
    let topics: Vec<String> = topics.iter().map(|&topic| topic.to_owned()).collect();
    let brokers = kafka.brokers().to_owned();
    let stop = CancellationToken::new();
    // The thread also ends when this future is dropped; otherwise the runtime could not end.
    let _stop_when_dropped = stop.clone().drop_guard();
    let asking = tokio::task::spawn_blocking(move || {
        let mut missing = Vec::new();
        for topic in topics {
            if stop.is_cancelled() {
                break;
            }
            match state(&client, &topic) {
                Ok(State::Exists) => {}
                Ok(State::Missing) => missing.push(topic),
                Ok(State::Refused(code)) => return Err(refused(&topic, code)),
                Err(reason) => {
                    refusal::check(&client, &brokers)?;
                    return Ok(Err(reason));
                }
            }
        }
        Ok(Ok(missing))
    });
    asking.await.context("asking Kafka for topics")?
}

enum State {
    Exists,
    Missing,
    Refused(RDKafkaErrorCode),
}

fn state(client: &Probe, topic: &str) -> Result<State, Transient> {
    let metadata =
        client.fetch_metadata(Some(topic), METADATA_TIMEOUT).map_err(|error| error.to_string())?;
    let found = metadata.topics().iter().find(|found| found.name() == topic);
    let code = found.map(|found| found.error().map(RDKafkaErrorCode::from));
    match code {
        Some(None) => Ok(State::Exists),
        Some(Some(RDKafkaErrorCode::UnknownTopicOrPartition)) | None => Ok(State::Missing),
        Some(Some(code)) if PERMANENT.contains(&code) => Ok(State::Refused(code)),
        Some(Some(code)) => Err(format!("topic {topic}: {code}")),
    }
}

fn refused(topic: &str, code: RDKafkaErrorCode) -> anyhow::Error {
    anyhow!(
        "Kafka refuses access to the topic {topic}: {code}; the user needs the right to describe it"
    )
    .context(ExitReason::Configuration)
}

/// Creates topics. The inner error is transient.
async fn create(
    admin: &AdminClient<DefaultClientContext>,
    missing: &[String],
) -> anyhow::Result<Result<(), Transient>> {
    let limit = MAX_RECORD_BYTES.to_string();
    let wanted: Vec<_> = missing.iter().map(|name| new_topic(name, &limit)).collect();
    let options = AdminOptions::new().request_timeout(Some(ADMIN_TIMEOUT));
    let results = match admin.create_topics(&wanted, &options).await {
        Ok(results) => results,
        // The number of replicas is the brokers' own since Kafka 2.4.
        Err(error) if error.rdkafka_error_code() == Some(RDKafkaErrorCode::UnsupportedFeature) => {
            return Err(anyhow!(
                "Kafka is too old to create topics (2.4 or newer can): create {} yourself, and set \
                 KAFKA_CREATE_TOPICS=false",
                missing.join(", ")
            )
            .context(ExitReason::Configuration));
        }
        Err(error) => return Ok(Err(error.to_string())),
    };
    for result in results {
        match result {
            Ok(name) => tracing::info!(topic = name, "created the topic {name}"),
            // Another replica may have created it at the same time.
            Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((name, code)) if PERMANENT.contains(&code) => {
                return Err(anyhow!(
                    "Kafka refuses to create the topic {name}: {code}; create it yourself, and set \
                     KAFKA_CREATE_TOPICS=false"
                )
                .context(ExitReason::Configuration));
            }
            Err((name, code)) => return Ok(Err(format!("creating the topic {name}: {code}"))),
        }
    }
    Ok(Ok(()))
}

fn new_topic<'a>(name: &'a str, dead_letter_limit: &'a str) -> NewTopic<'a> {
    let topic = NewTopic::new(name, PARTITIONS, TopicReplication::Fixed(-1))
        .set("message.timestamp.type", "LogAppendTime");
    if name.ends_with(".dlq") { topic.set("max.message.bytes", dead_letter_limit) } else { topic }
}

/// Logs a warning if producers set the timestamps of a topic's records: if the clock of a producer
/// is wrong, a newer record can then lose against an older one. If Kafka does not answer, nothing
/// is logged, because the service does not depend on the answer.
pub async fn warn_of_producers_timestamps(kafka: &KafkaConfig, topic: &str) {
    if option(kafka, topic, "message.timestamp.type").await.as_deref() == Some("CreateTime") {
        tracing::warn!(
            topic,
            "the topic {topic} has message.timestamp.type=CreateTime: if the clock of a producer is \
             wrong, a newer record of an order can lose against an older one; LogAppendTime avoids \
             this (metric waybill_orders_superseded_total)"
        );
    }
}

/// The way in which Kafka removes old records of a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cleanup {
    /// Whole segments, the oldest first.
    Delete,
    /// Single records too, if a later one has the same key.
    Compact,
    /// Kafka does not show it, for example to a user without the right to see it.
    Unknown,
}

/// Returns the way in which Kafka removes old records of a topic.
pub async fn cleanup(kafka: &KafkaConfig, topic: &str) -> Cleanup {
    match option(kafka, topic, "cleanup.policy").await {
        Some(policy) if policy.contains("compact") => Cleanup::Compact,
        Some(_) => Cleanup::Delete,
        None => Cleanup::Unknown,
    }
}

/// Returns the value of an option of a topic, unless Kafka does not show it.
async fn option(kafka: &KafkaConfig, topic: &str, name: &str) -> Option<String> {
    let admin: AdminClient<DefaultClientContext> = kafka.client().ok()?.create().ok()?;
    let options = AdminOptions::new().request_timeout(Some(ADMIN_TIMEOUT));
    let topic = [ResourceSpecifier::Topic(topic)];
    let described = admin.describe_configs(&topic, &options).await.ok()?;
    described.into_iter().next()?.ok()?.get(name)?.value.clone()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_of_a_cluster_that_boots_are_transient() {
        for code in [
            RDKafkaErrorCode::RequestTimedOut,
            RDKafkaErrorCode::NotController,
            RDKafkaErrorCode::InvalidReplicationFactor,
            RDKafkaErrorCode::BrokerNotAvailable,
            RDKafkaErrorCode::ThrottlingQuotaExceeded,
            RDKafkaErrorCode::Unknown,
        ] {
            assert!(!PERMANENT.contains(&code), "{code}");
        }
    }
}
