//! Sending records to Kafka: `acks=all`, idempotent, without a timeout of the client's own. A record
//! that was enqueued is sent until Kafka acknowledges it or refuses it for good.
//!
//! ```text
//! enqueue ─▶ queue of the client ─▶ Kafka ─▶ Deliveries: acknowledged, or the first failure
//! ```
//!
//! A batch's records are sent with [`retry_forever`], those of an HTTP request with [`send_within`].

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::Context;
use rdkafka::{
    ClientContext,
    error::{KafkaError, RDKafkaErrorCode},
    message::{Header, OwnedHeaders},
    producer::{BaseRecord, DeliveryResult, Producer as _, ProducerContext, ThreadedProducer},
};
use tokio::sync::Notify;

use crate::{
    kafka::config::{KafkaConfig, MAX_RECORD_BYTES},
    process::{exit::ExitReason, retry::Backoff},
};

/// The time that Kafka may take to acknowledge the records of an HTTP request.
pub const ACK_TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, Copy)]
pub struct OutgoingRecord<'a> {
    pub topic: &'a str,
    /// Decides the partition; records without a key are spread over all partitions.
    pub key: Option<&'a [u8]>,
    /// `None` is a null value.
    pub value: Option<&'a [u8]>,
    pub headers: &'a [(&'a str, &'a [u8])],
}

#[derive(Debug, Clone, thiserror::Error)]
pub enum ProduceError {
    #[error("the record is larger than the topic takes")]
    TooLarge,
    /// The producer can never send again; only a new process can.
    #[error("the producer failed for good: {0}")]
    Fatal(String),
    /// Any other failure; a retry may help.
    #[error("sending: {0}")]
    Other(String),
}

impl ProduceError {
    fn of(error: &KafkaError) -> Self {
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::MessageSizeTooLarge) => Self::TooLarge,
            Some(RDKafkaErrorCode::Fatal) => Self::Fatal(error.to_string()),
            _ => Self::Other(error.to_string()),
        }
    }
}

/// The outcomes of the records that were enqueued with it. Clones share the counts.
#[derive(Debug, Clone, Default)]
pub struct Deliveries(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    open: AtomicU64,
    acknowledged: AtomicU64,
    failure: Mutex<Option<ProduceError>>,
    settled: Notify,
}

impl Deliveries {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns the number of records that Kafka has acknowledged.
    #[must_use]
    pub fn acknowledged(&self) -> u64 {
        self.0.acknowledged.load(Ordering::Acquire)
    }

    /// Returns the first failure so far.
    #[must_use]
    pub fn failure(&self) -> Option<ProduceError> {
        self.0.failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until every enqueued record has an outcome; returns the first failure.
    pub async fn settled(&self) -> Result<(), ProduceError> {
        loop {
            // Registered before the count is read: the last record may settle in between, and its
            // notification would find nobody.
            let mut settled = std::pin::pin!(self.0.settled.notified());
            settled.as_mut().enable();
            if self.0.open.load(Ordering::Acquire) == 0 {
                return self.failure().map_or(Ok(()), Err);
            }
            settled.await;
        }
    }
}

impl Counts {
    fn close(&self, outcome: Result<(), ProduceError>) {
        // The outcome is noted before the count falls: a waiter that sees 0 sees every failure.
        match outcome {
            Ok(()) => {
                self.acknowledged.fetch_add(1, Ordering::AcqRel);
            }
            Err(error) => {
                self.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
            }
        }
        if self.open.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.settled.notify_waiters();
        }
    }
}

struct Reports;

impl ClientContext for Reports {}

impl ProducerContext for Reports {
    type DeliveryOpaque = Arc<Counts>;

    fn delivery(&self, result: &DeliveryResult<'_>, counts: Arc<Counts>) {
        counts.close(result.as_ref().map(|_| ()).map_err(|(error, _)| ProduceError::of(error)));
    }
}

/// Sends records. Clones share one connection and one queue.
#[derive(Clone)]
pub struct Producer(Arc<ThreadedProducer<Reports>>);

impl Producer {
    /// Creates a producer that connects when it sends: Kafka may be unreachable yet.
    pub fn new(kafka: &KafkaConfig) -> anyhow::Result<Self> {
        let producer = kafka
            .client()?
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("message.timeout.ms", "0")
            .set("linger.ms", "2")
            .set("batch.size", "262144")
            .set("compression.type", "lz4")
            .set("message.max.bytes", MAX_RECORD_BYTES.to_string())
            .set("queue.buffering.max.messages", "50000")
            .set("queue.buffering.max.kbytes", "32768")
            .set("sticky.partitioning.linger.ms", "10")
            .set("partitioner", "murmur2_random")
            .create_with_context(Reports)
            .context("configuring the Kafka producer")
            .context(ExitReason::Configuration)?;
        Ok(Self(Arc::new(producer)))
    }

    /// Adds a record to the queue of the client; waits while the queue is full.
    pub async fn enqueue(
        &self,
        record: OutgoingRecord<'_>,
        deliveries: &Deliveries,
    ) -> Result<(), ProduceError> {
        loop {
            let mut outgoing: BaseRecord<'_, [u8], [u8], _> =
                BaseRecord::with_opaque_to(record.topic, deliveries.0.clone());
            if let Some(key) = record.key {
                outgoing = outgoing.key(key);
            }
            if let Some(value) = record.value {
                outgoing = outgoing.payload(value);
            }
            if !record.headers.is_empty() {
                let headers = OwnedHeaders::new_with_capacity(record.headers.len());
                outgoing = outgoing.headers(
                    record.headers.iter().fold(headers, |headers, (key, value)| {
                        headers.insert(Header { key, value: Some(*value) })
                    }),
                );
            }
            // Counted before it is sent: its outcome may come before `send` returns.
            deliveries.0.open.fetch_add(1, Ordering::AcqRel);
            let Err((error, _)) = self.0.send(outgoing) else { return Ok(()) };
            if deliveries.0.open.fetch_sub(1, Ordering::AcqRel) == 1 {
                deliveries.0.settled.notify_waiters();
            }
            if error.rdkafka_error_code() == Some(RDKafkaErrorCode::QueueFull) {
                tokio::time::sleep(Duration::from_millis(5)).await;
                continue;
            }
            if let Some((code, text)) = self.0.client().fatal_error() {
                return Err(ProduceError::Fatal(format!("{code}: {text}")));
            }
            return Err(ProduceError::of(&error));
        }
    }
}

/// Enqueues records with `enqueue` and waits until Kafka has acknowledged all of them, for `timeout`
/// at most. To repeat it after an error is safe for records that may come twice.
pub async fn send_within<F>(
    timeout: Duration,
    enqueue: impl FnOnce(Deliveries) -> F,
) -> Result<(), ProduceError>
where
    F: Future<Output = Result<(), ProduceError>>,
{
    let deliveries = Deliveries::new();
    let sent = async {
        enqueue(deliveries.clone()).await?;
        deliveries.settled().await
    };
    // After the timeout the outcome is unknown: the records may still arrive.
    tokio::time::timeout(timeout, sent).await.unwrap_or_else(|_| {
        Err(ProduceError::Other(format!("Kafka did not acknowledge within {timeout:?}")))
    })
}

/// Repeats `attempt` until Kafka has acknowledged all records that it sends, without a limit. Only a
/// producer that failed for good is an error.
pub async fn retry_forever<F>(attempt: impl Fn() -> F) -> Result<(), ProduceError>
where
    F: Future<Output = Result<(), ProduceError>>,
{
    let mut backoff = Backoff::default();
    loop {
        match attempt().await {
            Err(error @ ProduceError::Fatal(_)) => return Err(error),
            Err(error) => {
                if backoff.is_first() {
                    tracing::warn!("sending a batch's records again: {error}");
                }
                backoff.pause().await;
            }
            Ok(()) => return Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn records_that_nobody_acknowledges_time_out() {
        let unacknowledged = |deliveries: Deliveries| async move {
            deliveries.0.open.fetch_add(1, Ordering::AcqRel);
            Ok(())
        };

        let sent = send_within(Duration::ZERO, unacknowledged).await;

        assert!(matches!(sent, Err(ProduceError::Other(_))), "{sent:?}");
        assert!(send_within(Duration::ZERO, |_| std::future::ready(Ok(()))).await.is_ok());
    }
}
