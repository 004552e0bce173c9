//! The warm-up: loads what a service needs before it is ready.
//!
//! A service whose warm-up takes too long becomes ready all the same and serves without it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio_util::sync::CancellationToken;

use crate::process::exit::ExitReason;

/// The service becomes ready after this time even if it is not warm.
const READY_TIMEOUT: Duration = Duration::from_secs(10);
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// Repeats `load` until it succeeds, and sets `ready` then, or after [`READY_TIMEOUT`]. Ends when
/// `load` has succeeded or on `shutdown`; an error with an [`ExitReason`] is not retried.
pub async fn warm_up<L, F>(
    load: L,
    ready: Arc<AtomicBool>,
    shutdown: CancellationToken,
) -> anyhow::Result<()>
where
    L: Fn() -> F,
    F: Future<Output = anyhow::Result<()>>,
{
    let mut loading = std::pin::pin!(retry_forever(load));
    let within_timeout =
        shutdown.run_until_cancelled(tokio::time::timeout(READY_TIMEOUT, &mut loading)).await;
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
                tracing::warn!("waiting for PostgreSQL to warm up: {error}");
                reported = true;
            }
            Err(_) => {}
        }
        tokio::time::sleep(RETRY_INTERVAL).await;
    }
}
