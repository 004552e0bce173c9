//! Faults of one replica, or of the membership of a group.

use std::{path::Path, time::Duration};

use anyhow::{Context, Result};
use rustix::process::Signal;
use tokio::time::{Instant, sleep};

use crate::{
    plan::Armed,
    system::{Replica, Role, System},
};

/// Bounds the wait for a replica that joins a group in a storm.
const JOIN_TIMEOUT: Duration = Duration::from_secs(30);

/// Bounds the wait for the end of a process at SIGTERM; the process itself stops in half the time.
const END_TIMEOUT: Duration = Duration::from_secs(40);

const POLL: Duration = Duration::from_millis(50);

pub(super) async fn kill(system: &System, number: usize) -> Result<String> {
    restart(system.replica(number)?, Signal::KILL, None).await
}

pub(super) async fn terminate(system: &System, number: usize) -> Result<String> {
    restart(system.replica(number)?, Signal::TERM, None).await
}

/// Freezes a process. Its group gives its partitions to others, and it continues as a zombie that
/// commits, publishes and answers.
pub(super) async fn freeze(system: &System, number: usize, hold: Duration) -> Result<String> {
    let replica = system.replica(number)?;
    // The same process continues: if it was killed while it was frozen, the next one runs anyway.
    let id = replica.id();
    replica.signal(Signal::STOP);
    sleep(hold).await;
    if replica.id() == id {
        replica.signal(Signal::CONT);
    }
    Ok(String::new())
}

/// Starts a replica again with failpoints, and waits until all of them have fired.
///
/// If the traffic does not fire them, a further replica joins and leaves, which causes a rebalance.
/// If they have not fired after that, the replica is stopped, which drains it.
pub(super) async fn failpoints(
    system: &System,
    number: usize,
    armed: &[Armed],
    hold: Duration,
) -> Result<String> {
    let replica = system.replica(number)?;
    let log = system.failpoint_log();
    let skipped = firings(&log)?.len();
    let text: Vec<String> =
        armed.iter().map(|one| format!("{}={}", one.point, one.action)).collect();
    // A killed member that is not static holds up its group until its session ends, and until then
    // no record would fire a point. Replicas with an even number are static members.
    let signal = if number.is_multiple_of(2) { Signal::KILL } else { Signal::TERM };
    let mut note = restart(replica, signal, Some(&text.join(";"))).await?;

    let is_armed = |name: &str| armed.iter().any(|one| one.point == name);
    if is_armed("release") {
        // While the database is away, this point may not fire, and the note says so.
        let _ = system.database.make_deliveries_overdue().await;
    }
    // A point of the start may end it before it is ready, and the next start has no failpoints.
    let _ = replica.wait_until_ready(&system.http, JOIN_TIMEOUT).await;
    let started = Instant::now();
    let mut has_rebalanced = !is_armed("revoke");
    loop {
        let fired = firings(&log)?;
        let fired: Vec<&String> = fired[skipped..].iter().filter(|name| is_armed(name)).collect();
        if armed.iter().all(|one| fired.iter().any(|name| *name == one.point)) {
            return Ok(note);
        }
        if !has_rebalanced && started.elapsed() > hold / 3 {
            has_rebalanced = true;
            join_once(system, replica.role()).await?;
        }
        if started.elapsed() > hold {
            break;
        }
        sleep(POLL).await;
    }
    // What has not fired yet is taken away by the restart; `drain` fires in it.
    note += &restart(replica, Signal::TERM, None).await?;
    let fired = firings(&log)?;
    let missing: Vec<&str> = armed
        .iter()
        .map(|one| one.point)
        .filter(|point| !fired[skipped..].iter().any(|name| name == point))
        .collect();
    if !missing.is_empty() {
        note += &format!("not fired: {}", missing.join(", "));
    }
    Ok(note)
}

/// Lets a further replica join and leave, without a pause.
pub(super) async fn storm(system: &System, role: Role, hold: Duration) -> Result<String> {
    let started = Instant::now();
    let mut joins = 0;
    while joins == 0 || started.elapsed() < hold {
        join_once(system, role).await?;
        joins += 1;
    }
    Ok(format!("{joins} times"))
}

async fn join_once(system: &System, role: Role) -> Result<()> {
    let replica = system.start_replica(role, &format!("{}-storm", role.name()), None).await?;
    // Without a database it is not ready in time, which is no finding of the storm.
    let _ = replica.wait_until_ready(&system.http, JOIN_TIMEOUT).await;
    replica.stop().await;
    Ok(())
}

/// Returns the names of the failpoints that have fired, in their order.
pub(crate) fn firings(log: &Path) -> Result<Vec<String>> {
    if !log.exists() {
        return Ok(Vec::new());
    }
    let text = std::fs::read_to_string(log).context("reading the log of the failpoints")?;
    Ok(text.lines().filter_map(|line| line.split(' ').nth(2)).map(str::to_owned).collect())
}

/// Restarts a replica. If it does not end in time at SIGTERM, it is killed, and the note says so.
pub(super) async fn restart(
    replica: &Replica,
    signal: Signal,
    points: Option<&str>,
) -> Result<String> {
    let restarting = replica.restart(signal, points);
    if tokio::time::timeout(END_TIMEOUT, restarting).await.is_ok() {
        return Ok(String::new());
    }
    replica.restart(Signal::KILL, points).await;
    Ok(format!("{} did not end within {END_TIMEOUT:?} at SIGTERM; ", replica.name()))
}
