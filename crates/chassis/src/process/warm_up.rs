//! The first moments of a service: it is not ready until PostgreSQL has let it in, but it does not
//! wait for ever to serve what it can without.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio_util::sync::CancellationToken;

use crate::process::exit::ExitReason;

/// A service that is not warm by then is ready all the same.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between attempts.
const PAUSE: Duration = Duration::from_secs(1);

/// Repeats `load` until it succeeds, and says once that it waits. Ends when it has succeeded, when
/// PostgreSQL refuses the service for good, which is bad configuration, or on `shutdown`; sets
/// `ready` as soon as the service is warm, and after ten seconds in any case.
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
    let in_time = shutdown.run_until_cancelled(tokio::time::timeout(PATIENCE, &mut loading)).await;
    if let Some(Ok(refused @ Err(_))) = in_time {
        return refused;
    }
    ready.store(true, Ordering::Release);
    match in_time {
        Some(Err(_)) => shutdown.run_until_cancelled(loading).await.unwrap_or(Ok(())),
        _ => Ok(()),
    }
}

async fn retry_forever<L, F>(load: L) -> anyhow::Result<()>
where
    L: Fn() -> F,
    F: Future<Output = anyhow::Result<()>>,
{
    let mut told = false;
    loop {
        match load().await {
            Ok(()) => return Ok(()),
            Err(error) if error.is::<ExitReason>() => return Err(error),
            Err(error) if !told => {
                tracing::warn!("waiting for PostgreSQL to warm up: {error}");
                told = true;
            }
            Err(_) => {}
        }
        tokio::time::sleep(PAUSE).await;
    }
}
