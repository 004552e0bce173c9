//! Records that a call sends to Kafka.

use std::time::Duration;

use chassis::{
    http::{problem::Problem, problems::KAFKA_UNAVAILABLE},
    kafka::producer::ProduceError,
};

/// The longest wait for Kafka's acknowledgement.
const ACK_TIMEOUT: Duration = Duration::from_secs(10);

/// Awaits `sent`, which ends when Kafka has acknowledged the records that `attempted` names.
///
/// After a timeout the outcome is unknown: Kafka may still take the records. The client may send
/// them again, because repeated records change nothing.
pub(super) async fn within_timeout(
    attempted: &str,
    sent: impl Future<Output = Result<(), ProduceError>>,
) -> Result<(), Problem> {
    match tokio::time::timeout(ACK_TIMEOUT, sent).await {
        Ok(Ok(())) => return Ok(()),
        Ok(Err(error)) => tracing::warn!("{attempted}: {error}"),
        Err(_) => {}
    }
    Err(KAFKA_UNAVAILABLE.problem())
}
