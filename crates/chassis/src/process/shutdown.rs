//! Signals: the first asks for an orderly end, the second, or a deadline, ends at once.

use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Cancelled by the first SIGTERM or SIGINT. The second, or `timeout` after the first, ends the
/// process with exit code 1: whatever was not finished comes again.
pub fn on_signals(timeout: Duration) -> std::io::Result<CancellationToken> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let shutdown = CancellationToken::new();
    let token = shutdown.clone();
    tokio::spawn(async move {
        tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
        tracing::info!("stopping in good order; a second signal stops at once");
        token.cancel();
        // A thread, for the runtime itself may be what does not end.
        std::thread::spawn(move || {
            std::thread::sleep(timeout);
            tracing::warn!("left unfinished work after {timeout:?}; it will come again");
            std::process::exit(1);
        });
        tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
        std::process::exit(1);
    });
    Ok(shutdown)
}
