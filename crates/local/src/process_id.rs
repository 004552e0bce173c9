//! Checks of a process id, and signals to it.
//!
//! The system uses an id again after its process has ended: a caller that holds an id from an
//! earlier run compares the command line first.

use std::{fs, process::Stdio};

use rustix::{
    io::Errno,
    process::{Pid, Signal, kill_process, test_kill_process},
};

/// Returns whether a process with this id exists.
pub(crate) fn is_alive(id: u32) -> bool {
    // Every error except "no such process" means that the process exists.
    pid(id).is_some_and(|pid| test_kill_process(pid) != Err(Errno::SRCH))
}

/// Returns the command line of a process; it is empty for a zombie and if there is no process.
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

pub(crate) fn send_signal(id: u32, signal: Signal) {
    if let Some(pid) = pid(id) {
        // Fails only if the process has ended, which is the purpose of every signal here.
        let _ = kill_process(pid, signal);
    }
}

fn pid(id: u32) -> Option<Pid> {
    i32::try_from(id).ok().and_then(Pid::from_raw)
}
