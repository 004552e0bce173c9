//! Runs the parts of a service as tasks that share one shutdown token.
//!
//! ```text
//!            token cancelled              task ends
//! running ────────────────────▶ stopping ───────────▶ ended
//! ```
//!
//! - *running*: most parts run until the shutdown ([`run`](Supervisor::run)). A few end earlier,
//!   when their work is done, such as the warm-up ([`run_once`](Supervisor::run_once)), or before
//!   the parts that need them start ([`run_first`](Supervisor::run_first)).
//! - *stopping*: the token is cancelled. Each part holds the token, finishes its work and ends by
//!   itself. After a signal, [`shutdown`](crate::process::shutdown) ends a shutdown that takes too
//!   long. After a failure, the supervisor waits for a limited time only, and then aborts the parts
//!   that have not ended.
//! - *ended*: [`wait`](Supervisor::wait) returns when all parts have ended or that time is over.
//!
//! Two things cancel the token: a signal, and the failure of a part. A part fails by an error, by a
//! panic, or by ending before the shutdown without being allowed to. The first failure is the
//! outcome of the service; failures that follow while the others stop are only logged. No part is
//! restarted: the process ends, and the program that started it may start it again.

use std::{collections::HashMap, time::Duration};

use anyhow::{anyhow, ensure};
use tokio::{
    task::{Id, JoinSet},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

/// The longest time that the other parts have to finish their work after a part has failed.
const FAILURE_TIMEOUT: Duration = Duration::from_secs(20);

/// The running parts of a service.
#[derive(Debug)]
pub struct Supervisor {
    parts: JoinSet<anyhow::Result<()>>,
    names: HashMap<Id, &'static str>,
    shutdown: CancellationToken,
}

impl Supervisor {
    /// Creates a supervisor for parts that end on `shutdown`. A part that fails cancels it.
    #[must_use]
    pub fn new(shutdown: CancellationToken) -> Self {
        Self { parts: JoinSet::new(), names: HashMap::new(), shutdown }
    }

    /// Starts a part that runs until the shutdown. An earlier end is an error.
    pub fn run(
        &mut self,
        name: &'static str,
        part: impl Future<Output = anyhow::Result<()>> + Send + 'static,
    ) {
        let shutdown = self.shutdown.clone();
        self.run_once(name, async move {
            part.await?;
            // Read after the part has ended: a part that ends because of the shutdown ends after
            // it, so an end while this is false was not requested.
            ensure!(shutdown.is_cancelled(), "{name} ended before the shutdown");
            Ok(())
        });
    }

    /// Starts a part that ends when its work is done.
    pub fn run_once(
        &mut self,
        name: &'static str,
        part: impl Future<Output = anyhow::Result<()>> + Send + 'static,
    ) {
        // The guard is dropped by an error and by a panic alike, and cancels the shutdown. It is in
        // the task, so the other parts stop at once, even if no one is in `wait` yet.
        let stop_others = self.shutdown.clone().drop_guard();
        let task = self.parts.spawn(async move {
            part.await?;
            stop_others.disarm();
            Ok(())
        });
        // Inserted before `wait` can read it, because `wait` takes the supervisor by value.
        self.names.insert(task.id(), name);
    }

    /// Runs a part to its end before the parts that need it are started. Returns false if it failed
    /// or if the shutdown came first.
    pub async fn run_first(
        &mut self,
        name: &'static str,
        part: impl Future<Output = anyhow::Result<()>> + Send + 'static,
    ) -> bool {
        // Success has its own token: the end of the task alone does not say whether it succeeded.
        let (done, shutdown) = (CancellationToken::new(), self.shutdown.clone());
        let succeeded = done.clone();
        self.run_once(name, async move {
            if let Some(outcome) = shutdown.run_until_cancelled(part).await {
                outcome?;
                succeeded.cancel();
            }
            Ok(())
        });
        self.shutdown.run_until_cancelled(done.cancelled()).await.is_some()
    }

    /// Waits until all parts have ended, but for at most [`FAILURE_TIMEOUT`] after the first
    /// failure. Returns the error of the first part that failed.
    pub async fn wait(self) -> anyhow::Result<()> {
        self.wait_within(FAILURE_TIMEOUT).await
    }

    async fn wait_within(mut self, failure_timeout: Duration) -> anyhow::Result<()> {
        let mut outcome = Ok(());
        let mut give_up_at = None;
        loop {
            let ended = match give_up_at {
                None => self.parts.join_next_with_id().await,
                // Another part may wait without a limit for PostgreSQL or Kafka. The end of the
                // process must not depend on them. Aborting that part loses nothing: unfinished
                // records are delivered again.
                Some(at) => {
                    let next = tokio::time::timeout_at(at, self.parts.join_next_with_id()).await;
                    next.unwrap_or_else(|_| {
                        tracing::warn!(
                            "work is unfinished {failure_timeout:?} after the failure; its records \
                             will be delivered again"
                        );
                        None
                    })
                }
            };
            let Some(ended) = ended else { return outcome };
            let (name, ended) = match ended {
                Ok((part, ended)) => (self.names[&part], ended),
                Err(panic) => {
                    let name = self.names[&panic.id()];
                    (name, Err(anyhow!(panic).context(format!("{name} panicked"))))
                }
            };
            let Err(error) = ended else { continue };
            // Tasks are joined in the order in which they ended, and only a failure stops the
            // others, so the first error is usually the cause of those that follow.
            if outcome.is_ok() {
                tracing::error!(part = name, "{name} failed; stopping all other parts: {error:#}");
                give_up_at = Some(Instant::now() + failure_timeout);
                outcome = Err(error);
            } else {
                tracing::warn!(part = name, "{name} failed during the shutdown: {error:#}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io,
        sync::{Arc, Mutex},
    };

    use anyhow::bail;

    use super::*;
    use crate::process::exit::{self, ExitReason};

    /// Log lines.
    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl Log {
        /// Captures the log lines of all tests. A subscriber of one thread would be unreliable:
        /// another thread may decide first that nobody reads a line.
        fn capture(&self) {
            let log = self.clone();
            let subscriber = tracing_subscriber::fmt().with_writer(move || log.clone());
            let _ = tracing::subscriber::set_global_default(subscriber.finish());
        }

        fn assert_names(&self, part: &str) {
            let log = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
            assert!(log.contains(&format!("{part} failed; stopping all other parts")), "{log}");
        }
    }

    impl io::Write for Log {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// A supervisor with a part that runs until the shutdown.
    fn with_lasting_part() -> Supervisor {
        let shutdown = CancellationToken::new();
        let mut parts = Supervisor::new(shutdown.clone());
        parts.run("lasting", async move {
            shutdown.cancelled().await;
            Ok(())
        });
        parts
    }

    #[tokio::test]
    async fn a_part_that_fails_stops_the_others_and_is_named() {
        let log = Log::default();
        log.capture();
        let mut parts = with_lasting_part();
        parts.run("a named part", async {
            Err(anyhow!("no such topic").context(ExitReason::Configuration))
        });

        let error = parts.wait().await.unwrap_err();

        log.assert_names("a named part");
        assert_eq!(format!("{error:#}"), "bad configuration: no such topic");
        assert_eq!(exit::code(&error), 78);
    }

    #[tokio::test]
    async fn the_first_failure_is_the_outcome() {
        let mut parts = with_lasting_part();
        let shutdown = parts.shutdown.clone();
        parts.run("later", async move {
            shutdown.cancelled().await;
            bail!("it lost its connection")
        });
        parts.run("first", async { bail!("a record is too large") });

        let error = parts.wait().await.unwrap_err();

        assert_eq!(format!("{error:#}"), "a record is too large");
    }

    #[tokio::test]
    async fn a_panic_stops_the_others_and_is_named() {
        let mut parts = with_lasting_part();
        parts.run_once("warm-up", async { panic!("a row without an id") });

        let error = format!("{:#}", parts.wait().await.unwrap_err());

        assert!(error.starts_with("warm-up panicked: "), "{error}");
        assert!(error.contains("a row without an id"), "{error}");
    }

    #[tokio::test]
    async fn a_part_may_not_end_before_the_shutdown() {
        let mut parts = with_lasting_part();
        parts.run("ingest", async { Ok(()) });

        let error = parts.wait().await.unwrap_err();

        assert_eq!(format!("{error:#}"), "ingest ended before the shutdown");
    }

    #[tokio::test]
    async fn a_part_whose_work_is_done_may_end() {
        let mut parts = with_lasting_part();
        parts.run_once("warm-up", async { Ok(()) });
        let shutdown = parts.shutdown.clone();

        tokio::task::yield_now().await;
        assert!(!shutdown.is_cancelled());

        shutdown.cancel();
        assert!(parts.wait().await.is_ok());
    }

    #[tokio::test]
    async fn later_parts_wait_for_a_first_part_that_succeeds() {
        let mut parts = with_lasting_part();
        assert!(parts.run_first("topics", async { Ok(()) }).await);
        assert!(!parts.run_first("topics", async { bail!("no permission") }).await);

        let error = parts.wait().await.unwrap_err();

        assert_eq!(format!("{error:#}"), "no permission");
    }

    #[tokio::test]
    async fn a_shutdown_ends_all_parts() {
        let mut parts = with_lasting_part();
        let shutdown = parts.shutdown.clone();
        tokio::spawn(async move { shutdown.cancel() });

        assert!(!parts.run_first("topics", std::future::pending()).await);

        assert!(parts.wait().await.is_ok());
    }

    #[tokio::test]
    async fn a_part_that_never_ends_does_not_delay_a_failure() {
        let mut parts = with_lasting_part();
        parts.run("endless", std::future::pending());
        parts.run("ingest", async { bail!("the offset is out of range") });

        let error = parts.wait_within(Duration::ZERO).await.unwrap_err();

        assert_eq!(format!("{error:#}"), "the offset is out of range");
    }
}
