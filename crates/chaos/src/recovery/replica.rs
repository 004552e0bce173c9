//! A replica of the order service as a process of its own, which is killed and started again. It
//! ends when this process ends in any way.

use std::{
    net::TcpListener,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context, bail};
use rustix::process::Signal;
use testkit::TestEnvironment;

use crate::child::WatchedChild;

/// The longest wait until a replica is ready.
const READY_TIMEOUT: Duration = Duration::from_secs(60);

/// A running replica. Dropping it kills it.
pub(crate) struct Replica {
    program: PathBuf,
    args: Vec<String>,
    child: WatchedChild,
    pub(crate) url: String,
}

impl Replica {
    /// Starts `waybill orders` with the flags of the environment and these, under an instance id.
    pub(crate) fn start(
        waybill: &Path,
        env: &TestEnvironment,
        id: &str,
        more: &[String],
    ) -> anyhow::Result<Self> {
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let own = ["--kafka-instance-id", id, "--orders-http-addr", &address.to_string()]
            .map(str::to_owned);
        let mut args = vec!["orders".to_owned()];
        args.extend(without_address(env.flags()));
        args.extend(more.iter().cloned().chain(own));
        let child = spawn(waybill, &args)?;
        Ok(Self { program: waybill.to_owned(), args, child, url: format!("http://{address}") })
    }

    /// Kills the process with SIGKILL, and starts it again as soon as it has ended.
    pub(crate) async fn restart(&mut self) -> anyhow::Result<()> {
        self.child.kill().await?;
        self.child = spawn(&self.program, &self.args)?;
        Ok(())
    }

    /// Waits until the replica reports that it is ready.
    pub(crate) async fn wait_until_ready(&mut self) -> anyhow::Result<()> {
        let url = format!("{}/readyz", self.url);
        let waiting = async {
            loop {
                if reqwest::get(&url).await.is_ok_and(|answer| answer.status().is_success()) {
                    return Ok(());
                }
                if let Some(status) = self.child.try_wait()? {
                    bail!("the order service ended: {status}");
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(READY_TIMEOUT, waiting).await.context("the replica is not ready")?
    }

    pub(crate) fn id(&self) -> anyhow::Result<u32> {
        self.child.id().context("the replica has ended")
    }

    /// Stops the process with SIGTERM and waits for its end.
    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        self.child.signal(Signal::TERM);
        self.child.wait().await.map(drop)
    }
}

fn spawn(program: &Path, args: &[String]) -> anyhow::Result<WatchedChild> {
    let variables = [("RUST_LOG", "error"), ("WAYBILL_FAILPOINTS", "")];
    WatchedChild::spawn(program, args, variables, Stdio::inherit())
}

/// Removes the address of the HTTP listener: each replica has its own.
fn without_address(flags: Vec<String>) -> Vec<String> {
    let pairs = flags.chunks(2).filter(|pair| pair[0] != "--orders-http-addr");
    pairs.flatten().cloned().collect()
}
