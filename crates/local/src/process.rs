//! The child process of a server. It ends when its parent ends, even if the parent is killed.
//!
//! The program is started through [`WATCH_SCRIPT`], a few lines of `sh` that work on every Unix: a
//! watcher reads from a pipe that this process holds open, and the end of the pipe means that this
//! process has ended. `PR_SET_PDEATHSIG` is not used: it fires when the spawning *thread* ends, is
//! cleared by `setuid`, and exists on Linux only.
//!
//! The program, its arguments and its readiness check come from [`crate::Postgres`] and
//! [`crate::Kafka`].

use std::{
    ffi::OsString,
    fs,
    io::{PipeWriter, Write},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::ExitStatus,
    time::Duration,
};

use anyhow::{Context, Result, anyhow};
use rustix::process::Signal;
use tokio::{
    process::{Child, Command},
    time::{Instant, sleep, timeout},
};

use crate::{
    Obstacle,
    folder::Folder,
    process_id::{command_line, send_signal},
    user::User,
};

const WATCH_SCRIPT: &str = include_str!("watch.sh");

/// Bounds an orderly stop; after it the program is killed.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// Bounds a start, which includes reading a log again that a crash has left open.
const START_TIMEOUT: Duration = Duration::from_secs(120);

/// A program to run, and the signal that stops it.
pub(crate) struct Program<'a> {
    pub(crate) name: &'static str,
    pub(crate) path: &'a Path,
    pub(crate) args: Vec<OsString>,
    pub(crate) envs: Vec<(&'static str, OsString)>,
    /// `None` runs it as the user of this process.
    pub(crate) user: Option<User>,
    /// The signal for an orderly stop.
    pub(crate) stop: Signal,
}

/// The process of a server; none while the server is stopped.
#[derive(Debug, Default)]
pub(crate) struct ServerProcess(Option<Process>);

impl ServerProcess {
    /// Starts `program` with its log, its lock and its working directory in `folder`, and waits
    /// until `is_ready` returns true for its process id.
    pub(crate) async fn start(
        &mut self,
        program: Program<'_>,
        folder: &Folder,
        is_ready: impl AsyncFnMut(Option<u32>) -> bool,
    ) -> Result<()> {
        let name = program.name;
        let mut process =
            Process::spawn(program, folder).with_context(|| format!("starting {name}"))?;
        // The id is written before the wait, so that the next run can stop the program even if this
        // process and the watcher are killed during the start. After an error below, `process` is
        // dropped, and its watcher stops the program.
        if let Some(id) = process.child.id() {
            folder.write_process_id(id)?;
        }
        process.wait_until(is_ready).await?;
        self.0 = Some(process);
        Ok(())
    }

    /// Stops the program with its signal for an orderly stop, or kills it after [`STOP_TIMEOUT`].
    pub(crate) async fn stop(&mut self) -> Result<()> {
        let Some(mut process) = self.0.take() else { return Ok(()) };
        process.signal(process.stop);
        if timeout(STOP_TIMEOUT, process.wait()).await.is_err() {
            let name = process.name;
            tracing::warn!("{name} did not stop within {STOP_TIMEOUT:?} and is killed");
            process.signal(Signal::KILL);
        }
        process.wait_for_end().await
    }

    /// Ends the program at once with `signal`.
    pub(crate) async fn kill(&mut self, signal: Signal) -> Result<()> {
        let Some(mut process) = self.0.take() else { return Ok(()) };
        process.signal(signal);
        process.wait_for_end().await
    }

    /// The id of the program, while it runs.
    pub(crate) fn id(&self) -> Option<u32> {
        self.0.as_ref().and_then(|process| process.child.id())
    }

    /// Waits for an unexpected end and describes it; never returns while the server is stopped.
    pub(crate) async fn died(&mut self) -> anyhow::Error {
        match &mut self.0 {
            Some(process) => process.unexpected_end().await,
            None => std::future::pending().await,
        }
    }
}

#[derive(Debug)]
struct Process {
    name: &'static str,
    child: Child,
    /// Dropping the pipe makes the watcher stop the program.
    watcher: PipeWriter,
    stop: Signal,
    log: PathBuf,
}

impl Process {
    fn spawn(program: Program<'_>, folder: &Folder) -> std::io::Result<Self> {
        // Without its comments, the script is short in the output of `ps`.
        let is_code = |line: &&str| !line.trim_start().starts_with('#');
        let script: Vec<&str> = WATCH_SCRIPT.lines().filter(is_code).collect();
        let (reader, watcher) = std::io::pipe()?;
        let log = folder.new_log()?;
        let mut command = std::process::Command::new("/bin/sh");
        command
            .args(["-c", &script.join("\n"), "watch"])
            .arg(if program.stop == Signal::INT { "INT" } else { "TERM" })
            .arg((STOP_TIMEOUT.as_millis() / 100).to_string())
            .arg(program.path)
            .args(program.args)
            .envs(program.envs)
            .current_dir("/")
            // The reading end of the pipe, for the watcher. The writing end stays in this process,
            // so the watcher reads the end of the pipe when this process ends.
            .stdin(reader)
            // Standard output carries the lock: the watcher keeps it open until the program ends.
            .stdout(folder.lock_handle()?)
            .stderr(log.file)
            // Ctrl-C in a terminal goes to the foreground process group. The program is not in it,
            // because this process decides the order in which programs stop.
            .process_group(0);
        if let Some(user) = program.user {
            command.uid(user.uid).gid(user.gid);
        }
        let child = Command::from(command).spawn()?;
        Ok(Self { name: program.name, child, watcher, stop: program.stop, log: log.path })
    }

    /// Waits until `is_ready` returns true; an end before that is an error that shows the log.
    async fn wait_until(
        &mut self,
        mut is_ready: impl AsyncFnMut(Option<u32>) -> bool,
    ) -> Result<()> {
        let id = self.child.id();
        let deadline = Instant::now() + START_TIMEOUT;
        while !is_ready(id).await {
            // Dropping `unexpected_end` at a tick loses nothing: the exit status stays with the
            // child.
            tokio::select! {
                ended = self.unexpected_end() => return Err(ended),
                () = sleep(Duration::from_millis(10)) => {}
            }
            if Instant::now() > deadline {
                return Err(anyhow!(
                    "{} is not ready after {} s; its log {} ends with:\n{}",
                    self.name,
                    START_TIMEOUT.as_secs(),
                    self.log.display(),
                    last_lines(&self.log)
                ));
            }
        }
        Ok(())
    }

    async fn unexpected_end(&mut self) -> anyhow::Error {
        let how = match self.wait().await {
            Ok(status) => status.to_string(),
            Err(error) => error.to_string(),
        };
        let (name, log, lines) = (self.name, self.log.display(), last_lines(&self.log));
        if lines.contains("No space left on device") {
            return anyhow!(Obstacle(format!(
                "{name} has ended because the disk is full: free some space, or choose another \
                 folder with --data-dir; its log {log} ends with:\n{lines}"
            )));
        }
        anyhow!("{name} has ended ({how}); its log {log} ends with:\n{lines}")
    }

    fn signal(&self, signal: Signal) {
        // The child has an id until `wait` has returned its status. Until then the system does not
        // give the id to another process.
        if let Some(id) = self.child.id() {
            send_signal(id, signal);
        }
    }

    async fn wait_for_end(&mut self) -> Result<()> {
        self.wait().await.with_context(|| format!("waiting for the end of {}", self.name))?;
        Ok(())
    }

    async fn wait(&mut self) -> std::io::Result<ExitStatus> {
        let status = self.child.wait().await?;
        // The line ends the watcher, which must not send a signal to an id that may soon belong to
        // another process. The write fails if the watcher has ended already.
        let _ = writeln!(self.watcher, "ended");
        Ok(status)
    }
}

/// Stops the program that an earlier run has left in `folder`, if its watcher was killed as well.
/// The caller has the lock on the folder.
///
/// `mark` is a path that only this program has in its command line, because the id may now belong
/// to another process.
pub(crate) async fn stop_orphan(folder: &Folder, mark: &Path, stop: Signal) {
    let is_ours = |id: &u32| command_line(*id).contains(&*mark.to_string_lossy());
    let Some(id) = folder.read_process_id().filter(is_ours) else { return };
    tracing::warn!("process {id} of an earlier run is still there and is stopped");
    let deadline = Instant::now() + STOP_TIMEOUT;
    send_signal(id, stop);
    while !command_line(id).is_empty() {
        if Instant::now() > deadline {
            send_signal(id, Signal::KILL);
            break;
        }
        sleep(Duration::from_millis(20)).await;
    }
}

fn last_lines(log: &Path) -> String {
    let text = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text[text.len().saturating_sub(4096)..]);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(12)..].join("\n")
}
