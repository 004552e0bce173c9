//! Publishing the events and dead letters of a committed batch. Events are a function of the batch's
//! records, not of the rows that changed, so a redelivered batch repeats them.

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

/// The proof that a batch is committed and that all of it is published.
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
        let status = EventType::Created;
        let mut event = OrderEvent { order_id, status, created_at, version: Some(version) };
        send_event(producer, topics, &event, trace.child(), &deliveries).await?;
        if version > 1 {
            event.status = EventType::Updated;
            send_event(producer, topics, &event, trace.child(), &deliveries).await?;
        }
    }
    deliveries.settled().await
}

/// Enqueues an event as this step of its trace.
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
    now.format(&Rfc3339).expect("the present has four digits of year").into()
}
