//! A replica of a service: the real program, which is started again whenever it ends.

use std::{
    os::unix::process::ExitStatusExt as _,
    path::PathBuf,
    process::ExitStatus,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use anyhow::{Result, bail};
use rustix::process::Signal;
use serde::Serialize;
use tokio::{sync::watch, time::sleep};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use crate::child::{WatchedChild, log_file, send_signal};

/// The pause before a start after an end within [`SHORT_RUN`], as a supervisor would make it.
const RESTART_PAUSE: Duration = Duration::from_millis(500);
const SHORT_RUN: Duration = Duration::from_secs(2);

/// Bounds an orderly stop at the end of the run.
const STOP_TIMEOUT: Duration = Duration::from_secs(30);

/// A service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    Orders,
    Couriers,
}

impl Role {
    /// The name of the role, which is the command of the program.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Orders => "orders",
            Self::Couriers => "couriers",
        }
    }
}

/// The program and the settings of a replica.
#[derive(Debug, Clone)]
pub(crate) struct ReplicaOptions {
    pub(crate) role: Role,
    pub(crate) name: String,
    pub(crate) program: PathBuf,
    pub(crate) port: u16,
    pub(crate) flags: Vec<String>,
    pub(crate) variables: Vec<(String, String)>,
    pub(crate) log: PathBuf,
}

/// One end of a process.
#[derive(Debug, Clone, Serialize)]
pub struct End {
    pub replica: String,
    /// Milliseconds since 1970.
    pub at_ms: u64,
    /// The exit code, or the signal as a text.
    pub how: String,
}

/// A replica that runs until it is stopped.
#[derive(Debug)]
pub struct Replica {
    shared: Arc<Shared>,
    supervisor: AbortOnDropHandle<()>,
}

#[derive(Debug)]
struct Shared {
    options: ReplicaOptions,
    /// The failpoints of the next start alone.
    failpoints: Mutex<Option<String>>,
    ends: Mutex<Vec<End>>,
    /// The id of the running process, and the number of starts.
    running: watch::Sender<(Option<u32>, u64)>,
    stop: CancellationToken,
}

impl Replica {
    pub(crate) fn start(options: ReplicaOptions) -> Self {
        let shared = Arc::new(Shared {
            options,
            failpoints: Mutex::default(),
            ends: Mutex::default(),
            running: watch::Sender::new((None, 0)),
            stop: CancellationToken::new(),
        });
        let supervisor = AbortOnDropHandle::new(tokio::spawn(supervise(Arc::clone(&shared))));
        Self { shared, supervisor }
    }

    #[must_use]
    pub fn role(&self) -> Role {
        self.shared.options.role
    }

    #[must_use]
    pub fn name(&self) -> &str {
        &self.shared.options.name
    }

    /// The base of its addresses, without a slash at the end.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.shared.options.port)
    }

    /// The id of its process, if one runs.
    #[must_use]
    pub fn id(&self) -> Option<u32> {
        self.shared.running.borrow().0
    }

    /// Sends a signal to the running process.
    pub fn signal(&self, signal: Signal) {
        if let Some(id) = self.id() {
            send_signal(id, signal);
        }
    }

    /// Ends the process with a signal, and waits until the next one was started, with these
    /// failpoints.
    pub async fn restart(&self, signal: Signal, failpoints: Option<&str>) {
        self.set_next_failpoints(failpoints);
        let starts = self.shared.running.borrow().1;
        self.signal(signal);
        let mut running = self.shared.running.subscribe();
        // The sender lives in `self`.
        let _ = running.wait_for(|(_, number)| *number > starts).await;
    }

    /// Sets the failpoints of the next process.
    pub(crate) fn set_next_failpoints(&self, failpoints: Option<&str>) {
        *lock(&self.shared.failpoints) = failpoints.map(str::to_owned);
    }

    /// Waits until it reports that it is ready.
    pub async fn wait_until_ready(&self, http: &reqwest::Client, limit: Duration) -> Result<()> {
        let deadline = Instant::now() + limit;
        let address = format!("{}/readyz", self.url());
        while !http.get(&address).send().await.is_ok_and(|answer| answer.status().is_success()) {
            if Instant::now() > deadline {
                let log = self.shared.options.log.display();
                bail!("{} is not ready after {limit:?}; its log is {log}", self.name());
            }
            sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    /// All ends so far, those that a fault has caused included.
    #[must_use]
    pub fn ends(&self) -> Vec<End> {
        lock(&self.shared.ends).clone()
    }

    /// Stops it with SIGTERM. Returns whether it ended within [`STOP_TIMEOUT`]; otherwise it is
    /// killed.
    pub async fn stop(self) -> bool {
        self.shared.stop.cancel();
        self.signal(Signal::TERM);
        // At the timeout, the supervisor is dropped with the child, and the watcher kills it.
        tokio::time::timeout(STOP_TIMEOUT, self.supervisor).await.is_ok()
    }
}

async fn supervise(shared: Arc<Shared>) {
    while !shared.stop.is_cancelled() {
        let started = Instant::now();
        match run_once(&shared).await {
            Ok(status) => lock(&shared.ends).push(End {
                replica: shared.options.name.clone(),
                at_ms: unix_ms(),
                how: describe(status),
            }),
            Err(error) => lock(&shared.ends).push(End {
                replica: shared.options.name.clone(),
                at_ms: unix_ms(),
                how: format!("not started: {error:#}"),
            }),
        }
        if started.elapsed() < SHORT_RUN {
            tokio::select! {
                () = sleep(RESTART_PAUSE) => {}
                () = shared.stop.cancelled() => {}
            }
        }
    }
}

async fn run_once(shared: &Shared) -> Result<ExitStatus> {
    let options = &shared.options;
    let mut variables = options.variables.clone();
    let failpoints = lock(&shared.failpoints).take();
    variables.extend(failpoints.map(|points| ("WAYBILL_FAILPOINTS".to_owned(), points)));
    let mut args = vec![options.role.name().to_owned()];
    args.extend(options.flags.iter().cloned());
    let mut child =
        WatchedChild::spawn(&options.program, args, variables, log_file(&options.log)?)?;
    shared.running.send_modify(|(id, starts)| {
        *id = child.id();
        *starts += 1;
    });
    // A stop that came before the start has sent its signal to nothing.
    if shared.stop.is_cancelled() {
        child.signal(Signal::TERM);
    }
    let status = child.wait().await;
    shared.running.send_modify(|(id, _)| *id = None);
    status
}

fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(9)) => "SIGKILL".to_owned(),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "unknown".to_owned(),
    }
}

pub(crate) fn unix_ms() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.map_or(0, |now| u64::try_from(now.as_millis()).unwrap_or(u64::MAX))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
