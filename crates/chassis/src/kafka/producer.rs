//! Sending records to Kafka: `acks=all`, idempotent, without a timeout of the client's own. A record
//! that was enqueued is sent until Kafka acknowledges it or refuses it for good.
//!
//! ```text
//! enqueue ─▶ queue of the client ─▶ Kafka ─▶ Deliveries: acknowledged, or failures by number
//! ```
//!
//! A batch's records are sent with [`send_all`], those of an HTTP request with [`send_within`].

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
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
    process::{
        blocked::{Blocked, Report},
        exit::ExitReason,
        retry::Backoff,
    },
};

/// The time after which a batch whose records are not acknowledged is reported as blocked.
const REPORT_AFTER: Duration = Duration::from_secs(5);
/// The pause after which a record is offered again to a full queue.
const QUEUE_PAUSE: Duration = Duration::from_millis(5);
/// The time that Kafka may take to acknowledge the records of an HTTP request.
pub const ACK_TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, Copy)]
pub struct OutgoingRecord<'a> {
    /// Decides the partition; records without a key are spread over all partitions.
    pub key: Option<&'a [u8]>,
    /// `None` is a null value.
    pub value: Option<&'a [u8]>,
    /// Names and values; `None` is a null value.
    pub headers: &'a [(&'a str, Option<&'a [u8]>)],
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
    failures: Mutex<Vec<Failure>>,
    settled: Notify,
}

/// A record that Kafka did not take.
#[derive(Debug, Clone)]
struct Failure {
    attempt: Attempt,
    error: ProduceError,
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
        self.0.failures().first().map(|failure| failure.error.clone())
    }

    /// Waits until every enqueued record has an outcome; returns the first failure.
    pub async fn settled(&self) -> Result<(), ProduceError> {
        self.all_have_an_outcome().await;
        self.failure().map_or(Ok(()), Err)
    }

    async fn all_have_an_outcome(&self) {
        loop {
            // Registered before the count is read: the last record may settle in between, and its
            // notification would find nobody.
            let mut settled = std::pin::pin!(self.0.settled.notified());
            settled.as_mut().enable();
            if self.0.open.load(Ordering::Acquire) == 0 {
                return;
            }
            settled.await;
        }
    }
}

impl Counts {
    fn failures(&self) -> MutexGuard<'_, Vec<Failure>> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn close(&self, attempt: Attempt, outcome: Result<(), ProduceError>) {
        // The outcome is noted before the count falls: a waiter that sees 0 sees every failure.
        match outcome {
            Ok(()) => {
                self.acknowledged.fetch_add(1, Ordering::AcqRel);
            }
            Err(error) => self.failures().push(Failure { attempt, error }),
        }
        if self.open.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.settled.notify_waiters();
        }
    }
}

/// A record between `send` and its outcome.
struct OnItsWay {
    counts: Arc<Counts>,
    attempt: Attempt,
}

struct Reports;

impl ClientContext for Reports {}

impl ProducerContext for Reports {
    type DeliveryOpaque = Box<OnItsWay>;

    fn delivery(&self, result: &DeliveryResult<'_>, record: Box<OnItsWay>) {
        let outcome = result.as_ref().map(|_| ()).map_err(|(error, _)| ProduceError::of(error));
        record.counts.close(record.attempt, outcome);
    }
}

/// Sends records. Clones share one connection and one queue.
#[derive(Clone)]
pub struct Producer {
    client: Arc<ThreadedProducer<Reports>>,
    blocked: Blocked,
}

/// Passes the record of an attempt to a function.
pub trait Records: Fn(Attempt, &mut dyn FnMut(OutgoingRecord<'_>)) + Send + Sync {}

impl<F: Fn(Attempt, &mut dyn FnMut(OutgoingRecord<'_>)) + Send + Sync> Records for F {}

enum Queued {
    Queued,
    /// The queue has no room now.
    Full,
}

/// The treatment of records that Kafka refuses, for another reason than their size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum OnRefusal {
    /// Report it and send them again.
    Retry,
    /// Return the error.
    Return,
}

/// A record of a batch, in one of its forms.
#[derive(Debug, Clone, Copy)]
pub struct Attempt {
    /// The number of the record in its batch, from 0.
    pub number: usize,
    /// 0 for the whole record; each further form is smaller.
    pub form: u8,
}

impl Producer {
    /// Creates a producer that connects when it sends: Kafka may be unreachable yet. Batches that Kafka
    /// does not take are reported in `blocked`.
    pub fn new(kafka: &KafkaConfig, blocked: Blocked) -> anyhow::Result<Self> {
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
        Ok(Self { client: Arc::new(producer), blocked })
    }

    /// Adds a record to the queue of the client; waits while the queue is full.
    pub async fn enqueue(
        &self,
        topic: &str,
        record: OutgoingRecord<'_>,
        deliveries: &Deliveries,
    ) -> Result<(), ProduceError> {
        let alone = Attempt { number: 0, form: 0 };
        while let Queued::Full = self.try_enqueue(topic, record, alone, deliveries)? {
            tokio::time::sleep(QUEUE_PAUSE).await;
        }
        Ok(())
    }

    fn try_enqueue(
        &self,
        topic: &str,
        record: OutgoingRecord<'_>,
        attempt: Attempt,
        deliveries: &Deliveries,
    ) -> Result<Queued, ProduceError> {
        let on_its_way = Box::new(OnItsWay { counts: deliveries.0.clone(), attempt });
        let mut outgoing: BaseRecord<'_, [u8], [u8], _> =
            BaseRecord::with_opaque_to(topic, on_its_way);
        if let Some(key) = record.key {
            outgoing = outgoing.key(key);
        }
        if let Some(value) = record.value {
            outgoing = outgoing.payload(value);
        }
        if !record.headers.is_empty() {
            let headers = OwnedHeaders::new_with_capacity(record.headers.len());
            outgoing =
                outgoing.headers(record.headers.iter().fold(headers, |headers, (key, value)| {
                    headers.insert(Header { key, value: *value })
                }));
        }
        // Counted before it is sent: its outcome may come before `send` returns.
        deliveries.0.open.fetch_add(1, Ordering::AcqRel);
        let Err((error, _)) = self.client.send(outgoing) else { return Ok(Queued::Queued) };
        if deliveries.0.open.fetch_sub(1, Ordering::AcqRel) == 1 {
            deliveries.0.settled.notify_waiters();
        }
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::QueueFull) {
            return Ok(Queued::Full);
        }
        if let Some((code, text)) = self.client.client().fatal_error() {
            return Err(ProduceError::Fatal(format!("{code}: {text}")));
        }
        Err(ProduceError::of(&error))
    }

    /// Sends a batch of `count` records to `topic` until Kafka has acknowledged all of them, without a
    /// limit. `records` passes one record on, in one of its forms, of which the last is `last_form`.
    /// Only a producer that failed for good is an error.
    pub async fn send_all(
        &self,
        topic: &str,
        count: usize,
        last_form: u8,
        records: impl Records,
    ) -> Result<(), ProduceError> {
        self.send_groups(topic, count, last_form, records, OnRefusal::Retry).await
    }

    /// Sends the `count` records of an HTTP request to `topic`, and waits for `timeout` at most until
    /// Kafka has acknowledged all of them. To repeat it after an error is safe for records that may
    /// come twice.
    pub async fn send_within(
        &self,
        timeout: Duration,
        topic: &str,
        count: usize,
        records: impl Records,
    ) -> Result<(), ProduceError> {
        let sent = self.send_groups(topic, count, 0, records, OnRefusal::Return);
        // After the timeout the outcome is unknown: the records may still arrive.
        tokio::time::timeout(timeout, sent).await.unwrap_or_else(|_| {
            Err(ProduceError::Other(format!("Kafka did not acknowledge within {timeout:?}")))
        })
    }

    /// Sends records in groups, at first all in one. Only records that are not acknowledged are sent
    /// again. The broker limits the size of a request, so records that it refuses as too large are
    /// sent in halves, until one is alone; that one is sent in its next form.
    async fn send_groups(
        &self,
        topic: &str,
        count: usize,
        last_form: u8,
        records: impl Records,
        on_refusal: OnRefusal,
    ) -> Result<(), ProduceError> {
        let all = (0..count).map(|number| Attempt { number, form: 0 }).collect();
        let mut groups: VecDeque<Vec<Attempt>> = VecDeque::from([all]);
        let (mut backoff, mut report) = (Backoff::default(), None);
        while let Some(group) = groups.pop_back() {
            let failures = self.send_group(topic, &group, &records, on_refusal, &mut report).await;
            let (mut too_large, mut refused) = (Vec::new(), Vec::new());
            for Failure { attempt, error } in failures {
                match error {
                    ProduceError::Fatal(_) => return Err(error),
                    ProduceError::TooLarge if group.len() > 1 => too_large.push(attempt),
                    ProduceError::TooLarge if attempt.form < last_form => {
                        groups.push_back(vec![Attempt { form: attempt.form + 1, ..attempt }]);
                    }
                    error => refused.push((attempt, error)),
                }
            }
            if !too_large.is_empty() {
                let second = too_large.split_off(too_large.len() / 2);
                groups.extend([second, too_large].into_iter().filter(|half| !half.is_empty()));
            }
            let Some((_, error)) = refused.first() else {
                report = None;
                continue;
            };
            if on_refusal == OnRefusal::Return {
                return Err(error.clone());
            }
            let reason = format!("Kafka refuses records for the topic {topic}: {error}");
            Report::set(&mut report, &self.blocked, reason);
            // After the other groups: this one may be refused for long.
            groups.push_front(refused.into_iter().map(|(attempt, _)| attempt).collect());
            backoff.pause().await;
        }
        Ok(())
    }

    /// Sends records once and waits for their outcomes. Returns those that failed.
    async fn send_group(
        &self,
        topic: &str,
        group: &[Attempt],
        records: &impl Records,
        on_refusal: OnRefusal,
        report: &mut Option<Report>,
    ) -> Vec<Failure> {
        let deliveries = Deliveries::new();
        let sent = async {
            for &attempt in group {
                loop {
                    let mut queued = Ok(Queued::Queued);
                    records(attempt, &mut |record| {
                        queued = self.try_enqueue(topic, record, attempt, &deliveries);
                    });
                    match queued {
                        Ok(Queued::Queued) => break,
                        Ok(Queued::Full) => tokio::time::sleep(QUEUE_PAUSE).await,
                        Err(error) => {
                            deliveries.0.failures().push(Failure { attempt, error });
                            break;
                        }
                    }
                }
            }
            deliveries.all_have_an_outcome().await;
        };
        let mut sent = std::pin::pin!(sent);
        if on_refusal == OnRefusal::Return {
            // The caller has a timeout, and reports it.
            sent.await;
        } else if tokio::time::timeout(REPORT_AFTER, &mut sent).await.is_err() {
            let reason = format!(
                "Kafka has not acknowledged records for the topic {topic} for {} s",
                REPORT_AFTER.as_secs()
            );
            Report::set(report, &self.blocked, reason);
            sent.await;
        }
        std::mem::take(&mut deliveries.0.failures())
    }
}
