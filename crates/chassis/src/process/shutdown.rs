//! Signals: the first one starts the shutdown; the second one, or a timeout, ends the process. The
//! parts of a service end by themselves; see [`supervisor`](crate::process::supervisor).

use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Returns a token that the first SIGTERM or SIGINT cancels. A second signal, or `timeout` after
/// the first one, ends the process with exit code 1: unfinished records are delivered again.
pub fn on_signals(timeout: Duration) -> std::io::Result<CancellationToken> {
    // Both handlers are installed before this returns: from here on, no signal ends the process
    // before it can finish its work.
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let shutdown = CancellationToken::new();
    let token = shutdown.clone();
    tokio::spawn(async move {
        tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
        tracing::info!("shutting down; a second signal ends the process at once");
        token.cancel();
        // The timeout runs on a thread of its own, because the runtime itself may be blocked. It is
        // not cancelled: if the process ends in time, the thread ends with it.
        std::thread::spawn(move || {
            std::thread::sleep(timeout);
            tracing::warn!(
                "work is unfinished {timeout:?} after the signal; its records will be delivered again"
            );
            std::process::exit(1);
        });
        // Ending at once loses nothing: offsets are stored only after a batch is settled.
        tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
        std::process::exit(1);
    });
    Ok(shutdown)
}
