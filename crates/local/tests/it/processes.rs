//! Lists and kills processes.

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

/// The example `servers` as a parent that can be killed.
pub(crate) struct Parent {
    child: Child,
    pub url: String,
}

impl Parent {
    /// Starts it and waits until its servers are ready.
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let url =
            line.split_whitespace().next().expect("the servers print their addresses").to_owned();
        Self { child, url }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn kill_9(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

pub(crate) fn kill_9(id: u32) {
    let pid = Pid::from_raw(id.try_into().unwrap()).unwrap();
    kill_process(pid, Signal::KILL).unwrap();
}

/// Returns all processes whose command line names the folder, except this one.
pub(crate) fn processes_that_name(folder: &Path) -> Vec<u32> {
    let mut ps = Command::new("ps");
    // With another locale, it replaces the letters that are not ASCII.
    ps.args(["-A", "-ww", "-o", "pid=,args="]).env("LC_ALL", "C.UTF-8");
    let ps = ps.output().unwrap();
    assert!(ps.status.success());
    String::from_utf8_lossy(&ps.stdout)
        .lines()
        .filter(|line| line.contains(&*folder.to_string_lossy()))
        .map(|line| line.split_whitespace().next().unwrap().parse().unwrap())
        .filter(|id| *id != std::process::id())
        .collect()
}

pub(crate) fn wait_until_none_names(folder: &Path) {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let left = processes_that_name(folder);
        if left.is_empty() {
            return;
        }
        assert!(Instant::now() < deadline, "still running: {left:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}
