//! The real PostgreSQL as a child process.
//!
//! It is durable: `fsync` and `synchronous_commit` are on. It accepts every connection without a
//! password, and listens on 127.0.0.1 only. This is right for the machine of one user and for
//! tests, but not for a shared machine: there, set `DATABASE_URL` to a server with passwords.

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
    process::{Program, ServerProcess, stop_orphan},
    process_id::{command_line, is_alive},
    programs,
    user::{User, become_user},
};

const NAME: &str = "PostgreSQL";

/// The longest path of a Unix socket on the strictest of the systems.
const MAX_SOCKET_PATH_BYTES: usize = 103;

/// The folder and the port of a PostgreSQL.
#[derive(Debug, Clone)]
pub struct PostgresOptions {
    /// The folder of its data and log, for this server alone.
    pub data_dir: PathBuf,
    /// The port on 127.0.0.1; 0 takes a free one.
    pub port: u16,
}

/// A PostgreSQL. Dropping it also stops the process, but does not wait for its end.
#[derive(Debug)]
pub struct Postgres {
    folder: Folder,
    bin: PathBuf,
    cluster: PathBuf,
    user: Option<User>,
    port: u16,
    /// Settings after those of every server.
    more_settings: Vec<String>,
    process: ServerProcess,
}

impl Postgres {
    /// Starts PostgreSQL, on a new cluster if the folder has none, and waits until it answers.
    pub async fn start(options: &PostgresOptions, progress: Progress<'_>) -> Result<Self> {
        // The lock comes first: from here on no other process changes this folder.
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
        // A server of an earlier run may still hold the port, and PostgreSQL does not start beside
        // it. It is stopped before the pid file is checked, because it removes that file when it
        // ends.
        stop_orphan(&folder, &cluster, Signal::INT).await;
        remove_stale_pid_file(&cluster)?;
        let port = port::claim(options.port, NAME, "--postgres-port")?;
        let mut postgres = Self {
            folder,
            bin,
            cluster,
            user,
            port,
            more_settings: Vec::new(),
            process: ServerProcess::default(),
        };
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

    /// Stops it with a fast shutdown: it ends its sessions and writes a checkpoint.
    pub async fn stop(&mut self) -> Result<()> {
        self.process.stop().await
    }

    /// Ends it at once, as a crash does; the next start recovers its data.
    pub async fn kill(&mut self) -> Result<()> {
        // SIGQUIT also ends the processes of its sessions. After SIGKILL they run on for a moment,
        // and PostgreSQL does not start while they use the shared memory.
        self.process.kill(Signal::QUIT).await
    }

    /// Stops it if it runs, and starts it again on the same port and data.
    pub async fn restart(&mut self) -> Result<()> {
        self.stop().await?;
        self.run().await
    }

    /// Restarts it with further settings, for a test: a setting replaces an earlier one.
    pub async fn restart_with(&mut self, settings: Vec<String>) -> Result<()> {
        self.more_settings = settings;
        self.restart().await
    }

    /// The folder of its data, which belongs to the user that it runs as.
    #[must_use]
    pub fn cluster(&self) -> &Path {
        &self.cluster
    }

    /// The folder of its programs.
    #[must_use]
    pub fn bin(&self) -> &Path {
        &self.bin
    }

    /// The id of its main process, while it runs.
    #[must_use]
    pub fn process_id(&self) -> Option<u32> {
        self.process.id()
    }

    /// Waits until it ends unexpectedly, and describes the end in a sentence.
    pub async fn died(&mut self) -> anyhow::Error {
        self.process.died().await
    }

    async fn run(&mut self) -> Result<()> {
        let mut args = vec!["-D".into(), self.cluster.clone().into_os_string()];
        for setting in self.settings().await.into_iter().chain(self.more_settings.iter().cloned()) {
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
        self.process.start(program, &self.folder, async |id| is_ready(&self.cluster, id)).await
    }

    /// Returns all settings. They are given at every start, so that an older folder gets them too.
    async fn settings(&self) -> Vec<String> {
        let compression = if self.accepts("wal_compression=lz4").await { "lz4" } else { "on" };
        vec![
            format!("port={}", self.port),
            "listen_addresses=127.0.0.1".into(),
            format!("unix_socket_directories={}", socket_folder(&self.cluster, self.port)),
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

    /// Returns whether this build of PostgreSQL accepts a setting: lz4 is optional.
    async fn accepts(&self, setting: &str) -> bool {
        let mut postgres = Command::new(self.bin.join("postgres"));
        postgres.args(["-C", "wal_compression", "-c", setting, "-D"]).arg(&self.cluster);
        become_user(&mut postgres, self.user);
        let probe = postgres.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        probe.status().await.is_ok_and(|status| status.success())
    }
}

/// Returns the folder of the Unix socket, as an element of PostgreSQL's list: in quotes, because it
/// may contain a comma. The list is empty if the path is too long, or is not text.
fn socket_folder(cluster: &Path, port: u16) -> String {
    match cluster.to_str() {
        Some(folder)
            if folder.len() + format!("/.s.PGSQL.{port}").len() <= MAX_SOCKET_PATH_BYTES =>
        {
            format!("\"{}\"", folder.replace('"', "\"\""))
        }
        _ => String::new(),
    }
}

/// Reads PostgreSQL's state from its pid file: the first line is the process id, the eighth is
/// `ready` when it accepts connections.
fn is_ready(cluster: &Path, id: Option<u32>) -> bool {
    // It also contains the path of the cluster, which need not be UTF-8.
    let text = fs::read(cluster.join("postmaster.pid")).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let mut lines = text.lines().map(str::trim);
    let is_ours = lines.next().and_then(|line| line.parse().ok()) == id;
    is_ours && lines.nth(6) == Some("ready")
}

/// Removes the pid file of a killed server if its id now belongs to another program: PostgreSQL
/// would mistake that program for a running server and refuse to start.
fn remove_stale_pid_file(cluster: &Path) -> Result<()> {
    let path = cluster.join("postmaster.pid");
    let Ok(text) = fs::read(&path) else {
        return Ok(());
    };
    let text = String::from_utf8_lossy(&text);
    let id = text.lines().next().and_then(|line| line.trim().parse().ok());
    if id.is_some_and(|id| is_alive(id) && !command_line(id).contains("postgres")) {
        fs::remove_file(&path).with_context(|| format!("removing {}", path.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_folder_is_quoted_and_counted_in_bytes() {
        assert_eq!(socket_folder(Path::new("/a, \"b\""), 15432), "\"/a, \"\"b\"\"\"");
        let longest =
            format!("/{}", "x".repeat(MAX_SOCKET_PATH_BYTES - 1 - "/.s.PGSQL.15432".len()));
        assert_eq!(socket_folder(Path::new(&longest), 15432), format!("\"{longest}\""));
        assert_eq!(socket_folder(Path::new(&longest.replacen('x', "я", 1)), 15432), "");
    }
}
