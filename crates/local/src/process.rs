//! One child process that ends when its parent does, even by `kill -9`.
//!
//! The program is started through [`WATCH`], a few lines of `sh` that work on every Unix: a
//! watcher holds a pipe from this process, and the pipe's end means that this process is gone.
//! `PR_SET_PDEATHSIG` is not used: it fires when the spawning *thread* ends, is cleared by
//! `setuid`, and exists on Linux only.
//!
//! What the program is, and when it is ready, its caller knows: [`crate::Postgres`] and
//! [`crate::Kafka`].

use std::{
    ffi::OsString,
    fs,
    io::{PipeWriter, Write},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, anyhow};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use tokio::{
    process::{Child, Command},
    time::{Instant, sleep, timeout},
};

use crate::{Obstacle, folder::Folder, user::User};

const WATCH: &str = include_str!("watch.sh");

/// How long a program may take to end when asked, before it is killed.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long a program may take to start: a log that was left open is read again first.
const START: Duration = Duration::from_secs(120);

/// What to run, and how to end it.
pub(crate) struct Program<'a> {
    pub(crate) name: &'static str,
    pub(crate) path: &'a Path,
    pub(crate) args: Vec<OsString>,
    pub(crate) envs: Vec<(&'static str, OsString)>,
    /// `None` runs it as the user of this process.
    pub(crate) user: Option<User>,
    /// The signal that asks it to end in good order.
    pub(crate) stop: Signal,
}

/// A running program.
#[derive(Debug)]
pub(crate) struct Process {
    name: &'static str,
    child: Child,
    /// The pipe to the watcher: dropping it stops the program.
    leash: PipeWriter,
    stop: Signal,
    log: PathBuf,
}

impl Process {
    /// Starts `program` with its log, its lock and its working directory in `folder`.
    pub(crate) fn spawn(program: Program<'_>, folder: &Folder) -> Result<Self> {
        let name = program.name;
        // Its comments are for readers of the source, not of `ps`.
        let is_code = |line: &&str| !line.trim_start().starts_with('#');
        let script: Vec<&str> = WATCH.lines().filter(is_code).collect();
        let script = script.join("\n");
        let spawn = || -> std::io::Result<(Child, PipeWriter, PathBuf)> {
            let (reader, leash) = std::io::pipe()?;
            let log = folder.new_log()?;
            let mut command = std::process::Command::new("/bin/sh");
            command
                .args(["-c", &script, "watch"])
                .arg(stop_name(program.stop))
                .arg((PATIENCE.as_millis() / 100).to_string())
                .arg(program.path)
                .args(program.args)
                .envs(program.envs)
                .current_dir("/")
                .stdin(reader)
                .stdout(folder.lock_handle()?)
                .stderr(log.file)
                // Ctrl-C in a terminal goes to the foreground group; the order in which things
                // end is this process's business.
                .process_group(0);
            if let Some(user) = program.user {
                command.uid(user.uid).gid(user.gid);
            }
            let child = Command::from(command).spawn()?;
            Ok((child, leash, log.path))
        };
        let (child, leash, log) = spawn().with_context(|| format!("starting {name}"))?;
        let process = Self { name, child, leash, stop: program.stop, log };
        if let Some(id) = process.id() {
            folder.remember(id)?;
        }
        Ok(process)
    }

    /// The process id, until the program has ended.
    pub(crate) fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Waits until `is_ready` says so; a program that ends before is an error that shows its log.
    pub(crate) async fn ready(&mut self, mut is_ready: impl AsyncFnMut() -> bool) -> Result<()> {
        let deadline = Instant::now() + START;
        while !is_ready().await {
            tokio::select! {
                ended = self.ended() => return Err(ended),
                () = sleep(Duration::from_millis(10)) => {}
            }
            if Instant::now() > deadline {
                return Err(anyhow!(
                    "{} is not ready after {} s; its log {} ends with:\n{}",
                    self.name,
                    START.as_secs(),
                    self.log.display(),
                    last_lines(&self.log)
                ));
            }
        }
        Ok(())
    }

    /// Waits for an end nobody asked for, and tells it in a sentence.
    pub(crate) async fn ended(&mut self) -> anyhow::Error {
        let how = match self.wait().await {
            Ok(status) => status.to_string(),
            Err(error) => error.to_string(),
        };
        let lines = last_lines(&self.log);
        if lines.contains("No space left on device") {
            return anyhow!(Obstacle(format!(
                "{} has ended because the disk is full: free some space, or choose another folder \
                 with --data-dir; its log {} ends with:\n{lines}",
                self.name,
                self.log.display()
            )));
        }
        anyhow!(
            "{} has ended ({how}); its log {} ends with:\n{lines}",
            self.name,
            self.log.display()
        )
    }

    /// Ends the program in good order, or by force when it does not listen.
    pub(crate) async fn stop(mut self) -> Result<()> {
        self.signal(self.stop);
        if timeout(PATIENCE, self.wait()).await.is_err() {
            tracing::warn!("{} did not stop within {PATIENCE:?} and is killed", self.name);
            self.signal(Signal::KILL);
        }
        self.wait().await.with_context(|| format!("waiting for the end of {}", self.name))?;
        Ok(())
    }

    /// Ends the program at once with `signal`.
    pub(crate) async fn kill(mut self, signal: Signal) -> Result<()> {
        self.signal(signal);
        self.wait().await.with_context(|| format!("waiting for the end of {}", self.name))?;
        Ok(())
    }

    fn signal(&self, signal: Signal) {
        if let Some(pid) = self.id().and_then(pid) {
            // It can only fail because the program has ended, and that is what a signal is for.
            let _ = kill_process(pid, signal);
        }
    }

    async fn wait(&mut self) -> std::io::Result<ExitStatus> {
        let status = self.child.wait().await?;
        // The watcher must not signal a number that may soon be somebody else's. It may have
        // gone already, then nobody reads this.
        let _ = writeln!(self.leash, "ended");
        Ok(status)
    }
}

/// Ends what an earlier run has left behind, when its watcher was killed with it.
///
/// `mark` is a path that stands in the command line of our program and of nobody else's, for
/// process ids are used again.
pub(crate) async fn end_orphan(id: u32, mark: &Path, stop: Signal) {
    let Some(pid) = pid(id).filter(|_| command_line(id).contains(&*mark.to_string_lossy())) else {
        return;
    };
    tracing::warn!("process {id} of an earlier run is still there and is stopped");
    let deadline = Instant::now() + PATIENCE;
    let _ = kill_process(pid, stop);
    while !command_line(id).is_empty() {
        if Instant::now() > deadline {
            let _ = kill_process(pid, Signal::KILL);
            break;
        }
        sleep(Duration::from_millis(20)).await;
    }
}

/// Whether a process with this id exists.
pub(crate) fn is_alive(id: u32) -> bool {
    // Any answer but "no such process" comes from one that exists.
    pid(id).is_some_and(|pid| test_kill_process(pid) != Err(rustix::io::Errno::SRCH))
}

/// The command line of a process, empty when there is none or it only waits to be buried.
pub(crate) fn command_line(id: u32) -> String {
    if let Ok(line) = fs::read(format!("/proc/{id}/cmdline")) {
        return String::from_utf8_lossy(&line).replace('\0', " ");
    }
    std::process::Command::new("ps")
        .args(["-o", "args=", "-p", &id.to_string()])
        .stderr(Stdio::null())
        .output()
        .map(|ps| String::from_utf8_lossy(&ps.stdout).into_owned())
        .unwrap_or_default()
}

fn pid(id: u32) -> Option<Pid> {
    i32::try_from(id).ok().and_then(Pid::from_raw)
}

fn stop_name(signal: Signal) -> &'static str {
    if signal == Signal::INT { "INT" } else { "TERM" }
}

fn last_lines(log: &Path) -> String {
    let text = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text[text.len().saturating_sub(4096)..]);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(12)..].join("\n")
}
