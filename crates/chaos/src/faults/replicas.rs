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

/// The number of times that the points of a fault are armed.
const ATTEMPTS: usize = 2;

/// Points that few records or sweeps reach: they have twice the time.
const RARE: [&str; 3] = ["split", "before-rejecting", "release"];

/// The interval at which further deliveries are made overdue.
const OVERDUE_INTERVAL: Duration = Duration::from_secs(1);

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

/// Starts a replica again with failpoints, and waits until all of them have fired; those that have
/// not are armed a second time.
pub(super) async fn failpoints(
    system: &System,
    number: usize,
    armed: &[Armed],
    hold: Duration,
) -> Result<String> {
    let log = system.failpoint_log();
    let mut left = Unfired::new(&log, armed)?;
    let mut note = String::new();
    for _ in 0..ATTEMPTS {
        note += &arm(system, number, &mut left, hold).await?;
        if left.update()?.is_empty() {
            return Ok(note);
        }
    }
    let points: Vec<&str> = left.points.iter().map(|one| one.point).collect();
    Ok(format!("{note}not fired: {}", points.join(", ")))
}

/// Starts a replica again with failpoints, and waits until they have fired.
///
/// If the traffic does not fire `revoke`, a further replica joins and leaves, which causes a
/// rebalance. Only the replica with the lease of the outbox fires its points, so the others give it
/// up. If some have not fired after that, the replica is stopped, which drains it.
async fn arm(
    system: &System,
    number: usize,
    left: &mut Unfired<'_>,
    hold: Duration,
) -> Result<String> {
    let replica = system.replica(number)?;
    // A killed member that is not static holds up its group until its session ends, and until then
    // no record would fire a point. Replicas with an even number are static members.
    let signal = if number.is_multiple_of(2) { Signal::KILL } else { Signal::TERM };
    let note = restart(replica, signal, Some(&text(left.points.iter().copied()))).await?;
    // The point that ends the process may fire first, so the next process has the others.
    replica.set_next_failpoints(Some(&text(
        left.points.iter().copied().filter(|one| !one.is_fatal()),
    )));

    // A point of the start may end it before it is ready.
    let _ = replica.wait_until_ready(&system.http, JOIN_TIMEOUT).await;
    let started = Instant::now();
    let (mut has_rebalanced, mut has_lease) = (false, false);
    let mut next_overdue = started;
    loop {
        let points = left.update()?;
        if points.is_empty() {
            replica.set_next_failpoints(None);
            return Ok(note);
        }
        let is_left = |name: &str| points.iter().any(|one| one.point == name);
        let is_rare = RARE.iter().any(|name| is_left(name));
        let is_over = started.elapsed() > if is_rare { hold * 2 } else { hold };
        // `drain` fires in the stop.
        if is_over || points.iter().all(|one| one.point == "drain") {
            break;
        }
        if is_left("release") && Instant::now() >= next_overdue {
            // Again and again, because any replica may release these. While the database is away,
            // the point may not fire, and the note says so.
            let _ = system.database.make_deliveries_overdue().await;
            next_overdue = Instant::now() + OVERDUE_INTERVAL;
        }
        if is_left("revoke") && !has_rebalanced && started.elapsed() > hold / 3 {
            has_rebalanced = true;
            join_once(system, replica.role()).await?;
        }
        if points.iter().any(|one| one.point.starts_with("outbox")) && !has_lease {
            has_lease = true;
            for other in system.replicas.iter().filter(|other| other.role() == replica.role()) {
                if other.name() != replica.name() {
                    restart(other, Signal::TERM, None).await?;
                }
            }
        }
        sleep(POLL).await;
    }
    // What has not fired yet is taken away by the restart.
    Ok(note + &restart(replica, Signal::TERM, None).await?)
}

/// The points of a fault that have not fired yet.
struct Unfired<'a> {
    log: &'a Path,
    /// The number of firings before the fault.
    earlier: usize,
    points: Vec<&'a Armed>,
}

impl<'a> Unfired<'a> {
    fn new(log: &'a Path, armed: &'a [Armed]) -> Result<Self> {
        Ok(Self { log, earlier: firings(log)?.len(), points: armed.iter().collect() })
    }

    /// Removes the points that have fired, and returns the others.
    fn update(&mut self) -> Result<&[&'a Armed]> {
        let fired = firings(self.log)?;
        self.points.retain(|one| !fired[self.earlier..].iter().any(|name| name == one.point));
        Ok(&self.points)
    }
}

/// Returns the points as the environment variable gives them.
fn text<'a>(points: impl Iterator<Item = &'a Armed>) -> String {
    let points: Vec<String> = points.map(|one| format!("{}={}", one.point, one.action)).collect();
    points.join(";")
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
