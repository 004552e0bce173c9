//! The real program with its failpoints, as a process of its own. A shell between it and this
//! process kills it when this process ends in any way.

use std::{
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use anyhow::Context as _;
use testkit::wait_until;
use tokio::net::TcpStream;

/// Starts the program, and kills it when the input of the shell ends.
const SHELL: &str = "\"$0\" \"$@\" < /dev/null & read -r _; kill -9 $!";

pub(super) struct Program {
    shell: Child,
}

impl Program {
    /// Starts a role with these flags, and waits until it listens.
    pub(super) async fn start(
        waybill: &Path,
        role: &str,
        flags: Vec<String>,
        failpoints: &str,
    ) -> anyhow::Result<Self> {
        let address = free_address()?;
        let address_flag = format!("--{role}-http-addr");
        let mut flags = flags;
        let place = flags.iter().position(|flag| *flag == address_flag);
        let place = place.context("the flags name the address")?;
        flags[place + 1] = address.to_string();
        let shell = Command::new("sh")
            .args(["-c", SHELL])
            .arg(waybill)
            .arg(role)
            .args(flags)
            .env("WAYBILL_FAILPOINTS", failpoints)
            .env("RUST_LOG", "off")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("starting a shell")?;
        let program = Self { shell };
        wait_until("the program to listen", async || TcpStream::connect(address).await.is_ok())
            .await;
        Ok(program)
    }

    /// Kills the program and waits until it has ended.
    pub(super) fn kill(mut self) {
        self.end();
    }

    fn end(&mut self) {
        drop(self.shell.stdin.take());
        // It fails only if the shell has been waited for before.
        let _ = self.shell.wait();
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.end();
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

fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}
