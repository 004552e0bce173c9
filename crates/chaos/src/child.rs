//! A child process that ends when this process ends, even if this process is killed.

use std::{
    ffi::OsStr,
    fs::File,
    io::{PipeWriter, Write as _},
    os::unix::process::CommandExt as _,
    path::Path,
    process::{ExitStatus, Stdio},
};

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};

/// The script that ends a program when its parent has ended; `crates/local` describes it.
const WATCH_SCRIPT: &str = include_str!("../../local/src/watch.sh");

/// A running program. Dropping it kills it.
#[derive(Debug)]
pub(crate) struct WatchedChild {
    child: Child,
    watcher: PipeWriter,
}

impl WatchedChild {
    /// Starts a program in a process group of its own, with all its output in `output`.
    pub(crate) fn spawn<A: AsRef<OsStr>, K: AsRef<OsStr>, V: AsRef<OsStr>>(
        program: &Path,
        args: impl IntoIterator<Item = A>,
        variables: impl IntoIterator<Item = (K, V)>,
        output: impl Into<Stdio>,
    ) -> Result<Self> {
        let (reader, watcher) = std::io::pipe().context("creating a pipe")?;
        let mut command = std::process::Command::new("/bin/sh");
        command
            .args(["-c", WATCH_SCRIPT, "watch", "KILL", "0"])
            .arg(program)
            .args(args)
            .envs(variables)
            .stdin(reader)
            .stdout(Stdio::null())
            .stderr(output)
            // Ctrl-C goes to this process only, which decides what stops.
            .process_group(0);
        let child = Command::from(command)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("starting {}", program.display()))?;
        Ok(Self { child, watcher })
    }

    /// The id of the process, until its end was seen.
    pub(crate) fn id(&self) -> Option<u32> {
        self.child.id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        if let Some(id) = self.id() {
            send_signal(id, signal);
        }
    }

    /// Returns the status if the process has ended.
    pub(crate) fn try_wait(&mut self) -> Result<Option<ExitStatus>> {
        self.child.try_wait().context("looking at a child process")
    }

    /// Kills the process and waits until it has ended.
    pub(crate) async fn kill(&mut self) -> Result<()> {
        self.child.start_kill().context("killing a child process")?;
        self.wait().await.map(drop)
    }

    pub(crate) async fn wait(&mut self) -> Result<ExitStatus> {
        let status = self.child.wait().await.context("waiting for a child process")?;
        // The line ends the watcher, which must not send a signal to an id that may soon belong to
        // another process. The write fails if the watcher has ended already.
        let _ = writeln!(self.watcher, "ended");
        Ok(status)
    }
}

pub(crate) fn send_signal(id: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(id).ok().and_then(Pid::from_raw) {
        // Fails only if the process has ended.
        let _ = kill_process(pid, signal);
    }
}

/// Opens a log, to which the output of a program is appended.
pub(crate) fn log_file(path: &Path) -> Result<File> {
    let file = File::options().create(true).append(true).open(path);
    file.with_context(|| format!("opening {}", path.display()))
}
