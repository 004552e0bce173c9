//! Waiting for a condition with a timeout, instead of sleeping for a fixed time.

use std::time::Duration;

use tokio::time::{sleep, timeout};

/// The timeout of every wait in a test.
pub(crate) const WAIT_TIMEOUT: Duration = Duration::from_secs(60);

/// Checks `condition` every 20 ms until it is true. Panics after a minute; the message says `what`.
pub async fn wait_until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    eventually(what, async || condition().await.then_some(())).await;
}

/// Calls `probe` every 20 ms until it returns a value. Panics after a minute, even if the probe
/// does not return; the message says `what`.
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
