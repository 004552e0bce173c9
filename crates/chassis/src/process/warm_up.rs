//! The warm-up: loads the data that a service needs before it is ready. If it takes too long, the
//! service becomes ready without it, and the warm-up continues. What is loaded is decided by the
//! service.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio_util::sync::CancellationToken;

use crate::process::exit::ExitReason;

/// The longest time until the service is ready, even if the warm-up has not ended.
const READY_TIMEOUT: Duration = Duration::from_secs(10);
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// Repeats `load` until it succeeds, and sets `ready` then or after [`READY_TIMEOUT`]. Ends when
/// `load` has succeeded, or on `shutdown`. An error with an [`ExitReason`] is returned and not
/// retried.
pub async fn warm_up<L, F>(
    load: L,
    ready: Arc<AtomicBool>,
    shutdown: CancellationToken,
) -> anyhow::Result<()>
where
    L: Fn() -> F,
    F: Future<Output = anyhow::Result<()>>,
{
    // Pinned here and only borrowed by the timeout, so that the same attempt continues after it.
    let mut loading = std::pin::pin!(retry_forever(load));
    let within_timeout =
        shutdown.run_until_cancelled(tokio::time::timeout(READY_TIMEOUT, &mut loading)).await;
    // With bad configuration, the service ends and is never ready.
    if let Some(Ok(error @ Err(_))) = within_timeout {
        return error;
    }
    ready.store(true, Ordering::Release);
    match within_timeout {
        Some(Err(_)) => shutdown.run_until_cancelled(loading).await.unwrap_or(Ok(())),
        _ => Ok(()),
    }
}

async fn retry_forever<L, F>(load: L) -> anyhow::Result<()>
where
    L: Fn() -> F,
    F: Future<Output = anyhow::Result<()>>,
{
    let mut reported = false;
    loop {
        match load().await {
            Ok(()) => return Ok(()),
            Err(error) if error.is::<ExitReason>() => return Err(error),
            Err(error) if !reported => {
                tracing::warn!("waiting for PostgreSQL; the warm-up is repeated: {error}");
                reported = true;
            }
            Err(_) => {}
        }
        tokio::time::sleep(RETRY_INTERVAL).await;
    }
}
