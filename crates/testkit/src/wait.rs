//! Waiting for a condition with a deadline, never for a time.

use std::time::Duration;

use tokio::time::{sleep, timeout};

/// The limit for every wait of a test.
pub(crate) const WAIT_TIMEOUT: Duration = Duration::from_secs(60);

/// Waits until `condition` holds, with a check every 20 ms; panics after a minute with `what`.
pub async fn wait_until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    eventually(what, async || condition().await.then_some(())).await;
}

/// Waits until `probe` finds something, with a check every 20 ms; panics after a minute with
/// `what`, even if the probe itself does not end.
pub async fn eventually<T>(what: &str, mut probe: impl AsyncFnMut() -> Option<T>) -> T {
    let search = async {
        loop {
            if let Some(found) = probe().await {
                return found;
            }
            sleep(Duration::from_millis(20)).await;
        }
    };
    let found = timeout(WAIT_TIMEOUT, search).await;
    found.unwrap_or_else(|_| panic!("waited a minute for {what}"))
}
