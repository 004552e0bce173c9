//! `waybill up` as a child process.

use std::{
    process::Stdio,
    time::{Duration, Instant},
};

use rustix::process::Signal;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
    time::timeout,
};

use super::Scratch;

/// The program after it has printed its banner.
pub(crate) struct Up {
    pub child: Child,
    pub banner: String,
    /// The time from its start to its banner.
    pub took: Duration,
}

impl Up {
    /// Starts it with further flags and variables, and waits for its banner.
    pub(crate) async fn start(folder: &Scratch, more: &[&str], variables: &[(&str, &str)]) -> Self {
        let begun = Instant::now();
        let mut child = up_command(folder, more)
            .envs(variables.iter().copied())
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(folder.0.join("log")).unwrap())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut banner = String::new();
        let reading = async {
            while !banner.contains("Ctrl-C stops everything") {
                banner.push_str(
                    &lines.next_line().await.unwrap().expect("the output contains the banner"),
                );
                banner.push('\n');
            }
        };
        timeout(Duration::from_secs(60), reading).await.expect("it prints its banner in time");
        // This closes the pipe: the program must continue without a reader of its output.
        Self { child, banner, took: begun.elapsed() }
    }

    /// Returns the rest of the banner's line that begins with `word`.
    pub(crate) fn banner_line(&self, word: &str) -> &str {
        let line = self.banner.lines().find_map(|line| line.trim().strip_prefix(word));
        line.unwrap_or_else(|| panic!("no {word} in {}", self.banner)).trim()
    }

    /// Requests a path of the order service and returns the status and the text of the answer.
    pub(crate) async fn get(&self, path: &str, accept: &str) -> (u16, String) {
        let request = reqwest::Client::new().get(format!("{}{path}", self.banner_line("orders")));
        let answer = request.header("accept", accept).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    pub(crate) fn signal(&self, signal: Signal) {
        super::signal(&self.child, signal);
    }

    /// Sends SIGINT and waits until it has ended.
    pub(crate) async fn interrupt(mut self) {
        self.signal(Signal::INT);
        self.child.wait().await.unwrap();
    }
}

/// Returns the command `waybill up` with these flags. It starts its own servers, on free ports
/// unless the flags name others.
pub(crate) fn up_command(folder: &Scratch, more: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_waybill"));
    command.arg("up").arg("--data-dir").arg(folder.0.join("data")).args(more);
    for (flag, value) in [
        ("--postgres-port", "0"),
        ("--kafka-port", "0"),
        ("--orders-http-addr", "127.0.0.1:0"),
        ("--couriers-http-addr", "127.0.0.1:0"),
    ] {
        if !more.contains(&flag) {
            command.args([flag, value]);
        }
    }
    for variable in ["DATABASE_URL", "ORDERS_DATABASE_URL", "POSTGRES_HOST", "KAFKA_BROKERS"] {
        command.env_remove(variable);
    }
    command.current_dir(&folder.0).stdin(Stdio::null()).kill_on_drop(true);
    command
}
