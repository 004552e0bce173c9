//! Thousands of sockets that send nothing or a byte now and then.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use testkit::{TestEnvironment, order_json::SAMPLE, shared};
use tokio::{
    io::AsyncWriteExt as _,
    net::{TcpSocket, TcpStream},
    sync::Semaphore,
    time::{interval, timeout},
};

use super::{MANY_SOCKETS, can_open};
use crate::support::Program;

const UNUSED: usize = 5_000;
const SLOW: usize = 5_000;
/// The longest time for which such a socket may be open.
const MAX_OPEN: Duration = Duration::from_secs(10);
/// The pause between two bytes of a slow socket.
const PAUSE: Duration = Duration::from_millis(900);
/// The sockets of one address.
const PER_ADDRESS: usize = 200;
const PATH: &str = "/order/b563feb7b2b84b6test";

#[derive(Clone, Copy)]
enum Kind {
    Unused,
    SlowHead,
    SlowBody,
}

impl Kind {
    fn of(number: usize) -> Self {
        match number {
            ..UNUSED => Self::Unused,
            _ if number.is_multiple_of(2) => Self::SlowHead,
            _ => Self::SlowBody,
        }
    }

    /// Returns the text that is sent at once.
    fn start(self) -> &'static str {
        match self {
            Self::Unused => "",
            Self::SlowHead => "GET / HTTP/1.1\r\nHost: localhost\r\nX: ",
            Self::SlowBody => {
                "POST /order HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
                 Content-Length: 1000\r\n\r\n"
            }
        }
    }
}

/// Connects from an address of its own, where the system has more than one loopback address.
async fn connect(address: SocketAddr, number: usize) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    if cfg!(target_os = "linux") {
        let host = u8::try_from(2 + number / PER_ADDRESS).unwrap();
        socket.bind((Ipv4Addr::new(127, 0, 0, host), 0).into()).unwrap();
    }
    socket.connect(address).await.unwrap()
}

/// Keeps a connection as long as the service allows, and returns that time.
async fn hold(address: SocketAddr, number: usize, connecting: Arc<Semaphore>) -> Duration {
    let kind = Kind::of(number);
    let permit = connecting.acquire().await.unwrap();
    let mut stream = connect(address, number).await;
    let since = Instant::now();
    let _ = stream.write_all(kind.start().as_bytes()).await;
    drop(permit);
    let (mut reader, mut writer) = stream.into_split();
    let sending = async {
        let mut pauses = interval(PAUSE);
        pauses.tick().await;
        loop {
            pauses.tick().await;
            if !matches!(kind, Kind::Unused) && writer.write_all(b"x").await.is_err() {
                break;
            }
        }
        std::future::pending::<()>().await;
    };
    let closed = async {
        let _ = tokio::io::copy(&mut reader, &mut tokio::io::sink()).await;
    };
    tokio::select! {
        () = sending => unreachable!("it never ends"),
        _ = timeout(3 * MAX_OPEN, closed) => since.elapsed(),
    }
}

/// Returns the sorted durations of requests, one after the other, until `until` is over. Half of
/// them use a kept connection, and half a new one.
async fn latencies(url: &str, until: Instant) -> Vec<Duration> {
    let kept = reqwest::Client::new();
    let new = reqwest::Client::builder().pool_max_idle_per_host(0).build().unwrap();
    let mut all = Vec::new();
    while Instant::now() < until {
        for client in [&kept, &new] {
            let since = Instant::now();
            let answer = client.get(url).timeout(MAX_OPEN).send().await.expect("it answers");
            assert_eq!(answer.status(), 200);
            answer.bytes().await.expect("the answer is complete");
            all.push(since.elapsed());
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    all.sort();
    all
}

fn share(sorted: &[Duration], percent: usize) -> Duration {
    sorted[(sorted.len() - 1) * percent / 100]
}

#[tokio::test(flavor = "multi_thread")]
async fn sockets_that_send_little_are_closed_and_delay_nobody() {
    let _alone = MANY_SOCKETS.lock().await;
    if !can_open((UNUSED + SLOW) as u64) {
        return;
    }
    let env = TestEnvironment::new(shared()).await;
    env.send(None, None, Some(SAMPLE.as_bytes())).await;
    // More connections than sockets: they are closed because of their age, and not because others
    // need their places.
    let service = Program::start_orders(&env, &["--http-connections", "12000"]);
    service.wait_until_ready().await;
    env.wait_until_drained().await;
    let (url, address) = (format!("{}{PATH}", service.url()), service.address());

    let before = latencies(&url, Instant::now() + Duration::from_secs(3)).await;
    let connecting = Arc::new(Semaphore::new(100));
    let held: Vec<_> = (0..UNUSED + SLOW)
        .map(|number| tokio::spawn(hold(address, number, connecting.clone())))
        .collect();
    let attacked = latencies(&url, Instant::now() + MAX_OPEN).await;
    let held: Vec<Duration> = join_all(held).await.into_iter().map(Result::unwrap).collect();

    let longest = *held.iter().max().unwrap();
    let late = held.iter().filter(|time| **time > MAX_OPEN).count();
    assert_eq!(late, 0, "open for longer than {MAX_OPEN:?}; the longest: {longest:?}");
    let (usual, slow) = (share(&before, 50), share(&before, 95));
    let (attacked_usual, attacked_slow) = (share(&attacked, 50), share(&attacked, 95));
    println!(
        "longest: {longest:?}; median {usual:?}, with the sockets {attacked_usual:?}; p95 {slow:?}, \
         with the sockets {attacked_slow:?}"
    );
    assert!(attacked_usual < 5 * usual + Duration::from_millis(20), "{attacked_usual:?}");
    assert!(attacked_slow < 5 * slow + Duration::from_millis(200), "{attacked_slow:?}");
    assert!(service.terminate().await.success());
}
