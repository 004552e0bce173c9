//! Named points at which a test may have the process killed.
//!
//! Compiled in only with the feature `crash-points`, which the tests alone turn on. A point kills
//! the process by SIGKILL, as the kernel would: no destructor runs, nothing is flushed.

/// Kills the process if the environment's `WAYBILL_CRASH_AT` names this point.
#[inline]
pub fn point(name: &str) {
    #[cfg(feature = "crash-points")]
    if std::env::var_os("WAYBILL_CRASH_AT").is_some_and(|wanted| wanted == name) {
        tracing::warn!(name, "crashing on purpose");
        let _ =
            rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    }
    #[cfg(not(feature = "crash-points"))]
    let _ = name;
}
