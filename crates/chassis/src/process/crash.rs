//! Named points at which a test can kill the process.
//!
//! They exist only with the feature `crash-points`, which only the tests enable. The process is
//! killed by SIGKILL: no destructor runs, and nothing is flushed.

/// Kills the process if the environment variable `WAYBILL_CRASH_AT` equals `name`.
#[inline]
pub fn point(name: &str) {
    #[cfg(feature = "crash-points")]
    if std::env::var_os("WAYBILL_CRASH_AT").is_some_and(|wanted| wanted == name) {
        tracing::warn!(name, "killing the process at a crash point");
        let _ =
            rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    }
    #[cfg(not(feature = "crash-points"))]
    let _ = name;
}
