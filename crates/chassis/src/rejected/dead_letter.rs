//! Dead letters: rejected records on a topic of their own, with key and value as they were
//! received. They follow the commit, so each one is also in the table; this module reads no topic
//! and no table.

use super::{Original, Rejection};
use crate::kafka::producer::{Deliveries, OutgoingRecord, ProduceError, Producer};

/// The most violations of a record that the header of its dead letter lists.
const MAX_LISTED_VIOLATIONS: usize = 10;

/// Sends the rejected records of topic `from` to topic `to`, and waits until Kafka has acknowledged
/// all of them. A record that is too large for the topic is sent without its value, which the table
/// has.
pub async fn send(
    producer: &Producer,
    from: &str,
    to: &str,
    rejected: &[(&Original, &Rejection)],
) -> Result<(), ProduceError> {
    let letters = Letters { producer, from, to };
    // All are enqueued before the first is waited for, so that Kafka gets them in few requests.
    // Each has its own `Deliveries`, because each outcome must be known by itself.
    let mut sent = Vec::with_capacity(rejected.len());
    for &rejected in rejected {
        let deliveries = Deliveries::new();
        let enqueued = letters.enqueue(rejected, SentValue::Whole, &deliveries).await;
        sent.push((rejected, enqueued, deliveries));
    }
    let mut too_large = Vec::new();
    for (rejected, enqueued, deliveries) in sent {
        match acknowledged(enqueued, &deliveries).await {
            Err(ProduceError::TooLarge) => too_large.push(rejected),
            // The other letters may still arrive. The caller repeats all of them, and a repeated
            // dead letter is allowed.
            other => other?,
        }
    }
    let truncated = Deliveries::new();
    for rejected in too_large {
        // The broker refuses all records of a request together, so this record may not be the one
        // that is too large. It is sent again, alone: one letter is enqueued and waited for at a
        // time.
        let deliveries = Deliveries::new();
        let enqueued = letters.enqueue(rejected, SentValue::Whole, &deliveries).await;
        match acknowledged(enqueued, &deliveries).await {
            Err(ProduceError::TooLarge) => {
                letters.enqueue(rejected, SentValue::Truncated, &truncated).await?;
            }
            other => other?,
        }
    }
    truncated.settled().await
}

async fn acknowledged(
    enqueued: Result<(), ProduceError>,
    deliveries: &Deliveries,
) -> Result<(), ProduceError> {
    enqueued?;
    deliveries.settled().await
}

#[derive(Clone, Copy)]
enum SentValue {
    Whole,
    Truncated,
}

/// The dead letters of one topic.
struct Letters<'a> {
    producer: &'a Producer,
    from: &'a str,
    to: &'a str,
}

impl Letters<'_> {
    async fn enqueue(
        &self,
        (original, rejection): (&Original, &Rejection),
        value: SentValue,
        deliveries: &Deliveries,
    ) -> Result<(), ProduceError> {
        let listed = rejection.violations.iter().take(MAX_LISTED_VIOLATIONS);
        let detail: Vec<String> =
            listed.map(|one| format!("{} {}: {}", one.pointer, one.code, one.message)).collect();
        let detail = detail.join("\n");
        let partition = original.position.partition.to_string();
        let offset = original.position.offset.to_string();
        let mut headers = vec![
            ("waybill.error.reason", rejection.reason.as_bytes()),
            ("waybill.error.detail", detail.as_bytes()),
            ("__connect.errors.topic", self.from.as_bytes()),
            ("__connect.errors.partition", partition.as_bytes()),
            ("__connect.errors.offset", offset.as_bytes()),
            ("__connect.errors.exception.message", rejection.reason.as_bytes()),
        ];
        let value = match value {
            SentValue::Whole => original.value(),
            SentValue::Truncated => {
                headers.push(("waybill.truncated", b"true"));
                Some(b"".as_slice())
            }
        };
        let record =
            OutgoingRecord { topic: self.to, key: original.key(), value, headers: &headers };
        self.producer.enqueue(record, deliveries).await
    }
}
