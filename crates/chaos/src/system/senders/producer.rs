//! One sender of a stream, on a thread of its own: it takes blocks of numbers, sends their records,
//! and writes each record that Kafka has acknowledged into the ledger.
//!
//! A record that was not acknowledged is sent again, so it may be on the topic twice. In a
//! transaction, a record is acknowledged when Kafka has committed the transaction.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::Ordering},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow};
use rdkafka::{
    ClientConfig, ClientContext, Message as _,
    error::{KafkaError, RDKafkaErrorCode},
    message::{DeliveryResult, Header, OwnedHeaders},
    producer::{BaseProducer, BaseRecord, Producer as _, ProducerContext},
};

use super::{Block, Shared};
use crate::{ledger::Ack, system::unix_ms, traffic::SentRecord};

/// Bounds one call that waits for Kafka; it is repeated until Kafka answers.
const CALL_TIMEOUT: Duration = Duration::from_secs(15);
const POLL_TIMEOUT: Duration = Duration::from_millis(10);

/// Of this number of transactions, one is aborted, and its records are sent again in another one.
const ABORTED_INTERVAL: u64 = 4;

/// The way in which a sender sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Idempotent,
    /// A retry of the client may write a record twice, without a report.
    Plain,
    Transactional,
}

/// The settings of one sender.
#[derive(Debug, Clone)]
pub(crate) struct ProducerOptions {
    pub(crate) brokers: String,
    pub(crate) topic: &'static str,
    /// The name of the sender, which is also its transactional id.
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) compression: &'static str,
    pub(crate) clock_error_ms: i64,
}

/// The deliveries of a producer that were reported since they were last taken.
#[derive(Debug, Default)]
struct Deliveries {
    acknowledged: Mutex<Vec<Ack>>,
    failed: Mutex<Vec<u64>>,
}

impl ClientContext for Deliveries {
    // The client's messages about connections are expected here.
    fn log(&self, _: rdkafka::config::RDKafkaLogLevel, _: &str, _: &str) {}
    fn error(&self, _: KafkaError, _: &str) {}
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = Box<u64>;

    fn delivery(&self, result: &DeliveryResult<'_>, number: Box<u64>) {
        match result {
            Ok(message) => lock(&self.acknowledged).push(Ack {
                number: *number,
                partition: message.partition(),
                offset: message.offset(),
            }),
            Err(_) => lock(&self.failed).push(*number),
        }
    }
}

/// Sends blocks until there are none, on the calling thread. Fails only if the ledger cannot be
/// written.
pub(crate) fn send_all(
    options: &ProducerOptions,
    shared: &Shared,
    mut next: impl FnMut() -> Option<Block>,
) -> Result<()> {
    let mut sender = Sender { options, shared, producer: None, transactions: 0 };
    while let Some(block) = next() {
        sender.send_block(block.numbers.collect())?;
    }
    Ok(())
}

struct Sender<'a> {
    options: &'a ProducerOptions,
    shared: &'a Shared,
    /// None before the first use and after a fatal error.
    producer: Option<Arc<BaseProducer<Deliveries>>>,
    transactions: u64,
}

impl Sender<'_> {
    /// Sends records until all of them are acknowledged.
    fn send_block(&mut self, mut numbers: Vec<u64>) -> Result<()> {
        while !numbers.is_empty() {
            let attempt = match self.options.kind {
                Kind::Transactional => self.send_transaction(&numbers),
                Kind::Idempotent | Kind::Plain => self.send_once(&numbers),
            };
            match attempt {
                Ok(acknowledged) => {
                    self.shared.record(&acknowledged)?;
                    let known: std::collections::HashSet<u64> =
                        acknowledged.iter().map(|ack| ack.number).collect();
                    let before = numbers.len();
                    numbers.retain(|number| !known.contains(number));
                    if numbers.len() == before {
                        std::thread::sleep(Duration::from_millis(200));
                    }
                }
                // After a fatal error, only a new producer helps.
                Err(_) => {
                    self.producer = None;
                    std::thread::sleep(Duration::from_millis(200));
                }
            }
            if self.shared.is_cancelled() {
                return Ok(());
            }
            self.shared.repeats.fetch_add(numbers.len() as u64, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Sends the records once and returns those that were acknowledged.
    fn send_once(&mut self, numbers: &[u64]) -> Result<Vec<Ack>> {
        let producer = self.producer()?;
        for number in numbers {
            self.enqueue(&producer, *number)?;
        }
        let mut reported = Vec::new();
        let mut failed = 0;
        while reported.len() + failed < numbers.len() {
            producer.poll(POLL_TIMEOUT);
            reported.append(&mut lock(&producer.context().acknowledged));
            failed += std::mem::take(&mut *lock(&producer.context().failed)).len();
            if self.shared.is_cancelled() {
                break;
            }
            if producer.client().fatal_error().is_some() {
                // What was acknowledged before the error counts; the rest is sent again.
                return match reported.is_empty() {
                    true => Err(anyhow!("the producer has a fatal error")),
                    false => {
                        self.producer = None;
                        Ok(reported)
                    }
                };
            }
        }
        Ok(reported)
    }

    /// Sends the records in one transaction. Returns none if it was aborted.
    fn send_transaction(&mut self, numbers: &[u64]) -> Result<Vec<Ack>> {
        let producer = self.producer()?;
        producer.begin_transaction()?;
        let reported = self.send_once(numbers)?;
        self.transactions += 1;
        if reported.len() < numbers.len() || self.transactions.is_multiple_of(ABORTED_INTERVAL) {
            until_answered(|| producer.abort_transaction(CALL_TIMEOUT))?;
            self.shared.aborted.fetch_add(1, Ordering::Relaxed);
            return Ok(Vec::new());
        }
        until_answered(|| producer.commit_transaction(CALL_TIMEOUT))?;
        Ok(reported)
    }

    fn enqueue(&self, producer: &BaseProducer<Deliveries>, number: u64) -> Result<()> {
        let SentRecord { key, value, headers, .. } = self.shared.record_of(number);
        let empty = OwnedHeaders::new_with_capacity(headers.len());
        let headers = headers.iter().fold(empty, |list, (name, value)| {
            list.insert(Header { key: name, value: Some(value.as_slice()) })
        });
        let mut record = BaseRecord::with_opaque_to(self.options.topic, Box::new(number));
        record.key = key.as_deref();
        record.payload = value.as_deref();
        record.headers = Some(headers);
        let now = i64::try_from(unix_ms()).expect("the milliseconds since 1970 fit");
        record.timestamp = Some(now + self.options.clock_error_ms);
        loop {
            match producer.send(record) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                    record = back;
                    producer.poll(POLL_TIMEOUT);
                    if self.shared.is_cancelled() {
                        return Ok(());
                    }
                }
                Err((error, _)) => return Err(error).context("queueing a record"),
            }
        }
    }

    fn producer(&mut self) -> Result<Arc<BaseProducer<Deliveries>>> {
        if let Some(producer) = &self.producer {
            return Ok(Arc::clone(producer));
        }
        let options = self.options;
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", &options.brokers)
            .set("acks", "all")
            .set("message.max.bytes", "4000000")
            .set("linger.ms", "5")
            .set("queue.buffering.max.messages", "20000")
            .set("reconnect.backoff.max.ms", "1000")
            .set("compression.type", options.compression);
        match options.kind {
            // Without a limit of time: an outage of any length delays the records.
            Kind::Idempotent => {
                config.set("enable.idempotence", "true").set("message.timeout.ms", "0");
            }
            Kind::Plain => {
                config.set("message.timeout.ms", "20000");
            }
            Kind::Transactional => {
                config
                    .set("transactional.id", &options.name)
                    .set("transaction.timeout.ms", "20000")
                    .set("message.timeout.ms", "20000");
            }
        }
        let producer: BaseProducer<Deliveries> =
            config.create_with_context(Deliveries::default()).context("starting a producer")?;
        let producer = Arc::new(producer);
        if options.kind == Kind::Transactional {
            // It also ends the transaction that an earlier producer has left open.
            until_answered(|| producer.init_transactions(CALL_TIMEOUT))?;
        }
        self.producer = Some(Arc::clone(&producer));
        Ok(producer)
    }
}

/// Repeats a call about a transaction while Kafka says that it may be repeated.
fn until_answered(call: impl Fn() -> Result<(), KafkaError>) -> Result<()> {
    let started = Instant::now();
    loop {
        match call() {
            Ok(()) => return Ok(()),
            Err(KafkaError::Transaction(error))
                if error.is_retriable() && started.elapsed() < Duration::from_secs(120) => {}
            Err(error) => return Err(error).context("ending a transaction"),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
