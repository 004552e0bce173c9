//! CPU time and memory of a process, and CPU time of the machine. Linux only.

use std::{path::Path, time::Duration};

use anyhow::{Context, bail};

/// Returns the CPU time of all threads of a process, in user and kernel mode.
pub(crate) fn cpu_time(id: u32) -> anyhow::Result<Duration> {
    let threads = std::fs::read_dir(format!("/proc/{id}/task"))?;
    threads.map(|thread| cpu_time_of(&thread?.path())).sum()
}

/// Returns the CPU time of the calling thread.
pub(crate) fn cpu_time_of_this_thread() -> anyhow::Result<Duration> {
    cpu_time_of(Path::new("/proc/thread-self"))
}

/// Returns the time that all cores have spent on any program and on the kernel, without the time that
/// other virtual machines took.
pub(crate) fn cpu_time_of_machine() -> anyhow::Result<Duration> {
    let statistics = std::fs::read_to_string("/proc/stat")?;
    let all = statistics.lines().next().context("/proc/stat begins with the sum of all cores")?;
    // user, nice, system, idle, iowait, irq, softirq, steal, …
    let ticks: Vec<u64> =
        all.split_whitespace().skip(1).map(str::parse).collect::<Result<_, _>>()?;
    let [user, nice, system, _, _, irq, softirq, ..] = ticks[..] else {
        bail!("/proc/stat has too few columns");
    };
    let ticks = user + nice + system + irq + softirq;
    Ok(Duration::from_secs_f64(ticks as f64 / rustix::param::clock_ticks_per_second() as f64))
}

fn cpu_time_of(thread: &Path) -> anyhow::Result<Duration> {
    let times = std::fs::read_to_string(thread.join("schedstat"))?;
    let nanoseconds = times.split(' ').next().context("schedstat begins with the CPU time")?;
    Ok(Duration::from_nanos(nanoseconds.parse()?))
}

/// Returns the peak of the resident memory, in bytes.
pub(crate) fn peak_resident(id: u32) -> anyhow::Result<f64> {
    of_status(id, "VmHWM:")
}

/// Returns the resident memory, in bytes.
pub(crate) fn resident(id: u32) -> anyhow::Result<f64> {
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
        .with_context(|| format!("{file} contains no {name}"))?;
    Ok(kibibytes * 1024.0)
}
