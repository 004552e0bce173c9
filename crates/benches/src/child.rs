//! Starts the programs that a bench needs: the release binary, nginx, wrk.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use testkit::{TestEnvironment, free_port};
use tokio::process::{Child, Command};

/// A child process that serves HTTP.
pub(crate) struct Server {
    pub url: String,
    process: Child,
}

impl Server {
    /// Starts a command and waits until the path `ready` answers with success.
    pub(crate) async fn start(
        mut command: Command,
        url: String,
        ready: &str,
    ) -> anyhow::Result<Self> {
        let process = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("starting {:?}", command.as_std().get_program()))?;
        let mut server = Self { url, process };
        let begun = Instant::now();
        loop {
            let answer = reqwest::get(format!("{}{ready}", server.url)).await;
            if answer.is_ok_and(|answer| answer.status().is_success()) {
                return Ok(server);
            }
            if let Some(status) = server.process.try_wait()? {
                bail!("{:?} ended: {status}", command.as_std());
            }
            ensure!(begun.elapsed() < Duration::from_secs(60), "{} does not answer", server.url);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub(crate) fn id(&self) -> anyhow::Result<u32> {
        self.process.id().context("the server has ended")
    }

    /// Stops the process with SIGTERM, and waits until it has ended.
    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        let id = i32::try_from(self.id()?).context("a process id fits into an i32")?;
        kill_process(Pid::from_raw(id).context("a process id is not 0")?, Signal::TERM)?;
        let ended = tokio::time::timeout(Duration::from_secs(30), self.process.wait()).await;
        ended.context("the server did not end within 30 s")??;
        Ok(())
    }
}

/// Starts `waybill orders` in a test environment, with flags only and no environment variables.
pub(crate) async fn waybill(
    binary: &Path,
    env: &TestEnvironment,
    more: &[String],
    core: Option<u32>,
) -> anyhow::Result<Server> {
    let address = format!("127.0.0.1:{}", free_port()?);
    let mut command = on_core(core, binary);
    let mut flags = env.flags();
    let place = flags.iter().position(|flag| flag == "--orders-http-addr");
    flags[place.context("the flags of a test environment contain the HTTP address")? + 1] =
        address.clone();
    command.arg("orders").args(flags).args(more);
    command.env_clear().env("RUST_LOG", "warn").current_dir(std::env::temp_dir());
    if let Some(path) = std::env::var_os("PATH") {
        command.env("PATH", path);
    }
    Server::start(command, format!("http://{address}"), "/readyz").await
}

/// Returns a metric of the service, summed over its labels.
pub(crate) async fn metric(server: &Server, name: &str) -> anyhow::Result<f64> {
    let text = reqwest::get(format!("{}/metrics", server.url)).await?.text().await?;
    text.lines()
        .filter(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with([' ', '{'])))
        .filter_map(|line| line.rsplit(' ').next())
        .map(|number| {
            number
                .parse::<f64>()
                .with_context(|| format!("the metric {name} has the value {number}"))
        })
        .sum()
}

/// Returns a command that runs on one core only, if one is given.
pub(crate) fn on_core(core: Option<u32>, program: &Path) -> Command {
    match core {
        Some(core) => {
            let mut command = Command::new("taskset");
            command.args(["-c", &core.to_string()]).arg(program);
            command
        }
        None => Command::new(program),
    }
}

/// Returns the given binary, or builds the release binary beside this program.
pub(crate) async fn binary(given: Option<&PathBuf>) -> anyhow::Result<PathBuf> {
    if let Some(given) = given {
        return given.canonicalize().with_context(|| format!("looking for {}", given.display()));
    }
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args(["build", "--release", "--locked", "--quiet", "--package", "waybill"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status()
        .await
        .context("starting cargo to build waybill")?;
    ensure!(status.success(), "building waybill: {status}");
    let binary = std::env::current_exe()?.with_file_name("waybill");
    ensure!(binary.exists(), "{} does not exist; give its path with --waybill", binary.display());
    Ok(binary)
}

/// Finds a program in `PATH`.
pub(crate) fn find(name: &str) -> anyhow::Result<PathBuf> {
    let path = std::env::var_os("PATH").context("the environment variable PATH is not set")?;
    std::env::split_paths(&path)
        // On Debian, nginx is not in the PATH of an ordinary user.
        .chain([PathBuf::from("/usr/sbin")])
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
        .with_context(|| {
            format!(
                "`{name}` is missing: install wrk, nginx, util-linux and PostgreSQL's clients \
                 (apt install wrk nginx-light util-linux postgresql-client; \
                 dnf install wrk nginx util-linux postgresql)"
            )
        })
}

/// A temporary folder, removed when this value is dropped.
pub(crate) struct Folder(pub PathBuf);

impl Folder {
    pub(crate) fn new() -> anyhow::Result<Self> {
        let path = std::env::temp_dir().join(format!("waybill-bench-{}", std::process::id()));
        std::fs::create_dir_all(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
