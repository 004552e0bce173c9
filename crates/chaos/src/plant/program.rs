//! The real program with its failpoints, as a process of its own, which ends when this process ends
//! in any way.

use std::{
    ffi::OsStr,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
};

use anyhow::Context as _;
use testkit::{free_port, wait_until};
use tokio::net::TcpStream;

use crate::{child::WatchedChild, system::loopback};

/// A running program. Dropping it kills it.
pub(super) struct Program {
    child: WatchedChild,
    address: SocketAddr,
}

impl Program {
    /// Starts a role with these flags, and waits until it listens.
    pub(super) async fn start(
        waybill: &Path,
        role: &str,
        flags: Vec<String>,
        failpoints: &str,
    ) -> anyhow::Result<Self> {
        Self::start_with(waybill, role, flags, failpoints, &[]).await
    }

    /// Starts a role like [`start`](Self::start), with the names of files in further variables.
    pub(super) async fn start_with(
        waybill: &Path,
        role: &str,
        flags: Vec<String>,
        failpoints: &str,
        files: &[(&str, &PathBuf)],
    ) -> anyhow::Result<Self> {
        let address = loopback(free_port()?);
        let address_flag = format!("--{role}-http-addr");
        let mut args = vec![role.to_owned()];
        args.extend(flags);
        let place = args.iter().position(|flag| *flag == address_flag);
        args[place.context("the flags name the address")? + 1] = address.to_string();
        let mut variables =
            vec![("WAYBILL_FAILPOINTS", OsStr::new(failpoints)), ("RUST_LOG", OsStr::new("off"))];
        variables.extend(files.iter().map(|(name, file)| (*name, file.as_os_str())));
        let child = WatchedChild::spawn(waybill, args, variables, Stdio::null())?;
        wait_until("the program to listen", async || TcpStream::connect(address).await.is_ok())
            .await;
        Ok(Self { child, address })
    }

    /// The base of its addresses, without a slash at the end.
    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Waits until it reports that it is ready.
    pub(super) async fn wait_until_ready(&self) {
        let url = format!("{}/readyz", self.url());
        wait_until("the program to be ready", async || {
            reqwest::get(&url).await.is_ok_and(|answer| answer.status().is_success())
        })
        .await;
    }

    /// Waits until an order service has ended its warm-up, which may be later than it is ready.
    pub(super) async fn wait_until_warm(&self) {
        let url = format!("{}/metrics", self.url());
        wait_until("the warm-up to end", async || {
            let Ok(answer) = reqwest::get(&url).await else { return false };
            let Ok(text) = answer.text().await else { return false };
            let mut lines = text.lines();
            lines.any(|line| {
                let seconds = line.strip_prefix("waybill_warm_up_seconds ");
                seconds.is_some_and(|seconds| seconds != "0.0")
            })
        })
        .await;
    }

    /// Kills the program and waits until it has ended.
    pub(super) async fn kill(mut self) -> anyhow::Result<()> {
        self.child.kill().await
    }
}

/// Returns the program that was built together with this one.
pub fn built_program() -> anyhow::Result<PathBuf> {
    let this = std::env::current_exe().context("finding this program")?;
    let folders = this.ancestors().skip(1).take(2);
    let mut programs = folders.map(|folder| folder.join("waybill"));
    programs.find(|program| program.is_file()).with_context(|| {
        format!("no program `waybill` next to {}: build the workspace", this.display())
    })
}
