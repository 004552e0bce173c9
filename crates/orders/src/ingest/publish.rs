//! Publishes the events and dead letters of a committed batch.
//!
//! The events depend on the records of the batch, not on the rows that changed. After a crash
//! between commit and publishing, the batch is delivered again and changes no row, but its events
//! are still missing: they are published then. The price is that events may be repeated, which
//! every consumer of the status topic tolerates. There is no outbox table.

use chassis::{
    kafka::{
        consumer::Receipt,
        producer::{Deliveries, OutgoingRecord, ProduceError, Producer, retry_forever},
    },
    process::{
        crash,
        trace::{self, Trace},
    },
    rejected::dead_letter,
};
use compact_str::CompactString;
use events::{EventType, OrderEvent};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::ingest::store::Committed;

/// The header `ce_source` of all events of this service.
pub(crate) const SOURCE: &str = "waybill/orders";

#[derive(Debug, Clone)]
pub(crate) struct Topics {
    pub(crate) orders: String,
    pub(crate) status: String,
    pub(crate) dead_letters: String,
}

/// The proof that a batch is committed and that all its events and dead letters are published. Only
/// [`publish`] makes one, so offsets cannot be stored before that.
pub(crate) struct Published(());

impl Receipt for Published {}

/// Publishes a batch's events and dead letters and waits, without a timeout, until Kafka has
/// acknowledged them. Only a fatal error of the producer is an error.
pub(crate) async fn publish(
    producer: &Producer,
    topics: &Topics,
    committed: &Committed,
) -> anyhow::Result<Published> {
    retry_forever(|| attempt(producer, topics, committed)).await?;
    crash::point("after-publish");
    Ok(Published(()))
}

async fn attempt(
    producer: &Producer,
    topics: &Topics,
    committed: &Committed,
) -> Result<(), ProduceError> {
    let rejected: Vec<_> = committed.rejected().iter().map(|(one, why)| (one, why)).collect();
    let letters = dead_letter::send(producer, &topics.orders, &topics.dead_letters, &rejected);
    // Events and dead letters do not depend on each other, so they are sent at the same time. If
    // one fails, the other is dropped with an unknown outcome: its records may still arrive. The
    // retry sends all of them again, which only repeats records.
    tokio::try_join!(send_events(producer, topics, committed), letters).map(|_| ())
}

async fn send_events(
    producer: &Producer,
    topics: &Topics,
    committed: &Committed,
) -> Result<(), ProduceError> {
    let deliveries = Deliveries::new();
    let now = now();
    for order in committed.orders() {
        let trace = order.trace.unwrap_or_else(Trace::begin);
        let version = order.version;
        let (order_id, created_at) = (order.uid.clone(), now.clone());
        // `created` is published even if this record changed no row: the attempt that stored the
        // order may have ended before it published.
        let status = EventType::Created;
        let mut event = OrderEvent { order_id, status, created_at, version: Some(version) };
        send_event(producer, topics, &event, trace.child(), &deliveries).await?;
        // Both events have the same key, so they are in one partition, and the idempotent producer
        // keeps them in this order.
        if version > 1 {
            event.status = EventType::Updated;
            send_event(producer, topics, &event, trace.child(), &deliveries).await?;
        }
    }
    // Enqueued is not sent: only an acknowledgement proves that Kafka has the event.
    deliveries.settled().await
}

/// Enqueues an event; `step` is its step in the trace of the record or call that caused it.
pub(crate) async fn send_event(
    producer: &Producer,
    topics: &Topics,
    event: &OrderEvent,
    step: Trace,
    deliveries: &Deliveries,
) -> Result<(), ProduceError> {
    let value = serde_json::to_vec(event).expect("an event has string keys");
    let id = event.id();
    let step = step.header();
    let headers = [
        ("ce_id", id.as_bytes()),
        ("ce_type", event.status.as_str().as_bytes()),
        ("ce_source", SOURCE.as_bytes()),
        ("ce_time", event.created_at.as_bytes()),
        (trace::HEADER, step.as_slice()),
    ];
    let record = OutgoingRecord {
        topic: &topics.status,
        key: Some(event.order_id.as_str().as_bytes()),
        value: Some(&value),
        headers: &headers,
    };
    producer.enqueue(record, deliveries).await
}

/// Returns the current time as RFC 3339 in UTC and whole milliseconds, the precision of Kafka.
pub(crate) fn now() -> CompactString {
    let now = OffsetDateTime::now_utc().truncate_to_millisecond();
    now.format(&Rfc3339).expect("the current year has four digits").into()
}
