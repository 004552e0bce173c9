//! Publishes the events and dead letters of a committed batch.
//!
//! The events depend on the records of the batch, not on the rows that changed. After a crash
//! between commit and publishing, the batch is delivered again and changes no row, but its events
//! are still missing: they are published then. The price is that events may be repeated, which
//! every consumer of the status topic tolerates. There is no outbox table.

use chassis::{
    kafka::{
        consumer::Receipt,
        producer::{Attempt, OutgoingRecord, ProduceError, Producer},
    },
    process::{
        failpoint,
        trace::{self, Trace},
    },
    rejected::dead_letter,
};
use compact_str::CompactString;
use events::{EventType, OrderEvent};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::{ingest::store::Committed, order::FIRST_VERSION};

/// The header `ce_source` of the events of earlier versions.
pub(crate) const FORMER_SOURCE: &str = "waybill/orders";

#[derive(Debug, Clone)]
pub(crate) struct Topics {
    pub(crate) orders: String,
    pub(crate) status: String,
    pub(crate) dead_letters: String,
    /// The header `ce_source` of this installation's events.
    pub(crate) source: String,
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
    let rejected: Vec<_> = committed.rejected().iter().map(|(one, why)| (one, why)).collect();
    let letters = dead_letter::send(producer, &topics.orders, &topics.dead_letters, &rejected);
    // Events and dead letters do not depend on each other, so they are sent at the same time.
    tokio::try_join!(send_events(producer, topics, committed), letters)?;
    failpoint::async_point("after-publish").await;
    Ok(Published(()))
}

async fn send_events(
    producer: &Producer,
    topics: &Topics,
    committed: &Committed,
) -> Result<(), ProduceError> {
    let now = now();
    let mut events = Vec::with_capacity(committed.orders().len());
    for order in committed.orders() {
        let trace = order.trace.unwrap_or_else(Trace::begin);
        let replaced =
            order.version > FIRST_VERSION && !failpoint::is_skipped("guard.updated-published");
        // `created` is published even if this record changed no row: the attempt that stored the
        // order may have ended before it published. Both events have the same key, so they are in
        // one partition.
        let types = [Some(EventType::Created), replaced.then_some(EventType::Updated)];
        events.extend(types.into_iter().flatten().map(|status| (order, status, trace.child())));
    }
    let records = |attempt: Attempt, send: &mut dyn FnMut(OutgoingRecord<'_>)| {
        let (order, status, step) = &events[attempt.number];
        let (order_id, created_at) = (order.uid.clone(), now.clone());
        let version = Some(order.version);
        let event = OrderEvent { order_id, status: *status, created_at, version };
        event_record(&event, &topics.source, *step, send);
    };
    // 0: unlike a dead letter, an event cannot be sent with less content.
    producer.send_all(&topics.status, events.len(), 0, records).await
}

/// Passes the record of an event to `send`; `step` is its step in the trace of the record or call
/// that caused it.
pub(crate) fn event_record(
    event: &OrderEvent,
    source: &str,
    step: Trace,
    send: &mut dyn FnMut(OutgoingRecord<'_>),
) {
    let value = serde_json::to_vec(event).expect("an event has string keys");
    let id = event.id();
    let step = step.header();
    let headers = [
        ("ce_specversion", Some(b"1.0".as_slice())),
        ("ce_id", Some(id.as_bytes())),
        ("ce_type", Some(event.status.as_str().as_bytes())),
        ("ce_source", Some(source.as_bytes())),
        ("ce_time", Some(event.created_at.as_bytes())),
        (trace::HEADER, Some(step.as_slice())),
    ];
    let key = Some(event.order_id.as_str().as_bytes());
    send(OutgoingRecord { key, value: Some(&value), headers: &headers });
}

/// Returns the current time as RFC 3339 in UTC and whole milliseconds, the precision of Kafka.
pub(crate) fn now() -> CompactString {
    let now = OffsetDateTime::now_utc().truncate_to_millisecond();
    now.format(&Rfc3339).expect("the current year has four digits").into()
}
