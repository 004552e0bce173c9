//! Waiting for a condition with a deadline, never for a time.

use std::time::{Duration, Instant};

/// Waits until `condition` holds, looking again every 20 ms; panics after a minute with `what`.
pub async fn wait_until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    eventually(what, async || condition().await.then_some(())).await;
}

/// Waits until `probe` finds something; panics after a minute with `what`.
pub async fn eventually<T>(what: &str, mut probe: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        if let Some(found) = probe().await {
            return found;
        }
        assert!(Instant::now() < deadline, "waited a minute in vain for {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
