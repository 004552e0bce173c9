//! The resources that the services use: memory, file descriptors and threads of each process, and
//! its connections to PostgreSQL. At the end of a run, when everything is quiet again, they are compared
//! with those of new processes, which shows a leak. Linux only.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context;
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;

/// The resources of one process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessResources {
    /// Resident memory, in bytes.
    pub resident: u64,
    /// The largest resident memory so far, in bytes.
    pub peak_resident: u64,
    /// File descriptors that are not pipes: a child inherits the pipes of this program's Kafka clients,
    /// and a Kafka client that a service forgets also keeps sockets.
    pub descriptors: u64,
    pub threads: u64,
}

impl ProcessResources {
    /// Reads the resources of a process from `/proc`.
    pub fn of(process_id: u32) -> anyhow::Result<Self> {
        let folder = PathBuf::from(format!("/proc/{process_id}"));
        let status = fs::read_to_string(folder.join("status"))
            .with_context(|| format!("reading the status of the process {process_id}"))?;
        let number = |name: &str| -> anyhow::Result<u64> {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let line = line.with_context(|| format!("/proc has no {name} of {process_id}"))?;
            Ok(line.trim().trim_end_matches("kB").trim().parse()?)
        };
        Ok(Self {
            resident: number("VmRSS:")? * 1_024,
            peak_resident: number("VmHWM:")? * 1_024,
            descriptors: descriptors(&folder.join("fd"))?,
            threads: number("Threads:")?,
        })
    }
}

fn descriptors(folder: &Path) -> anyhow::Result<u64> {
    let mut count = 0;
    for entry in fs::read_dir(folder)? {
        // A descriptor may be closed after it is listed.
        let Ok(target) = fs::read_link(entry?.path()) else { continue };
        count += u64::from(!target.to_string_lossy().starts_with("pipe:"));
    }
    Ok(count)
}

/// The connections of the sessions with one application name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, sqlx::FromRow)]
pub struct DatabaseConnections {
    pub application: String,
    pub connections: i64,
    /// Sessions that have been idle in a transaction for more than a second.
    pub idle_in_transaction: i64,
}

/// Returns the connections of the services, by application name. The connection must be that of a
/// superuser, because other users do not see the states of foreign sessions.
pub async fn database_connections(
    connection: &mut PgConnection,
) -> Result<Vec<DatabaseConnections>, sqlx::Error> {
    sqlx::query_as(
        "-- database_connections\n\
         SELECT application_name AS application, count(*) AS connections, \
             count(*) FILTER ( \
                 WHERE state LIKE 'idle in transaction%' \
                     AND state_change < clock_timestamp() - interval '1 second' \
             ) AS idle_in_transaction \
         FROM pg_stat_activity \
         WHERE backend_type = 'client backend' AND application_name LIKE 'waybill %' \
         GROUP BY application_name ORDER BY application_name",
    )
    .fetch_all(connection)
    .await
}

/// All resources at one moment.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Snapshot {
    /// The processes by name, such as `orders-1`.
    pub processes: Vec<(String, ProcessResources)>,
    pub connections: Vec<DatabaseConnections>,
}

/// The growth that is no leak.
#[derive(Debug, Clone, Copy)]
pub struct Allowance {
    /// Bytes of resident memory: the cache may fill, and the allocator keeps some freed memory.
    pub resident: u64,
    pub descriptors: u64,
    pub threads: u64,
    /// Connections of one service.
    pub connections: i64,
}

impl Allowance {
    /// Returns the allowance of services with caches of this size and pools of this size.
    #[must_use]
    pub fn of(cache_bytes: u64, pool_connections: u32) -> Self {
        Self {
            resident: cache_bytes + 150_000_000,
            // A pool that was idle before may be full after, and each connection is a descriptor.
            descriptors: u64::from(pool_connections) + 10,
            // The runtime starts threads for blocking calls and ends them when they are idle.
            threads: 8,
            connections: i64::from(pool_connections),
        }
    }
}

/// Returns a sentence for each resource that has grown by more than `allowance`, and for each
/// session that is idle in a transaction. A process that only one of the two has is not compared.
#[must_use]
pub fn compare(before: &Snapshot, after: &Snapshot, allowance: &Allowance) -> Vec<String> {
    let mut findings = Vec::new();
    for (name, now) in &after.processes {
        let Some((_, then)) = before.processes.iter().find(|(known, _)| known == name) else {
            continue;
        };
        for (what, then, now, allowed) in [
            ("bytes of resident memory", then.resident, now.resident, allowance.resident),
            ("file descriptors", then.descriptors, now.descriptors, allowance.descriptors),
            ("threads", then.threads, now.threads, allowance.threads),
        ] {
            if now > then + allowed {
                findings.push(format!("{name}: {now} {what}, {then} in a new process"));
            }
        }
    }
    for now in &after.connections {
        let application = &now.application;
        if now.idle_in_transaction > 0 {
            let count = now.idle_in_transaction;
            findings.push(format!("{application}: {count} sessions are idle in a transaction"));
        }
        let then = before.connections.iter().find(|then| then.application == *application);
        let then = then.map_or(0, |then| then.connections);
        if now.connections > then + allowance.connections {
            let now = now.connections;
            findings.push(format!(
                "{application}: {now} connections to PostgreSQL, {then} of new processes"
            ));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot continue must fail")]

    use super::*;

    #[test]
    fn this_process_has_memory_descriptors_and_threads() {
        let own = ProcessResources::of(std::process::id()).unwrap();
        assert!(own.resident > 1_000_000 && own.peak_resident >= own.resident, "{own:?}");
        assert!(own.descriptors >= 3 && own.threads >= 1, "{own:?}");
    }

    #[test]
    fn only_growth_beyond_the_allowance_is_a_finding() {
        let process = |threads| ProcessResources {
            resident: 100,
            peak_resident: 100,
            descriptors: 10,
            threads,
        };
        let snapshot = |threads, idle_in_transaction| Snapshot {
            processes: vec![("orders-1".to_owned(), process(threads))],
            connections: vec![DatabaseConnections {
                application: "waybill orders".to_owned(),
                connections: 10,
                idle_in_transaction,
            }],
        };
        let allowance = Allowance::of(0, 10);
        let before = snapshot(10, 0);
        assert!(compare(&before, &snapshot(18, 0), &allowance).is_empty());
        assert_eq!(compare(&before, &snapshot(19, 1), &allowance).len(), 2);
        assert!(compare(&Snapshot::default(), &before, &allowance).is_empty());
    }
}
