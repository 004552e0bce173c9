//! Records that a call sends to Kafka.

use std::time::Duration;

use chassis::{
    http::{problem::Problem, problems::KAFKA_UNAVAILABLE},
    kafka::producer::{Deliveries, ProduceError},
};

/// The longest wait for Kafka's acknowledgement.
const ACK_TIMEOUT: Duration = Duration::from_secs(10);

/// Enqueues records with `enqueue` and waits until Kafka has acknowledged all of them.
///
/// After a timeout the outcome is unknown: Kafka may still take the records. The client may send
/// them again, because repeated records change nothing.
pub(super) async fn send<F>(
    attempted: &str,
    enqueue: impl FnOnce(Deliveries) -> F,
) -> Result<(), Problem>
where
    F: Future<Output = Result<(), ProduceError>>,
{
    let deliveries = Deliveries::new();
    let sent = async {
        enqueue(deliveries.clone()).await?;
        deliveries.settled().await
    };
    match tokio::time::timeout(ACK_TIMEOUT, sent).await {
        Ok(Ok(())) => return Ok(()),
        Ok(Err(error)) => tracing::warn!("{attempted}: {error}"),
        Err(_) => {}
    }
    Err(KAFKA_UNAVAILABLE.problem())
}
