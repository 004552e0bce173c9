//! The real PostgreSQL as a child process.
//!
//! It keeps its promises: `fsync` and `synchronous_commit` are on. It trusts whoever can connect,
//! which is whoever is on this machine, for it listens on 127.0.0.1 only: right for one person's
//! machine and for tests, wrong for a shared one, where `DATABASE_URL` names a real server.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
};

use anyhow::{Context, Result};
use rustix::process::Signal;
use tokio::process::Command;

use crate::{
    Progress, cluster,
    folder::Folder,
    port,
    process::{Process, Program, command_line, end_orphan, is_alive},
    programs,
    user::{User, become_user},
};

const NAME: &str = "PostgreSQL";

/// A path to a Unix socket is at most this long, on the strictest of the systems.
const SOCKET_PATH: usize = 103;

/// Where and how to run PostgreSQL.
#[derive(Debug, Clone)]
pub struct PostgresOptions {
    /// The folder of its data and log, for this server alone.
    pub data_dir: PathBuf,
    /// The port on 127.0.0.1; 0 takes a free one.
    pub port: u16,
}

/// A running PostgreSQL. Dropping it stops it too, only that nobody waits for the end.
#[derive(Debug)]
pub struct Postgres {
    folder: Folder,
    bin: PathBuf,
    cluster: PathBuf,
    user: Option<User>,
    port: u16,
    process: Option<Process>,
}

impl Postgres {
    /// Starts PostgreSQL, on a new cluster if the folder has none, and waits until it answers.
    pub async fn start(options: &PostgresOptions, progress: Progress<'_>) -> Result<Self> {
        let folder = Folder::open(&options.data_dir).await?;
        let link = folder.path.join("cluster");
        let bin = programs::find(&link)?;
        let user = User::for_cluster(&link)?;
        if fs::symlink_metadata(&link).is_err() {
            progress("creating the PostgreSQL data");
            cluster::create(&bin, &link, user).await?;
        }
        let cluster = link.canonicalize().with_context(|| {
            format!(
                "{} points to a folder that is gone: remove the link to start with empty data",
                link.display()
            )
        })?;
        // What an earlier run left behind must go before the port is looked at.
        if let Some(id) = folder.remembered() {
            end_orphan(id, &cluster, Signal::INT).await;
        }
        remove_stale_pid_file(&cluster)?;
        let port = port::claim(options.port, NAME, "--postgres-port")?;
        let mut postgres = Self { folder, bin, cluster, user, port, process: None };
        postgres.run().await?;
        Ok(postgres)
    }

    /// The superuser's address.
    #[must_use]
    pub fn url(&self) -> String {
        format!("postgres://waybill_admin@127.0.0.1:{}/postgres", self.port)
    }

    /// The port on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Stops it in good order: sessions are ended, everything is written.
    pub async fn stop(&mut self) -> Result<()> {
        match self.process.take() {
            Some(process) => process.stop().await,
            None => Ok(()),
        }
    }

    /// Ends it at once, as a crash would; the next start recovers.
    pub async fn kill(&mut self) -> Result<()> {
        match self.process.take() {
            // By SIGKILL its sessions would live on for a moment and keep the next start out.
            Some(process) => process.kill(Signal::QUIT).await,
            None => Ok(()),
        }
    }

    /// Starts it again on the same port and data, after a stop if it runs.
    pub async fn restart(&mut self) -> Result<()> {
        self.stop().await?;
        self.run().await
    }

    /// Waits until it ends unasked, and tells so in a sentence.
    pub async fn died(&mut self) -> anyhow::Error {
        match &mut self.process {
            Some(process) => process.ended().await,
            None => std::future::pending().await,
        }
    }

    async fn run(&mut self) -> Result<()> {
        let mut args = vec!["-D".into(), self.cluster.clone().into_os_string()];
        for setting in self.settings().await {
            args.extend(["-c".into(), setting.into()]);
        }
        let path = self.bin.join("postgres");
        let program = Program {
            name: NAME,
            path: &path,
            args,
            envs: vec![],
            user: self.user,
            stop: Signal::INT,
        };
        let mut process = Process::spawn(program, &self.folder)?;
        let id = process.id();
        process.ready(async || is_ready(&self.cluster, id)).await?;
        self.process = Some(process);
        Ok(())
    }

    /// All settings are given here, at every start, so that an older folder gets them too.
    async fn settings(&self) -> Vec<String> {
        let cluster = self.cluster.display();
        let socket_path = format!("{cluster}/.s.PGSQL.{}", self.port);
        let socket_folder =
            if socket_path.len() <= SOCKET_PATH { cluster.to_string() } else { String::new() };
        let compression = if self.knows("wal_compression=lz4").await { "lz4" } else { "on" };
        vec![
            format!("port={}", self.port),
            "listen_addresses=127.0.0.1".into(),
            format!("unix_socket_directories={socket_folder}"),
            "max_connections=200".into(),
            "fsync=on".into(),
            "synchronous_commit=on".into(),
            // Full-page images after a checkpoint are most of the log: lz4 cuts it by a quarter.
            format!("wal_compression={compression}"),
            // The log file is the program's standard error.
            "logging_collector=off".into(),
            "log_destination=stderr".into(),
        ]
    }

    /// Whether this build of PostgreSQL takes a setting: lz4 is optional.
    async fn knows(&self, setting: &str) -> bool {
        let mut postgres = Command::new(self.bin.join("postgres"));
        postgres.args(["-C", "wal_compression", "-c", setting, "-D"]).arg(&self.cluster);
        become_user(&mut postgres, self.user);
        let probe = postgres.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        probe.status().await.is_ok_and(|status| status.success())
    }
}

/// PostgreSQL tells its state in its pid file: the first line is the process, the eighth is
/// `ready` when it takes connections.
fn is_ready(cluster: &Path, id: Option<u32>) -> bool {
    let text = fs::read_to_string(cluster.join("postmaster.pid")).unwrap_or_default();
    let mut lines = text.lines().map(str::trim);
    let is_ours = lines.next().and_then(|line| line.parse().ok()) == id;
    is_ours && lines.nth(6) == Some("ready")
}

/// Removes the pid file of a killed server when its number now belongs to another program:
/// PostgreSQL would take that one for itself and refuse to start.
fn remove_stale_pid_file(cluster: &Path) -> Result<()> {
    let path = cluster.join("postmaster.pid");
    let Ok(text) = fs::read_to_string(&path) else {
        return Ok(());
    };
    let id = text.lines().next().and_then(|line| line.trim().parse().ok());
    if id.is_some_and(|id| is_alive(id) && !command_line(id).contains("postgres")) {
        fs::remove_file(&path).with_context(|| format!("removing {}", path.display()))?;
    }
    Ok(())
}
