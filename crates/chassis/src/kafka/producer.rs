//! Sends records to Kafka: with `acks=all`, idempotent, and without a timeout in the client. The
//! client sends an enqueued record until Kafka acknowledges it or refuses it permanently.
//!
//! ```text
//! enqueue ─▶ queue of the client ─▶ Kafka ─▶ Deliveries: acknowledged, or the first failure
//! ```
//!
//! A record has one of these states:
//!
//! - *waiting*: the queue of the client is full. [`enqueue`](Producer::enqueue) repeats the call
//!   until there is space; this is the back-pressure of Kafka on the caller.
//! - *open*: the client has the record and counts as open in [`Deliveries`]. The client repeats
//!   transient failures itself, in order and without duplicates.
//! - *acknowledged*: all in-sync replicas have the record.
//! - *failed*: Kafka refused it, for example because of its size. The broker may refuse the other
//!   records of the same request with it.
//!
//! A failed record can be enqueued again as a new record. An open one may still be acknowledged
//! after its caller has stopped waiting: then the outcome is unknown, a retry may send the record
//! twice, and readers must tolerate that. After a fatal error, no record can be sent until the
//! process starts again.
//!
//! The records of a batch are sent with [`retry_forever`], the records of an HTTP request with
//! [`send_within`]. What is sent, and in which order, is decided by the callers.

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

/// The longest wait for the acknowledgement of the records of an HTTP request.
pub const ACK_TIMEOUT: Duration = Duration::from_secs(10);
/// The pause before a record is enqueued again after the queue of the client was full.
const QUEUE_FULL_PAUSE: Duration = Duration::from_millis(5);

#[derive(Debug, Clone, Copy)]
pub struct OutgoingRecord<'a> {
    pub topic: &'a str,
    /// Determines the partition. Records without a key are spread over all partitions.
    pub key: Option<&'a [u8]>,
    /// `None` is a null value.
    pub value: Option<&'a [u8]>,
    pub headers: &'a [(&'a str, &'a [u8])],
}

#[derive(Debug, Clone, thiserror::Error)]
pub enum ProduceError {
    #[error("the record is larger than the topic allows")]
    TooLarge,
    /// The producer cannot send any more; only a new process can.
    #[error("the producer failed permanently: {0}")]
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

/// Counts the outcomes of the records that were enqueued with it. Clones share the counts.
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
            // Registered before the count is read: if the last record settled in between, its
            // notification would be lost and this would wait forever.
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
        // The outcome is stored before the count is decreased: a waiter that reads 0 sees each
        // failure.
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
    /// Creates a producer. It connects in the background, so Kafka may still be unreachable.
    pub fn new(kafka: &KafkaConfig) -> anyhow::Result<Self> {
        let producer = kafka
            .client()?
            .set("enable.idempotence", "true")
            .set("acks", "all")
            // No timeout: the outcome of a record that the client gives up is unknown, so a retry
            // could send it twice.
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
            // Counted before it is sent: its outcome may arrive, on the thread of the client,
            // before `send` returns.
            deliveries.0.open.fetch_add(1, Ordering::AcqRel);
            let Err((error, _)) = self.0.send(outgoing) else { return Ok(()) };
            // The client did not accept the record, so no outcome will follow. If another task
            // waits and all other records have settled, only this notification can wake it.
            if deliveries.0.open.fetch_sub(1, Ordering::AcqRel) == 1 {
                deliveries.0.settled.notify_waiters();
            }
            if error.rdkafka_error_code() == Some(RDKafkaErrorCode::QueueFull) {
                // The thread of the client sends meanwhile, so there will be space. The record
                // keeps its place before the next ones, because the caller waits for this one.
                tokio::time::sleep(QUEUE_FULL_PAUSE).await;
                continue;
            }
            // After a fatal error the client refuses each record with the code `Fatal` only; it
            // keeps the cause.
            if let Some((code, text)) = self.0.client().fatal_error() {
                return Err(ProduceError::Fatal(format!("{code}: {text}")));
            }
            return Err(ProduceError::of(&error));
        }
    }
}

/// Enqueues records with `enqueue` and waits, for at most `timeout`, until Kafka has acknowledged
/// all of them. After an error, repeating it is safe for records that may be delivered twice.
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
    // After the timeout the outcome is unknown: the client keeps the records and may still send
    // them. So this is an error, and not a refusal, for the caller.
    tokio::time::timeout(timeout, sent).await.unwrap_or_else(|_| {
        Err(ProduceError::Other(format!("Kafka did not acknowledge within {timeout:?}")))
    })
}

/// Repeats `attempt` without a limit until Kafka has acknowledged all records that it sends.
/// Returns an error only if the producer failed permanently.
pub async fn retry_forever<F>(attempt: impl Fn() -> F) -> Result<(), ProduceError>
where
    F: Future<Output = Result<(), ProduceError>>,
{
    let mut backoff = Backoff::default();
    loop {
        match attempt().await {
            // A retry cannot succeed. The process ends, and as no offset of the batch is stored,
            // the next process reads and sends it again.
            Err(error @ ProduceError::Fatal(_)) => return Err(error),
            Err(error) => {
                if backoff.is_first() {
                    tracing::warn!(
                        "sending the records of a batch until Kafka acknowledges them: {error}"
                    );
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
    async fn unacknowledged_records_time_out() {
        let unacknowledged = |deliveries: Deliveries| async move {
            deliveries.0.open.fetch_add(1, Ordering::AcqRel);
            Ok(())
        };

        let sent = send_within(Duration::ZERO, unacknowledged).await;

        assert!(matches!(sent, Err(ProduceError::Other(_))), "{sent:?}");
        assert!(send_within(Duration::ZERO, |_| std::future::ready(Ok(()))).await.is_ok());
    }
}
