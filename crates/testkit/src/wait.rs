//! Waiting for a condition with a deadline, never for a time.

use std::time::Duration;

use tokio::time::{sleep, timeout};

/// How long a test waits for anything: what takes longer will not come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until `condition` holds, looking again every 20 ms; panics after a minute with `what`.
pub async fn wait_until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    eventually(what, async || condition().await.then_some(())).await;
}

/// Waits until `probe` finds something, looking again every 20 ms; panics after a minute with
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
    let found = timeout(PATIENCE, search).await;
    found.unwrap_or_else(|_| panic!("waited a minute in vain for {what}"))
}
