//! Runs several replicas on one database, one statement at a time.
//!
//! Each replica runs the service's own functions on a connection through a gate, which is a TCP
//! proxy. The gate delays every statement until the driver permits it; the driver chooses the
//! interleaving. If a statement waits for a lock, its replica keeps waiting, and the driver
//! continues with another.

use std::{pin::Pin, time::Duration};

use sqlx::{
    ConnectOptions as _, PgConnection, PgPool, Row as _,
    postgres::{PgConnectOptions, PgPoolOptions, PgSslMode},
};
use testkit::CourierDatabase;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream, tcp::OwnedReadHalf},
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
};

/// The maximum time of one step. PostgreSQL detects and ends a deadlock earlier.
const STEP_TIMEOUT: Duration = Duration::from_secs(20);

/// A report of a replica to the driver.
enum Report {
    /// Its next statement is at its gate.
    AtGate(usize),
    /// Its work is done.
    Done(usize),
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum ReplicaState {
    Running,
    AtGate,
    Done,
}

/// The work of one replica, on a pool of one connection.
pub(crate) type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Replicas, and the driver that steps them.
pub(crate) struct Stepper {
    pub replicas: Vec<PgPool>,
    permits: Vec<UnboundedSender<()>>,
    reports: UnboundedReceiver<Report>,
    report: UnboundedSender<Report>,
    watch: PgConnection,
}

impl Stepper {
    pub(crate) async fn new(database: &CourierDatabase, replicas: usize) -> Self {
        let options: PgConnectOptions = database.url.parse().unwrap();
        let (report, reports) = unbounded_channel();
        let watch = options.clone().connect().await.unwrap();
        let mut stepper =
            Self { replicas: Vec::new(), permits: Vec::new(), reports, report, watch };
        for number in 0..replicas {
            let gate = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let port = gate.local_addr().unwrap().port();
            let (permit, permits) = unbounded_channel();
            let server = (options.get_host().to_owned(), options.get_port());
            tokio::spawn(run_gate(gate, server, number, stepper.report.clone(), permits));
            let through = options.clone().host("127.0.0.1").port(port);
            let through = through.ssl_mode(PgSslMode::Disable);
            let pool = PgPoolOptions::new().max_connections(1).test_before_acquire(false);
            let named = through.application_name(&format!("replica {number}"));
            stepper.replicas.push(pool.connect_with(named).await.unwrap());
            stepper.permits.push(permit);
        }
        stepper
    }

    /// Runs the works in one interleaving. At each step, `path` gives the index of the replica that
    /// continues, among those that are at their gates; after the end of `path` it is the first one.
    /// Returns each choice with the number of replicas that could be chosen.
    pub(crate) async fn run(&mut self, works: Vec<Work>, path: &[usize]) -> Vec<(usize, usize)> {
        let mut states = vec![ReplicaState::Running; works.len()];
        let tasks: Vec<_> = (0..)
            .zip(works)
            .map(|(number, work): (usize, _)| {
                let (report, pool) = (self.report.clone(), self.replicas[number].clone());
                tokio::spawn(async move {
                    work.await;
                    // A dropped transaction is rolled back when the pool reuses its connection.
                    // This makes that rollback the last statement of the work.
                    drop(pool.acquire().await.unwrap());
                    let _ = report.send(Report::Done(number));
                })
            })
            .collect();
        let mut chosen = Vec::new();
        loop {
            self.settle(&mut states, &tasks).await;
            let ready: Vec<usize> =
                (0..states.len()).filter(|n| states[*n] == ReplicaState::AtGate).collect();
            if ready.is_empty() {
                break;
            }
            let choice = path.get(chosen.len()).copied().unwrap_or(0);
            chosen.push((choice, ready.len()));
            states[ready[choice]] = ReplicaState::Running;
            self.permits[ready[choice]].send(()).unwrap();
        }
        for task in tasks {
            task.await.unwrap();
        }
        chosen
    }

    /// Waits until every replica is at its gate, done, or waiting for a lock. If all replicas that
    /// are not done wait for locks, it waits until PostgreSQL has ended the deadlock.
    async fn settle(&mut self, states: &mut [ReplicaState], tasks: &[tokio::task::JoinHandle<()>]) {
        let deadline = tokio::time::Instant::now() + STEP_TIMEOUT;
        while states.contains(&ReplicaState::Running) {
            match tokio::time::timeout(Duration::from_millis(1), self.reports.recv()).await {
                Ok(Some(Report::AtGate(number))) => states[number] = ReplicaState::AtGate,
                Ok(Some(Report::Done(number))) => states[number] = ReplicaState::Done,
                Ok(None) => unreachable!("the stepper itself keeps a sender"),
                Err(_) => {
                    let waiting = self.lock_waiters().await;
                    let is_left =
                        |n: usize| states[n] != ReplicaState::Running || waiting.contains(&n);
                    if states.contains(&ReplicaState::AtGate) && (0..states.len()).all(is_left) {
                        return;
                    }
                }
            }
            for (number, task) in tasks.iter().enumerate() {
                let is_lost = task.is_finished() && states[number] == ReplicaState::Running;
                assert!(!(is_lost && self.reports.is_empty()), "replica {number} has failed");
            }
            assert!(tokio::time::Instant::now() < deadline, "no replica continues: {states:?}");
        }
    }

    /// Returns the replicas that wait for a lock of another replica. Locks of others, such as those
    /// of autovacuum, are given up without a step of a replica.
    async fn lock_waiters(&mut self) -> Vec<usize> {
        let rows = sqlx::query(
            "SELECT application_name FROM pg_stat_activity AS waiting \
             WHERE datname = current_database() AND wait_event_type = 'Lock' AND EXISTS ( \
                 SELECT FROM pg_stat_activity AS blocking \
                 WHERE blocking.pid = ANY (pg_blocking_pids(waiting.pid)) \
                     AND blocking.application_name LIKE 'replica %' \
             )",
        )
        .fetch_all(&mut self.watch)
        .await
        .unwrap();
        let names = rows.iter().map(|row| row.get::<String, _>(0));
        names.filter_map(|name| name.strip_prefix("replica ")?.parse().ok()).collect()
    }
}

/// Returns the choices of the next interleaving, depth first; `None` after the last one.
pub(crate) fn next_path(mut chosen: Vec<(usize, usize)>) -> Option<Vec<usize>> {
    while let Some((choice, of)) = chosen.pop() {
        if choice + 1 < of {
            let path = chosen.iter().map(|(choice, _)| *choice);
            return Some(path.chain([choice + 1]).collect());
        }
    }
    None
}

/// Forwards the messages of one connection; waits for a permit before each statement.
async fn run_gate(
    gate: TcpListener,
    server: (String, u16),
    number: usize,
    report: UnboundedSender<Report>,
    mut permits: UnboundedReceiver<()>,
) {
    let (client, _) = gate.accept().await.unwrap();
    let server = TcpStream::connect(server).await.unwrap();
    client.set_nodelay(true).unwrap();
    server.set_nodelay(true).unwrap();
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    tokio::spawn(async move { tokio::io::copy(&mut from_server, &mut to_client).await });
    // Only the first message has no type.
    let mut pending = read_message(&mut from_client, 0).await.unwrap();
    to_server.write_all(&pending).await.unwrap();
    pending.clear();
    let mut is_statement = false;
    while let Some(next) = read_message(&mut from_client, 1).await {
        let (kind, text) = (next[0], String::from_utf8_lossy(&next[5..]).into_owned());
        pending.extend(next);
        // Execute, or a simple query. BEGIN and SET read nothing and lock nothing, so they need no
        // permit.
        let is_idle = text.starts_with("BEGIN") || text.contains("SET LOCAL");
        is_statement |= kind == b'E' || (kind == b'Q' && !is_idle);
        // Sync, a simple query, or a message of the login: now the client waits for an answer.
        if matches!(kind, b'S' | b'Q' | b'p') {
            if is_statement {
                report.send(Report::AtGate(number)).unwrap();
                permits.recv().await.unwrap();
            }
            to_server.write_all(&pending).await.unwrap();
            pending.clear();
            is_statement = false;
        }
    }
}

/// Reads one message of the protocol, with its type and length.
async fn read_message(from: &mut OwnedReadHalf, kind_bytes: usize) -> Option<Vec<u8>> {
    let mut message = vec![0; kind_bytes + 4];
    from.read_exact(&mut message).await.ok()?;
    let length = u32::from_be_bytes(message[kind_bytes..].try_into().unwrap()) as usize;
    message.resize(kind_bytes + length, 0);
    from.read_exact(&mut message[kind_bytes + 4..]).await.ok()?;
    Some(message)
}
