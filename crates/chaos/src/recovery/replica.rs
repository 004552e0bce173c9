//! A replica of the order service as a process of its own, which is killed and started again.

use std::{net::TcpListener, path::Path, process::Stdio, time::Duration};

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process};
use testkit::TestEnvironment;
use tokio::process::{Child, Command};

/// The longest wait until a replica is ready.
const READY_TIMEOUT: Duration = Duration::from_secs(60);

/// A running replica. Dropping it kills it.
pub(crate) struct Replica {
    command: Command,
    child: Child,
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
        let mut command = Command::new(waybill);
        let own = ["--kafka-instance-id", id, "--orders-http-addr", &address.to_string()]
            .map(str::to_owned);
        let flags = without_address(env.flags());
        command.arg("orders").args(flags).args(more).args(own).kill_on_drop(true);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command.env("RUST_LOG", "error").env_remove("WAYBILL_FAILPOINTS");
        let child = command.spawn().with_context(|| format!("starting {}", waybill.display()))?;
        Ok(Self { command, child, url: format!("http://{address}") })
    }

    /// Kills the process with SIGKILL, and starts it again as soon as it has ended.
    pub(crate) async fn restart(&mut self) -> anyhow::Result<()> {
        self.child.start_kill()?;
        self.child.wait().await?;
        self.child = self.command.spawn()?;
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
        let id = Pid::from_raw(self.id()?.cast_signed()).context("a process id is above zero")?;
        kill_process(id, Signal::TERM)?;
        self.child.wait().await?;
        Ok(())
    }
}

/// Removes the address of the HTTP listener: each replica has its own.
fn without_address(flags: Vec<String>) -> Vec<String> {
    let pairs = flags.chunks(2).filter(|pair| pair[0] != "--orders-http-addr");
    pairs.flatten().cloned().collect()
}
