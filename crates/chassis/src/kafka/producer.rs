//! Sends records to Kafka: with `acks=all`, idempotent, and without a timeout in the client. The
//! client sends an enqueued record until Kafka acknowledges it or refuses it permanently.
//!
//! ```text
//! enqueue ─▶ queue of the client ─▶ Kafka ─▶ Deliveries: acknowledged, or failures by number
//! ```
//!
//! A record has one of these states:
//!
//! - *waiting*: the queue of the client is full. The call is repeated until there is space; this is
//!   the back-pressure of Kafka on the caller.
//! - *in flight*: the client has the record, and [`Deliveries`] counts it as in flight. After a
//!   transient failure the client sends it again itself, in order and without duplicates.
//! - *acknowledged*: all in-sync replicas have the record.
//! - *failed*: Kafka refused it, for example because of its size. The broker may refuse the other
//!   records of the same request with it.
//!
//! [`send_all`](Producer::send_all) sends the records of a batch, and
//! [`send_within`](Producer::send_within) the records of an HTTP request. Both send groups of
//! records, at first all in one group, and wait until each record of a group is acknowledged or
//! failed. Only failed records are sent again:
//!
//! - *too large, in a group of several*: any record of the request may be the cause. The failed
//!   records are sent in two halves, until the record that is too large is alone.
//! - *too large, alone*: it is sent in its next form, which is smaller. The caller gives the forms.
//! - *refused for another reason*, or too large in its last form: `send_within` returns the error.
//!   `send_all` reports it in [`Blocked`] and sends the record again after a pause, without a
//!   limit.
//!
//! A record that is sent again may arrive after later records of its batch. A record in flight may
//! still be acknowledged after its caller has stopped waiting: then the outcome is unknown, a retry
//! may send the record twice, and readers must tolerate that. After a fatal error, no record can be
//! sent until the process starts again.
//!
//! The callers decide what is sent, and in which order.

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
        failpoint::{self, Injected},
        retry::Backoff,
    },
};

/// The time after which a batch whose records are not acknowledged is reported as blocked.
const REPORT_AFTER: Duration = Duration::from_secs(5);
/// The longest wait for the acknowledgement of the records of an HTTP request.
pub const ACK_TIMEOUT: Duration = Duration::from_secs(10);
/// The pause before a record is enqueued again after the queue of the client was full.
const QUEUE_FULL_PAUSE: Duration = Duration::from_millis(5);

#[derive(Debug, Clone, Copy)]
pub struct OutgoingRecord<'a> {
    /// Determines the partition. Records without a key are spread over all partitions.
    pub key: Option<&'a [u8]>,
    /// `None` is a null value.
    pub value: Option<&'a [u8]>,
    /// Names and values; `None` is a null value.
    pub headers: &'a [(&'a str, Option<&'a [u8]>)],
}

#[derive(Debug, Clone, thiserror::Error)]
pub enum ProduceError {
    #[error("the record is larger than the topic allows")]
    TooLarge,
    /// The producer cannot send any more; only a new process can.
    #[error("the producer failed permanently: {0}")]
    Fatal(String),
    /// Any other failure; a retry may help.
    #[error("sending a record failed: {0}")]
    Other(String),
}

impl From<Injected> for ProduceError {
    fn from(error: Injected) -> Self {
        Self::Other(error.to_string())
    }
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
    in_flight: AtomicU64,
    acknowledged: AtomicU64,
    failures: Mutex<Vec<Failure>>,
    settled: Notify,
}

/// A record that Kafka or the client refused.
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
            // Registered before the count is read: if the last record settled in between, its
            // notification would be lost and this would wait forever.
            let mut settled = std::pin::pin!(self.0.settled.notified());
            settled.as_mut().enable();
            if self.0.in_flight.load(Ordering::Acquire) == 0 {
                return;
            }
            settled.await;
        }
    }
}

impl Counts {
    fn failures(&self) -> MutexGuard<'_, Vec<Failure>> {
        // A panic cannot leave the list half changed, so a poisoned lock is still valid.
        self.failures.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn close(&self, attempt: Attempt, outcome: Result<(), ProduceError>) {
        // The outcome is stored before the count is decreased: a waiter that reads 0 sees each
        // failure.
        match outcome {
            Ok(()) => {
                self.acknowledged.fetch_add(1, Ordering::AcqRel);
            }
            Err(error) => self.failures().push(Failure { attempt, error }),
        }
        if self.in_flight.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.settled.notify_waiters();
        }
    }
}

/// A record that the client has and whose outcome is not known yet.
struct InFlightRecord {
    counts: Arc<Counts>,
    attempt: Attempt,
}

struct DeliveryCallbacks;

impl ClientContext for DeliveryCallbacks {}

impl ProducerContext for DeliveryCallbacks {
    type DeliveryOpaque = Box<InFlightRecord>;

    fn delivery(&self, result: &DeliveryResult<'_>, record: Box<InFlightRecord>) {
        let outcome = result.as_ref().map(|_| ()).map_err(|(error, _)| ProduceError::of(error));
        record.counts.close(record.attempt, outcome);
    }
}

/// Sends records. Clones share one client and its queue.
#[derive(Clone)]
pub struct Producer {
    client: Arc<ThreadedProducer<DeliveryCallbacks>>,
    blocked: Blocked,
}

/// Passes the record of an attempt to a function.
pub trait Records: Fn(Attempt, &mut dyn FnMut(OutgoingRecord<'_>)) + Send + Sync {}

impl<F: Fn(Attempt, &mut dyn FnMut(OutgoingRecord<'_>)) + Send + Sync> Records for F {}

enum Queued {
    Queued,
    /// The queue has no space for it at this moment.
    Full,
}

/// The reaction to records that Kafka refuses and that have no smaller form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum OnRefusal {
    /// Reports the reason and sends them again.
    Retry,
    /// Returns the error.
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
    /// Creates a producer. It connects in the background, so Kafka may still be unreachable.
    /// Batches that Kafka does not acknowledge are reported in `blocked`.
    pub fn new(kafka: &KafkaConfig, blocked: Blocked) -> anyhow::Result<Self> {
        let producer = kafka
            .client()?
            .set("enable.idempotence", "true")
            .set("acks", "all")
            // No timeout: the outcome of a record that the client gives up is unknown, so a retry
            // could send it twice.
            .set("message.timeout.ms", "0")
            // The broker's own wait for its replicas; shorter than the client's wait for the answer,
            // so that a broker that waits for a replica still answers.
            .set("request.timeout.ms", "8000")
            .set("linger.ms", "2")
            .set("batch.size", "262144")
            .set("compression.type", "lz4")
            .set("message.max.bytes", MAX_RECORD_BYTES.to_string())
            .set("queue.buffering.max.messages", "50000")
            .set("queue.buffering.max.kbytes", "32768")
            .set("sticky.partitioning.linger.ms", "10")
            .set("partitioner", "murmur2_random")
            .create_with_context(DeliveryCallbacks)
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
            // The thread of the client sends meanwhile, so there will be space. The record keeps
            // its place before the next ones, because the caller waits for this one.
            tokio::time::sleep(QUEUE_FULL_PAUSE).await;
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
        failpoint::try_point("send")?;
        let opaque = Box::new(InFlightRecord { counts: deliveries.0.clone(), attempt });
        let mut outgoing: BaseRecord<'_, [u8], [u8], _> = BaseRecord::with_opaque_to(topic, opaque);
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
        // Counted before it is sent: its outcome may arrive, on the thread of the client, before
        // `send` returns.
        deliveries.0.in_flight.fetch_add(1, Ordering::AcqRel);
        let Err((error, _)) = self.client.send(outgoing) else { return Ok(Queued::Queued) };
        // The client did not accept the record, so no outcome will follow. If another task waits
        // and all other records have settled, only this notification can wake it.
        if deliveries.0.in_flight.fetch_sub(1, Ordering::AcqRel) == 1 {
            deliveries.0.settled.notify_waiters();
        }
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::QueueFull) {
            return Ok(Queued::Full);
        }
        // After a fatal error `send` returns only the code `Fatal`; `fatal_error` gives the cause.
        if let Some((code, text)) = self.client.client().fatal_error() {
            return Err(ProduceError::Fatal(format!("{code}: {text}")));
        }
        Err(ProduceError::of(&error))
    }

    /// Sends a batch of `count` records to `topic`, and retries without a limit until Kafka has
    /// acknowledged all of them. `records` builds the requested record. Form 0 is the whole record;
    /// each further form up to `last_form` is smaller. Returns an error only if the producer failed
    /// permanently.
    pub async fn send_all(
        &self,
        topic: &str,
        count: usize,
        last_form: u8,
        records: impl Records,
    ) -> Result<(), ProduceError> {
        self.send_groups(topic, count, last_form, records, OnRefusal::Retry).await
    }

    /// Sends the `count` records of an HTTP request to `topic`, and waits, for at most `timeout`,
    /// until Kafka has acknowledged all of them. After an error the caller may call again only if
    /// duplicates are acceptable.
    pub async fn send_within(
        &self,
        timeout: Duration,
        topic: &str,
        count: usize,
        records: impl Records,
    ) -> Result<(), ProduceError> {
        let sent = self.send_groups(topic, count, 0, records, OnRefusal::Return);
        // The timeout is returned as `ProduceError::Other`: the client keeps the records, so they
        // may still be delivered.
        tokio::time::timeout(timeout, sent).await.unwrap_or_else(|_| {
            Err(ProduceError::Other(format!("Kafka did not acknowledge within {timeout:?}")))
        })
    }

    /// Sends records in groups, at first all in one, by the rules at the top of this file. Only
    /// failed records are sent again.
    async fn send_groups(
        &self,
        topic: &str,
        count: usize,
        last_form: u8,
        records: impl Records,
        on_refusal: OnRefusal,
    ) -> Result<(), ProduceError> {
        let all = (0..count).map(|number| Attempt { number, form: 0 }).collect();
        // The next group is taken from the back.
        let mut groups: VecDeque<Vec<Attempt>> = VecDeque::from([all]);
        let (mut backoff, mut report) = (Backoff::default(), None);
        while let Some(group) = groups.pop_back() {
            let failures = self.send_group(topic, &group, &records, on_refusal, &mut report).await;
            let (mut too_large, mut refused) = (Vec::new(), Vec::new());
            for Failure { attempt, error } in failures {
                match error {
                    // A retry cannot succeed. For a batch, the process ends, and as no offset of
                    // the batch is stored, the next process reads and sends it again.
                    ProduceError::Fatal(_) => return Err(error),
                    // The broker refuses all records of a request together, so this record may not
                    // be the one that is too large.
                    ProduceError::TooLarge if group.len() > 1 => too_large.push(attempt),
                    ProduceError::TooLarge if attempt.form < last_form => {
                        groups.push_back(vec![Attempt { form: attempt.form + 1, ..attempt }]);
                    }
                    error => refused.push((attempt, error)),
                }
            }
            if !too_large.is_empty() {
                // The second half is pushed first, so the first half is sent first. If there is
                // only one record, one half is empty, and the record is sent alone.
                let second = too_large.split_off(too_large.len() / 2);
                groups.extend([second, too_large].into_iter().filter(|half| !half.is_empty()));
            }
            let is_given_up = failpoint::is_skipped("guard.resend-refused");
            let Some((_, error)) = refused.first().filter(|_| !is_given_up) else {
                report = None;
                continue;
            };
            if on_refusal == OnRefusal::Return {
                return Err(error.clone());
            }
            let reason = format!("Kafka refuses records for the topic {topic}: {error}");
            Report::set(&mut report, &self.blocked, reason);
            // Sent after the other groups: records that Kafka refuses, perhaps for a long time,
            // must not delay the records that it accepts.
            groups.push_front(refused.into_iter().map(|(attempt, _)| attempt).collect());
            backoff.pause().await;
        }
        Ok(())
    }

    /// Sends records once and waits for their outcomes. Returns the failures.
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
                failpoint::async_point("between-sends").await;
                loop {
                    let mut queued = Ok(Queued::Queued);
                    records(attempt, &mut |record| {
                        queued = self.try_enqueue(topic, record, attempt, &deliveries);
                    });
                    match queued {
                        Ok(Queued::Queued) => break,
                        // The same record is tried again before the next one, as in `enqueue`.
                        Ok(Queued::Full) => tokio::time::sleep(QUEUE_FULL_PAUSE).await,
                        // The client itself refused the record. The others are sent all the same,
                        // so that the caller sees all failures of the group together.
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
            // The caller has a timeout of its own, and its client gets the error.
            sent.await;
        } else if tokio::time::timeout(REPORT_AFTER, &mut sent).await.is_err() {
            let reason = format!(
                "Kafka has not acknowledged records for the topic {topic} for more than {} s",
                REPORT_AFTER.as_secs()
            );
            Report::set(report, &self.blocked, reason);
            sent.await;
        }
        std::mem::take(&mut deliveries.0.failures())
    }
}
