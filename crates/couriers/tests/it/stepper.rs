//! Several replicas on one database, stepped statement by statement.
//!
//! Each replica runs the service's own functions on a connection that leads through a gate. The gate
//! holds every statement back until the driver, which picks the interleaving, lets it pass. A replica
//! whose statement waits for a lock is left waiting, and another goes on.

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

/// Longer than PostgreSQL takes to break a circle of waits.
const PATIENCE: Duration = Duration::from_secs(20);

enum Told {
    /// A replica's next statement is at its gate.
    Asks(usize),
    /// A replica has done its work.
    Done(usize),
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum LocalServers {
    Running,
    AtGate,
    Done,
}

/// One side of a race, to be done on a pool of one connection.
pub type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Replicas, and the one who steps them.
pub struct Stepper {
    pub replicas: Vec<PgPool>,
    permits: Vec<UnboundedSender<()>>,
    told: UnboundedReceiver<Told>,
    tell: UnboundedSender<Told>,
    watch: PgConnection,
}

impl Stepper {
    pub async fn new(database: &CourierDatabase, replicas: usize) -> Self {
        let options: PgConnectOptions = database.url.parse().unwrap();
        let (tell, told) = unbounded_channel();
        let watch = options.clone().connect().await.unwrap();
        let mut stepper = Self { replicas: Vec::new(), permits: Vec::new(), told, tell, watch };
        for number in 0..replicas {
            let gate = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let port = gate.local_addr().unwrap().port();
            let (permit, permits) = unbounded_channel();
            let server = (options.get_host().to_owned(), options.get_port());
            tokio::spawn(keep_gate(gate, server, number, stepper.tell.clone(), permits));
            let through = options.clone().host("127.0.0.1").port(port);
            let through = through.ssl_mode(PgSslMode::Disable);
            let pool = PgPoolOptions::new().max_connections(1).test_before_acquire(false);
            let named = through.application_name(&format!("replica {number}"));
            stepper.replicas.push(pool.connect_with(named).await.unwrap());
            stepper.permits.push(permit);
        }
        stepper
    }

    /// Runs what the replicas do in one interleaving: at each step at which several could go on,
    /// `path` says which, and the first of them once it has ended. Gives what was chosen, of how many.
    pub async fn run(&mut self, works: Vec<Work>, path: &[usize]) -> Vec<(usize, usize)> {
        let mut stands = vec![LocalServers::Running; works.len()];
        let tasks: Vec<_> = (0..)
            .zip(works)
            .map(|(number, work): (usize, _)| {
                let (tell, pool) = (self.tell.clone(), self.replicas[number].clone());
                tokio::spawn(async move {
                    work.await;
                    // A rollback that was left to the pool is the last statement.
                    drop(pool.acquire().await.unwrap());
                    let _ = tell.send(Told::Done(number));
                })
            })
            .collect();
        let mut chosen = Vec::new();
        loop {
            self.settle(&mut stands, &tasks).await;
            let ready: Vec<usize> =
                (0..stands.len()).filter(|n| stands[*n] == LocalServers::AtGate).collect();
            if ready.is_empty() {
                break;
            }
            let choice = path.get(chosen.len()).copied().unwrap_or(0);
            chosen.push((choice, ready.len()));
            stands[ready[choice]] = LocalServers::Running;
            self.permits[ready[choice]].send(()).unwrap();
        }
        for task in tasks {
            task.await.unwrap();
        }
        chosen
    }

    /// Waits until every replica is at its gate, done, or waiting for a lock; if all that are not
    /// done wait for locks, until PostgreSQL has broken the circle.
    async fn settle(&mut self, stands: &mut [LocalServers], tasks: &[tokio::task::JoinHandle<()>]) {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while stands.contains(&LocalServers::Running) {
            match tokio::time::timeout(Duration::from_millis(1), self.told.recv()).await {
                Ok(Some(Told::Asks(number))) => stands[number] = LocalServers::AtGate,
                Ok(Some(Told::Done(number))) => stands[number] = LocalServers::Done,
                Ok(None) => unreachable!("the stepper has a sender itself"),
                Err(_) => {
                    let waiting = self.waiting().await;
                    let is_left =
                        |n: usize| stands[n] != LocalServers::Running || waiting.contains(&n);
                    if stands.contains(&LocalServers::AtGate) && (0..stands.len()).all(is_left) {
                        return;
                    }
                }
            }
            for (number, task) in tasks.iter().enumerate() {
                let is_lost = task.is_finished() && stands[number] == LocalServers::Running;
                assert!(!(is_lost && self.told.is_empty()), "replica {number} has failed");
            }
            assert!(tokio::time::Instant::now() < deadline, "nobody goes on: {stands:?}");
        }
    }

    /// Who waits for a lock; a lock that is granted, though its owner sleeps still, is none.
    async fn waiting(&mut self) -> Vec<usize> {
        let rows = sqlx::query(
            "SELECT application_name FROM pg_locks JOIN pg_stat_activity USING (pid) \
             WHERE NOT granted AND datname = current_database()",
        )
        .fetch_all(&mut self.watch)
        .await
        .unwrap();
        let names = rows.iter().map(|row| row.get::<String, _>(0));
        names.filter_map(|name| name.strip_prefix("replica ")?.parse().ok()).collect()
    }
}

/// The choices of the next interleaving, depth first; None after the last.
pub fn next_path(mut chosen: Vec<(usize, usize)>) -> Option<Vec<usize>> {
    while let Some((choice, of)) = chosen.pop() {
        if choice + 1 < of {
            let path = chosen.iter().map(|(choice, _)| *choice);
            return Some(path.chain([choice + 1]).collect());
        }
    }
    None
}

async fn keep_gate(
    gate: TcpListener,
    server: (String, u16),
    number: usize,
    tell: UnboundedSender<Told>,
    mut permits: UnboundedReceiver<()>,
) {
    let (client, _) = gate.accept().await.unwrap();
    let server = TcpStream::connect(server).await.unwrap();
    client.set_nodelay(true).unwrap();
    server.set_nodelay(true).unwrap();
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    tokio::spawn(async move { tokio::io::copy(&mut from_server, &mut to_client).await });
    // The first message alone has no type.
    let mut pending = message(&mut from_client, 0).await.unwrap();
    to_server.write_all(&pending).await.unwrap();
    pending.clear();
    let mut is_statement = false;
    while let Some(next) = message(&mut from_client, 1).await {
        let (kind, text) = (next[0], String::from_utf8_lossy(&next[5..]).into_owned());
        pending.extend(next);
        // Execute, or a simple query. A BEGIN and a SET see nothing and lock nothing.
        let is_idle = text.starts_with("BEGIN") || text.contains("SET LOCAL");
        is_statement |= kind == b'E' || (kind == b'Q' && !is_idle);
        // Sync, a simple query, and what is said before one is logged in: an answer is awaited.
        if matches!(kind, b'S' | b'Q' | b'p') {
            if is_statement {
                tell.send(Told::Asks(number)).unwrap();
                permits.recv().await.unwrap();
            }
            to_server.write_all(&pending).await.unwrap();
            pending.clear();
            is_statement = false;
        }
    }
}

/// One message of the protocol, with its type and length.
async fn message(from: &mut OwnedReadHalf, kind_bytes: usize) -> Option<Vec<u8>> {
    let mut message = vec![0; kind_bytes + 4];
    from.read_exact(&mut message).await.ok()?;
    let length = u32::from_be_bytes(message[kind_bytes..].try_into().unwrap()) as usize;
    message.resize(kind_bytes + length, 0);
    from.read_exact(&mut message[kind_bytes + 4..]).await.ok()?;
    Some(message)
}
