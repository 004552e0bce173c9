//! Publishing: what a committed batch tells the world. Events are a function of the batch's
//! records, not of the rows that changed, so a redelivered batch repeats them.

use chassis::{
    consumer::Receipt,
    crash,
    producer::{Deliveries, OutgoingRecord, ProduceError, Producer},
    retry::Backoff,
};
use events::{EventType, OrderEvent, OrderUid};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::{
    ingest::{Content, Incoming},
    rejection::Rejection,
    store::Committed,
};

/// Where to publish.
#[derive(Debug, Clone)]
pub(crate) struct Topics {
    pub(crate) orders: String,
    pub(crate) status: String,
    pub(crate) dead_letters: String,
}

/// The proof that a batch is committed and that all of it is published.
pub(crate) struct Published(());

impl Receipt for Published {}

/// Publishes a batch's events and dead letters and waits until Kafka has acknowledged them, however
/// long that takes. Only a producer that failed for good is an error.
pub(crate) async fn publish(
    producer: &Producer,
    topics: &Topics,
    committed: &Committed,
) -> anyhow::Result<Published> {
    let mut backoff = Backoff::default();
    loop {
        match attempt(producer, topics, committed).await {
            Ok(()) => break,
            Err(error @ ProduceError::Fatal(_)) => return Err(error.into()),
            Err(error) => {
                if backoff.is_first() {
                    tracing::warn!("publishing a batch again: {error}");
                }
                backoff.pause().await;
            }
        }
    }
    crash::point("after-publish");
    Ok(Published(()))
}

async fn attempt(
    producer: &Producer,
    topics: &Topics,
    committed: &Committed,
) -> Result<(), ProduceError> {
    let deliveries = Deliveries::new();
    let now = now();
    let mut letters = Vec::new();
    for incoming in committed.incoming() {
        match &incoming.content {
            Content::Order(order) => {
                let uid = &order.order.order_uid;
                let version = committed.version(uid).unwrap_or(1);
                send_event(producer, topics, uid, version, EventType::Created, &now, &deliveries)
                    .await?;
                if version > 1 {
                    send_event(
                        producer,
                        topics,
                        uid,
                        version,
                        EventType::Updated,
                        &now,
                        &deliveries,
                    )
                    .await?;
                }
            }
            Content::Rejection(rejection) => {
                let delivery = Deliveries::new();
                let sent =
                    send_dead_letter(producer, topics, incoming, rejection, true, &delivery).await;
                letters.push((incoming, rejection, delivery, sent));
            }
        }
    }
    for (incoming, rejection, delivery, sent) in letters {
        let outcome = match sent {
            Ok(()) => delivery.settled().await,
            failed => failed,
        };
        match outcome {
            // The bytes are in the database; the topic at least tells where.
            Err(ProduceError::TooLarge) => {
                send_dead_letter(producer, topics, incoming, rejection, false, &deliveries).await?;
            }
            other => other?,
        }
    }
    deliveries.settled().await
}

async fn send_event(
    producer: &Producer,
    topics: &Topics,
    uid: &OrderUid,
    version: i32,
    status: EventType,
    now: &str,
    deliveries: &Deliveries,
) -> Result<(), ProduceError> {
    let event = OrderEvent { order_id: uid.clone(), status, created_at: now.to_owned(), version };
    let value = serde_json::to_vec(&event).expect("an event has string keys");
    let id = event.id();
    let headers = [
        ("ce_id", id.as_bytes()),
        ("ce_type", status.as_str().as_bytes()),
        ("ce_source", b"waybill/orders".as_slice()),
        ("ce_time", now.as_bytes()),
    ];
    let record = OutgoingRecord {
        topic: &topics.status,
        key: Some(uid.as_str().as_bytes()),
        value: Some(&value),
        headers: &headers,
    };
    producer.enqueue(record, deliveries).await
}

async fn send_dead_letter(
    producer: &Producer,
    topics: &Topics,
    incoming: &Incoming,
    rejection: &Rejection,
    whole: bool,
    deliveries: &Deliveries,
) -> Result<(), ProduceError> {
    let detail: String = rejection
        .violations
        .iter()
        .take(10)
        .map(|violation| {
            format!("{} {}: {}\n", violation.pointer, violation.code, violation.message)
        })
        .collect();
    let partition = incoming.position.partition.to_string();
    let offset = incoming.position.offset.to_string();
    let mut headers = vec![
        ("waybill.error.reason", rejection.reason.as_bytes()),
        ("waybill.error.detail", detail.trim_end().as_bytes()),
        ("__connect.errors.topic", topics.orders.as_bytes()),
        ("__connect.errors.partition", partition.as_bytes()),
        ("__connect.errors.offset", offset.as_bytes()),
        ("__connect.errors.exception.message", rejection.reason.as_bytes()),
    ];
    if !whole {
        headers.push(("waybill.truncated", b"true"));
    }
    let record = OutgoingRecord {
        topic: &topics.dead_letters,
        key: incoming.key.as_deref(),
        value: if whole { incoming.value.as_deref() } else { Some(b"") },
        headers: &headers,
    };
    producer.enqueue(record, deliveries).await
}

/// The present as RFC 3339 in UTC.
pub(crate) fn now() -> String {
    OffsetDateTime::now_utc().format(&Rfc3339).expect("the present has four digits of year")
}
