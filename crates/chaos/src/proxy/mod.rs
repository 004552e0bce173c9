//! A TCP proxy between the services and one server, which disturbs the connections on request.
//!
//! It understands just enough of the protocols of PostgreSQL and Kafka ([`wire`]) to recognise a
//! `COMMIT` and a Produce request, whose answer it can drop: the client then does not know whether
//! the server has done what it was asked for.

mod wire;

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    task::JoinSet,
    time::sleep,
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use self::wire::{Answers, Requests};

/// Of this number of answers, [`Mode::DropAnswers`] drops one, so that work goes on between.
const DROPPED_ANSWER_INTERVAL: u64 = 3;

/// The protocol of the server behind a proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    Postgres,
    Kafka,
}

/// The treatment of connections, until the next mode is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Forward,
    /// Everything arrives later by this time.
    Delay(Duration),
    /// Nothing is forwarded, and no connection is closed. A later mode forwards what has waited.
    Stall,
    /// Every third `COMMIT` or Produce request arrives, its answer is dropped, and its connection is
    /// closed.
    DropAnswers,
}

/// A proxy on a port of its own. Dropping it closes the port and all connections.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    shared: Arc<Shared>,
    _accept: AbortOnDropHandle<()>,
}

#[derive(Debug)]
struct Shared {
    protocol: Protocol,
    target: Mutex<SocketAddr>,
    mode: watch::Sender<Mode>,
    break_up: watch::Sender<Break>,
    answers: AtomicU64,
    dropped_answers: AtomicU64,
}

/// An order to all connections that exist when it is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Break {
    None,
    /// Close both sides.
    Cut,
    /// Close the side of the server, and keep the side of the client open without an answer.
    HalfOpen,
}

impl Proxy {
    /// Listens on a free port and forwards to `target`.
    pub async fn start(protocol: Protocol, target: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, testkit::free_port()?))
            .await
            .context("opening the port of a proxy")?;
        let port = listener.local_addr().context("reading the port of a proxy")?.port();
        let shared = Arc::new(Shared {
            protocol,
            target: Mutex::new(target),
            mode: watch::Sender::new(Mode::Forward),
            break_up: watch::Sender::new(Break::None),
            answers: AtomicU64::new(0),
            dropped_answers: AtomicU64::new(0),
        });
        let accept = AbortOnDropHandle::new(tokio::spawn(accept(listener, Arc::clone(&shared))));
        Ok(Self { port, shared, _accept: accept })
    }

    /// The port on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn set_mode(&self, mode: Mode) {
        self.shared.mode.send_replace(mode);
    }

    /// Sets the server of later connections, and closes the connections to the earlier one.
    pub fn set_target(&self, target: SocketAddr) {
        *self.shared.target.lock().unwrap_or_else(PoisonError::into_inner) = target;
        self.cut();
    }

    /// Closes all connections.
    pub fn cut(&self) {
        self.shared.break_up.send_replace(Break::Cut);
    }

    /// Takes the server away from all connections without telling their clients.
    pub fn half_open(&self) {
        self.shared.break_up.send_replace(Break::HalfOpen);
    }

    /// The number of answers that were dropped so far.
    #[must_use]
    pub fn dropped_answers(&self) -> u64 {
        self.shared.dropped_answers.load(Ordering::Relaxed)
    }
}

impl Shared {
    /// Returns whether the answer to a request, which may change something, is to be dropped.
    fn drops_answer(&self) -> bool {
        *self.mode.borrow() == Mode::DropAnswers
            && self.answers.fetch_add(1, Ordering::Relaxed).is_multiple_of(DROPPED_ANSWER_INTERVAL)
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    // Dropping the set ends all connections.
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((client, _)) => {
                    connections.spawn(carry(client, Arc::clone(&shared)));
                }
                // Without a free descriptor, a pause lets other connections end.
                Err(_) => sleep(Duration::from_millis(50)).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Carries one connection until one side closes it or it is broken.
async fn carry(client: TcpStream, shared: Arc<Shared>) {
    // Subscribed first: an order that is given during the connect applies to this connection, too.
    let mut break_up = shared.break_up.subscribe();
    let target = *shared.target.lock().unwrap_or_else(PoisonError::into_inner);
    // A refused connection closes the client's: the services see a server that is down.
    let Ok(server) = TcpStream::connect(target).await else { return };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let requests = Mutex::new(Requests::new(shared.protocol));
    let answers = Mutex::new(Answers::new(shared.protocol));
    let dropped = CancellationToken::new();
    let up = pump(&shared, &mut from_client, &mut to_server, |bytes| {
        let requests = &mut *requests.lock().unwrap_or_else(PoisonError::into_inner);
        for request in requests.read(bytes) {
            if shared.drops_answer() {
                answers.lock().unwrap_or_else(PoisonError::into_inner).drop_answer_to(request);
            }
        }
        bytes.len()
    });
    let down = pump(&shared, &mut from_server, &mut to_client, |bytes| {
        let passed = answers.lock().unwrap_or_else(PoisonError::into_inner).read(bytes);
        if passed < bytes.len() {
            shared.dropped_answers.fetch_add(1, Ordering::Relaxed);
            dropped.cancel();
        }
        passed
    });
    let is_half_open = tokio::select! {
        _ = up => false,
        _ = down => false,
        () = dropped.cancelled() => false,
        changed = break_up.changed() => {
            changed.is_ok() && *break_up.borrow() == Break::HalfOpen
        }
    };
    if is_half_open {
        drop((from_server, to_server));
        discard(&mut from_client, &mut break_up).await;
    }
}

/// Forwards in one direction. `inspect` returns how many of the bytes may pass.
async fn pump(
    shared: &Shared,
    from: &mut OwnedReadHalf,
    to: &mut OwnedWriteHalf,
    mut inspect: impl FnMut(&[u8]) -> usize,
) -> io::Result<()> {
    let mut mode = shared.mode.subscribe();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let length = from.read(&mut buffer).await?;
        if length == 0 {
            return Ok(());
        }
        loop {
            let current = *mode.borrow_and_update();
            match current {
                Mode::Forward | Mode::DropAnswers => break,
                Mode::Delay(delay) => {
                    sleep(delay).await;
                    break;
                }
                Mode::Stall => {
                    // The proxy ends together with the sender of the modes.
                    let _ = mode.changed().await;
                }
            }
        }
        let passed = inspect(&buffer[..length]);
        to.write_all(&buffer[..passed]).await?;
        if passed < length {
            return Ok(());
        }
    }
}

/// Reads what the client of a half-open connection sends, until it closes the connection or until
/// all connections are cut.
async fn discard(client: &mut OwnedReadHalf, break_up: &mut watch::Receiver<Break>) {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        tokio::select! {
            read = client.read(&mut buffer) => if !matches!(read, Ok(1..)) { return },
            _ = break_up.changed() => if *break_up.borrow() == Break::Cut { return },
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot continue must fail")]

    use tokio::time::timeout;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(5);

    /// Starts a server that sends back what it receives, and a connection to it through a proxy.
    async fn echo(protocol: Protocol) -> (Proxy, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                tokio::spawn(async move {
                    let (mut read, mut write) = stream.split();
                    let _ = tokio::io::copy(&mut read, &mut write).await;
                });
            }
        });
        let proxy = Proxy::start(protocol, address).await.unwrap();
        let client = TcpStream::connect(("127.0.0.1", proxy.port())).await.unwrap();
        (proxy, client)
    }

    async fn exchange(client: &mut TcpStream, bytes: &[u8]) -> io::Result<Vec<u8>> {
        client.write_all(bytes).await?;
        let mut answer = vec![0; bytes.len()];
        client.read_exact(&mut answer).await?;
        Ok(answer)
    }

    #[tokio::test]
    async fn a_stalled_connection_continues_after_the_stall() {
        let (proxy, mut client) = echo(Protocol::Postgres).await;
        assert_eq!(exchange(&mut client, b"one").await.unwrap(), b"one");

        proxy.set_mode(Mode::Stall);
        client.write_all(b"two").await.unwrap();
        let mut answer = [0; 3];
        let read = client.read_exact(&mut answer);
        assert!(timeout(Duration::from_millis(200), read).await.is_err());

        proxy.set_mode(Mode::Forward);
        timeout(LIMIT, client.read_exact(&mut answer)).await.unwrap().unwrap();
        assert_eq!(&answer, b"two");
    }

    #[tokio::test]
    async fn a_cut_closes_and_a_half_open_connection_never_answers() {
        let (proxy, mut client) = echo(Protocol::Postgres).await;
        assert_eq!(exchange(&mut client, b"one").await.unwrap(), b"one");
        proxy.half_open();
        let unanswered = timeout(Duration::from_millis(200), exchange(&mut client, b"two")).await;
        assert!(unanswered.is_err(), "{unanswered:?}");

        let mut client = TcpStream::connect(("127.0.0.1", proxy.port())).await.unwrap();
        assert_eq!(exchange(&mut client, b"one").await.unwrap(), b"one");
        proxy.cut();
        assert!(timeout(LIMIT, exchange(&mut client, b"two")).await.unwrap().is_err());
    }

    #[tokio::test]
    async fn the_answer_to_a_commit_is_dropped() {
        let (proxy, mut client) = echo(Protocol::Postgres).await;
        proxy.set_mode(Mode::DropAnswers);
        let select = b"Q\0\0\0\x0dSELECT 1\0";
        assert_eq!(exchange(&mut client, select).await.unwrap(), select);

        let answer = timeout(LIMIT, exchange(&mut client, b"Q\0\0\0\x0bCOMMIT\0")).await.unwrap();

        assert!(answer.is_err(), "{answer:?}");
        assert_eq!(proxy.dropped_answers(), 1);
    }

    #[tokio::test]
    async fn the_answer_to_a_produce_request_is_dropped() {
        // The echoed request is no valid answer, so this request has an answer's form, too: its key
        // and version are read as the correlation of the answer.
        let request = |key: u16, version: u16, correlation: u32| {
            let mut bytes = 8_u32.to_be_bytes().to_vec();
            bytes.extend(key.to_be_bytes());
            bytes.extend(version.to_be_bytes());
            bytes.extend(correlation.to_be_bytes());
            bytes
        };
        let (proxy, mut client) = echo(Protocol::Kafka).await;
        proxy.set_mode(Mode::DropAnswers);
        let fetch = request(1, 7, 7);
        assert_eq!(exchange(&mut client, &fetch).await.unwrap(), fetch);

        let answer = timeout(LIMIT, exchange(&mut client, &request(0, 9, 9))).await.unwrap();

        assert!(answer.is_err(), "{answer:?}");
        assert_eq!(proxy.dropped_answers(), 1);
    }
}
