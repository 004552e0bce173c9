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

/// The shell becomes the program and leaves a watcher beside it, which reads from a pipe that this
/// process holds open. The end of the pipe without a line means that this process has ended.
const WATCH_SCRIPT: &str = "\
exec 3<&0 </dev/null
( ( exec 2>/dev/null >&2; read -r _ <&3 && exit 0; kill -s KILL \"$$\" ) & )
exec \"$@\" 3<&-";

/// A running program.
#[derive(Debug)]
pub(crate) struct WatchedChild {
    child: Child,
    watcher: PipeWriter,
}

impl WatchedChild {
    /// Starts a program with its output appended to `log`, in a process group of its own.
    pub(crate) fn spawn<A: AsRef<OsStr>>(
        program: &Path,
        args: impl IntoIterator<Item = A>,
        variables: &[(String, String)],
        log: &Path,
    ) -> Result<Self> {
        let output = File::options()
            .create(true)
            .append(true)
            .open(log)
            .with_context(|| format!("opening {}", log.display()))?;
        let (reader, watcher) = std::io::pipe().context("creating a pipe")?;
        let mut command = std::process::Command::new("/bin/sh");
        command
            .args(["-c", WATCH_SCRIPT, "watch"])
            .arg(program)
            .args(args)
            .envs(variables.iter().map(|(name, value)| (name, value)))
            .stdin(reader)
            .stdout(output.try_clone().context("copying the handle of a log")?)
            .stderr(Stdio::from(output))
            // Ctrl-C goes to this process only, which decides what stops.
            .process_group(0);
        let child = Command::from(command)
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
