//! Child processes: replicas of the services, and programs that end by themselves. All of them end
//! when this process ends in any way.

use std::{
    ffi::OsStr,
    path::Path,
    process::{Output, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use rustix::process::Signal;
use testkit::free_port;
use tokio::process::Command;

use crate::child::{WatchedChild, log_file};

const START_TIMEOUT: Duration = Duration::from_secs(60);
const STOP_TIMEOUT: Duration = Duration::from_secs(60);
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// A server or a replica.
pub(super) struct Watched(WatchedChild);

impl Watched {
    /// Starts a program with its output in `log`.
    pub(super) fn start<S: AsRef<OsStr>>(
        program: &Path,
        args: impl IntoIterator<Item = S>,
        variables: &[(&str, &OsStr)],
        log: &Path,
    ) -> Result<Self> {
        let variables = variables.iter().copied();
        WatchedChild::spawn(program, args, variables, log_file(log)?).map(Self)
    }

    /// Waits until `is_ready` returns true; an end before that is an error.
    pub(super) async fn wait_until_ready(
        &mut self,
        what: &str,
        is_ready: impl AsyncFn() -> bool,
    ) -> Result<()> {
        let begun = Instant::now();
        while !is_ready().await {
            if let Some(status) = self.0.try_wait()? {
                bail!("{what} has ended: {status}");
            }
            if begun.elapsed() > START_TIMEOUT {
                bail!("{what} is not ready after {START_TIMEOUT:?}");
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
        Ok(())
    }

    pub(super) async fn kill(&mut self) -> Result<()> {
        self.0.kill().await
    }

    /// Stops it with SIGTERM, and returns whether it ended with exit code 0 in time.
    pub(super) async fn stop(&mut self) -> Result<bool> {
        self.0.signal(Signal::TERM);
        match tokio::time::timeout(STOP_TIMEOUT, self.0.wait()).await {
            Ok(status) => Ok(status?.success()),
            Err(_) => self.kill().await.map(|()| false),
        }
    }
}

/// A replica of a service.
pub(super) struct Replica(Watched);

impl Replica {
    /// Starts a role on a free port, with flags only, and waits until it is ready.
    pub(super) async fn start(
        waybill: &Path,
        role: &str,
        mut flags: Vec<String>,
        log: &Path,
    ) -> Result<Self> {
        let address = format!("127.0.0.1:{}", free_port()?);
        let flag = format!("--{role}-http-addr");
        let place = flags.iter().position(|one| *one == flag);
        flags[place.context("the flags contain the address")? + 1].clone_from(&address);
        let mut process =
            Watched::start(waybill, [role.to_owned()].into_iter().chain(flags), &[], log)?;
        let url = format!("http://{address}/readyz");
        process
            .wait_until_ready(role, async || {
                let answer = reqwest::get(&url).await;
                answer.is_ok_and(|answer| answer.status().is_success())
            })
            .await?;
        Ok(Self(process))
    }

    pub(super) async fn kill(&mut self) -> Result<()> {
        self.0.kill().await
    }

    /// Stops it, and returns 1 if it did not end with exit code 0.
    pub(super) async fn stop(mut self) -> Result<usize> {
        Ok(usize::from(!self.0.stop().await?))
    }
}

/// Runs a program to its end.
pub(super) async fn run_to_end(program: &Path, args: &[String]) -> Result<Output> {
    let output = Command::new(program).args(args).stdin(Stdio::null()).kill_on_drop(true).output();
    output.await.with_context(|| format!("starting {}", program.display()))
}
