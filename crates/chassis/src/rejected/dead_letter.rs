//! Dead letters: rejected records on a topic of their own, key and value as they came.

use super::{Original, Rejection};
use crate::kafka::producer::{Deliveries, OutgoingRecord, ProduceError, Producer};

/// As many of a record's violations are told in a header.
const TOLD_VIOLATIONS: usize = 10;

/// Sends the records of topic `from` that were rejected to topic `to`, and waits until Kafka has
/// acknowledged all of them. One that is too large for the topic goes without its bytes, which are
/// in the database: the topic at least tells where.
pub async fn send(
    producer: &Producer,
    from: &str,
    to: &str,
    rejected: &[(&Original, &Rejection)],
) -> Result<(), ProduceError> {
    let mut sent = Vec::with_capacity(rejected.len());
    for (original, rejection) in rejected {
        let delivery = Deliveries::new();
        let value = original.value();
        let outcome = enqueue(producer, from, to, original, rejection, value, &[], &delivery).await;
        sent.push((outcome, delivery));
    }
    let mut too_large = Vec::new();
    for (&(original, rejection), (outcome, delivery)) in rejected.iter().zip(sent) {
        match settled(outcome, &delivery).await {
            Err(ProduceError::TooLarge) => too_large.push((original, rejection)),
            other => other?,
        }
    }
    // The broker refuses a request's records together: each has another chance alone.
    let truncated = Deliveries::new();
    for (original, rejection) in too_large {
        let delivery = Deliveries::new();
        let value = original.value();
        let outcome = enqueue(producer, from, to, original, rejection, value, &[], &delivery).await;
        match settled(outcome, &delivery).await {
            Err(ProduceError::TooLarge) => {
                let mark: [(&str, &[u8]); 1] = [("waybill.truncated", b"true")];
                let (value, to_all) = (Some(b"".as_slice()), &truncated);
                enqueue(producer, from, to, original, rejection, value, &mark, to_all).await?;
            }
            other => other?,
        }
    }
    truncated.settled().await
}

async fn settled(
    enqueued: Result<(), ProduceError>,
    delivery: &Deliveries,
) -> Result<(), ProduceError> {
    enqueued?;
    delivery.settled().await
}

#[expect(clippy::too_many_arguments, reason = "a letter's parts, each named once")]
async fn enqueue(
    producer: &Producer,
    from: &str,
    to: &str,
    original: &Original,
    rejection: &Rejection,
    value: Option<&[u8]>,
    marks: &[(&str, &[u8])],
    deliveries: &Deliveries,
) -> Result<(), ProduceError> {
    let told = rejection.violations.iter().take(TOLD_VIOLATIONS);
    let detail: Vec<String> =
        told.map(|one| format!("{} {}: {}", one.pointer, one.code, one.message)).collect();
    let detail = detail.join("\n");
    let partition = original.position.partition.to_string();
    let offset = original.position.offset.to_string();
    let mut headers = vec![
        ("waybill.error.reason", rejection.reason.as_bytes()),
        ("waybill.error.detail", detail.as_bytes()),
        ("__connect.errors.topic", from.as_bytes()),
        ("__connect.errors.partition", partition.as_bytes()),
        ("__connect.errors.offset", offset.as_bytes()),
        ("__connect.errors.exception.message", rejection.reason.as_bytes()),
    ];
    headers.extend_from_slice(marks);
    let record = OutgoingRecord { topic: to, key: original.key(), value, headers: &headers };
    producer.enqueue(record, deliveries).await
}
