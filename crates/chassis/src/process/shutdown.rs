//! Signals: the first one starts an orderly shutdown; the second one, or a timeout, ends the process.

use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::process::telemetry;

/// Returns a token that the first SIGTERM or SIGINT cancels. A second signal, or `timeout` after the
/// first one, ends the process with exit code 1: unfinished records are delivered again.
pub fn on_signals(timeout: Duration) -> std::io::Result<CancellationToken> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let shutdown = CancellationToken::new();
    let token = shutdown.clone();
    tokio::spawn(async move {
        tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
        token.cancel();
        tracing::info!("stopping in good order; a second signal stops at once");
        // The timeout runs on a thread because the runtime itself may be blocked.
        std::thread::spawn(move || {
            std::thread::sleep(timeout);
            tracing::warn!("left unfinished work after {timeout:?}; it will come again");
            telemetry::flush();
            std::process::exit(1);
        });
        tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
        std::process::exit(1);
    });
    Ok(shutdown)
}
