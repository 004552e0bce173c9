//! Sends the records of an HTTP call to Kafka, with a timeout. The events of a batch are sent in
//! [`ingest::publish`](crate::ingest::publish), without one.

use chassis::{
    http::{problem::Problem, problems::KAFKA_UNAVAILABLE},
    kafka::producer::{ACK_TIMEOUT, Deliveries, ProduceError, send_within},
};

/// Enqueues records with `enqueue` and waits until Kafka has acknowledged all of them.
///
/// After a timeout the outcome is unknown: Kafka may still take the records. The client may send
/// them again, because repeated records change nothing. The producer keeps trying to send them, so
/// this function does not retry.
pub(super) async fn send<F>(
    attempted: &str,
    enqueue: impl FnOnce(Deliveries) -> F,
) -> Result<(), Problem>
where
    F: Future<Output = Result<(), ProduceError>>,
{
    send_within(ACK_TIMEOUT, enqueue).await.map_err(|error| {
        tracing::warn!("{attempted}: {error}");
        KAFKA_UNAVAILABLE.problem()
    })
}
