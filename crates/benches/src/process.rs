//! What the system tells of a process. Linux only.

use std::{path::Path, time::Duration};

use anyhow::Context;

/// How long all threads of a process have computed, in user and kernel mode.
pub fn computed(id: u32) -> anyhow::Result<Duration> {
    let threads = std::fs::read_dir(format!("/proc/{id}/task"))?;
    threads.map(|thread| computed_by(&thread?.path())).sum()
}

/// The same of the thread that asks.
pub fn computed_by_this_thread() -> anyhow::Result<Duration> {
    computed_by(Path::new("/proc/thread-self"))
}

fn computed_by(thread: &Path) -> anyhow::Result<Duration> {
    let times = std::fs::read_to_string(thread.join("schedstat"))?;
    let nanoseconds = times.split(' ').next().context("schedstat starts with the time computed")?;
    Ok(Duration::from_nanos(nanoseconds.parse()?))
}

/// The most bytes that a process has had in memory at once.
pub fn peak_resident(id: u32) -> anyhow::Result<f64> {
    of_status(id, "VmHWM:")
}

/// The bytes that a process has in memory.
pub fn resident(id: u32) -> anyhow::Result<f64> {
    of_status(id, "VmRSS:")
}

fn of_status(id: u32, name: &str) -> anyhow::Result<f64> {
    let file = format!("/proc/{id}/status");
    let status = std::fs::read_to_string(&file)
        .with_context(|| format!("reading {file}: this bench needs Linux"))?;
    let kibibytes: f64 = status
        .lines()
        .find_map(|line| line.strip_prefix(name))
        .and_then(|line| line.trim().strip_suffix("kB"))
        .and_then(|number| number.trim().parse().ok())
        .with_context(|| format!("{file} tells no {name}"))?;
    Ok(kibibytes * 1024.0)
}
