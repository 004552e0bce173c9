//! The real program, as a service that runs and as a command that ends.

use std::{
    net::{SocketAddr, TcpListener},
    os::unix::process::ExitStatusExt as _,
    path::{Path, PathBuf},
    process::{ExitStatus, Output, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use testkit::{CourierDatabase, TestEnvironment, wait_until};
use tokio::{
    io::AsyncWriteExt as _,
    process::{Child, Command},
    time::timeout,
};

const EXIT_TIMEOUT: Duration = Duration::from_secs(60);

/// A folder that is removed after the test. Like the folders of many people, it has a space and
/// letters that are not ASCII in its name.
pub(crate) struct Scratch(pub PathBuf);

impl Scratch {
    pub(crate) fn new() -> Self {
        Self::with_ending(" Рабочий стол")
    }

    /// Creates a folder whose name needs no quotes, for files that the configuration of another
    /// program names.
    pub(crate) fn with_plain_name() -> Self {
        Self::with_ending("")
    }

    fn with_ending(ending: &str) -> Self {
        let (process, number) = (std::process::id(), rand::random::<u32>());
        let name = format!("waybill-it-{process}-{number:08x}{ending}");
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Runs the program to its end with flags and variables, in a folder without a `.env`.
pub(crate) async fn waybill(flags: &[&str], variables: &[(&str, &str)]) -> Output {
    let folder = Scratch::new();
    let mut command = command_in(&folder, flags, variables);
    let output = command.stdin(Stdio::null()).output();
    timeout(EXIT_TIMEOUT, output).await.expect("it ends by itself").unwrap()
}

/// Runs the program to its end in a folder of the test, with something on standard input.
pub(crate) async fn waybill_in(
    folder: &Scratch,
    flags: &[&str],
    variables: &[(&str, &str)],
    input: &[u8],
) -> Output {
    let mut command = command_in(folder, flags, variables);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // The write fails if the program ends without reading its input.
    let _ = stdin.write_all(input).await;
    drop(stdin);
    timeout(EXIT_TIMEOUT, child.wait_with_output()).await.expect("it ends by itself").unwrap()
}

fn command_in(folder: &Scratch, flags: &[&str], variables: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_waybill"));
    command.args(flags).current_dir(&folder.0).env_clear().envs(variables.iter().copied());
    command.kill_on_drop(true);
    command
}

fn order_flags(env: &TestEnvironment, more: &[&str]) -> Vec<String> {
    env.flags().into_iter().chain(more.iter().map(|flag| (*flag).to_owned())).collect()
}

pub(crate) fn signal(child: &Child, signal: Signal) {
    let id = Pid::from_raw(child.id().unwrap().cast_signed()).unwrap();
    kill_process(id, signal).unwrap();
}

/// The real program in the role of a service. Dropping it kills it.
pub(crate) struct Program {
    child: Child,
    url: String,
}

impl Program {
    /// Starts the order service; `failpoints` gives the points at which it fails.
    pub(crate) fn start(env: &TestEnvironment, failpoints: Option<&str>) -> Self {
        Self::start_role("orders", env.flags(), failpoints)
    }

    /// Starts the order service with further flags.
    pub(crate) fn start_with(env: &TestEnvironment, more: &[&str]) -> Self {
        Self::start_role("orders", order_flags(env, more), None)
    }

    /// Starts the order service with further flags; `failpoints` gives the points at which it fails.
    pub(crate) fn start_with_failpoints(
        env: &TestEnvironment,
        more: &[&str],
        failpoints: &str,
    ) -> Self {
        Self::start_role("orders", order_flags(env, more), Some(failpoints))
    }

    /// Starts the courier service with further flags; `failpoints` gives the points at which it
    /// fails.
    pub(crate) fn start_couriers(
        env: &TestEnvironment,
        database: &CourierDatabase,
        more: &[&str],
        failpoints: Option<&str>,
    ) -> Self {
        let mut flags = env.courier_flags(database);
        flags.extend(more.iter().map(|flag| (*flag).to_owned()));
        Self::start_role("couriers", flags, failpoints)
    }

    fn start_role(role: &str, mut flags: Vec<String>, failpoints: Option<&str>) -> Self {
        let address_flag = format!("--{role}-http-addr");
        let position = flags.iter().position(|flag| *flag == address_flag).unwrap();
        flags.drain(position..position + 2);
        Self::spawn(role, |command| {
            command.args(flags);
            match failpoints {
                Some(actions) => command.env("WAYBILL_FAILPOINTS", actions),
                None => command.env_remove("WAYBILL_FAILPOINTS"),
            };
        })
    }

    /// Starts a role with these flags, and with its log in a file.
    pub(crate) fn start_with_log(role: &str, flags: &[(&str, &str)], log: &Path) -> Self {
        let log = std::fs::File::create(log).unwrap();
        Self::spawn(role, |command| {
            command.args(flags.iter().flat_map(|(flag, value)| [flag, value]));
            command.env_remove("RUST_LOG").stderr(log);
        })
    }

    /// Starts the order service with these variables alone, in this folder.
    pub(crate) fn start_in(folder: &Scratch, variables: &[(&str, &str)]) -> Self {
        Self::spawn("orders", |command| {
            command.current_dir(&folder.0).env_clear().envs(variables.iter().copied());
        })
    }

    /// Starts the order service with these variables alone, in this folder, with its log in a file.
    pub(crate) fn start_in_with_log(
        folder: &Scratch,
        variables: &[(&str, &str)],
        log: &Path,
    ) -> Self {
        let log = std::fs::File::create(log).unwrap();
        Self::spawn("orders", |command| {
            command.current_dir(&folder.0).env_clear().envs(variables.iter().copied()).stderr(log);
        })
    }

    fn spawn(role: &str, configure: impl FnOnce(&mut Command)) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let address = format!("127.0.0.1:{port}");
        let mut command = Command::new(env!("CARGO_BIN_EXE_waybill"));
        command.args([role, &format!("--{role}-http-addr"), &address]).kill_on_drop(true);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        configure(&mut command);
        Self { child: command.spawn().unwrap(), url: format!("http://{address}") }
    }

    /// Returns the base of its addresses, without a slash at the end.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.url.trim_start_matches("http://").parse().unwrap()
    }

    /// Reads one number of `/metrics`; 0 if there is none of this name.
    pub(crate) async fn metric(&self, name: &str) -> f64 {
        let answer = reqwest::get(format!("{}/metrics", self.url)).await.expect("it answers");
        let text = answer.text().await.expect("the answer is complete");
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
        line.map_or(0.0, |number| number.parse().unwrap())
    }

    /// Returns the status of an answer to GET.
    pub(crate) async fn status(&self, path: &str) -> u16 {
        let answer = reqwest::get(format!("{}{path}", self.url)).await;
        answer.expect("it answers").status().as_u16()
    }

    /// Returns whether it answers and reports that it is ready.
    pub(crate) async fn is_ready(&self) -> bool {
        let answer = reqwest::get(format!("{}/readyz", self.url)).await;
        answer.is_ok_and(|answer| answer.status().is_success())
    }

    pub(crate) async fn wait_until_ready(&self) {
        wait_until("the program to be ready", async || self.is_ready().await).await;
    }

    pub(crate) async fn kill(mut self) {
        self.child.start_kill().unwrap();
        self.assert_killed().await;
    }

    /// Waits until it ends, and asserts that SIGKILL ended it.
    pub(crate) async fn assert_killed(mut self) {
        let status = self.exit_status().await;
        assert_eq!(status.signal(), Some(Signal::KILL.as_raw()), "{status}");
    }

    /// Sends SIGTERM and waits for the exit status.
    pub(crate) async fn terminate(mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.exit_status().await
    }

    pub(crate) fn signal(&self, signal: Signal) {
        self::signal(&self.child, signal);
    }

    /// Returns the largest resident size that the process has had, in bytes.
    pub(crate) fn peak_memory(&self) -> u64 {
        let path = format!("/proc/{}/status", self.child.id().unwrap());
        let status = std::fs::read_to_string(path).unwrap();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        let kilobytes = peak.trim().strip_suffix(" kB").unwrap();
        kilobytes.parse::<u64>().unwrap() * 1_024
    }

    async fn exit_status(&mut self) -> ExitStatus {
        timeout(EXIT_TIMEOUT, self.child.wait()).await.expect("it ends").unwrap()
    }
}
