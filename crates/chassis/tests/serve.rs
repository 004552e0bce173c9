//! Limits of connections, tested over plain TCP with clients that send nothing, send or read
//! slowly, open many connections, or send wrong requests.

#![expect(clippy::unwrap_used, reason = "a test that cannot continue must fail")]

use std::{net::SocketAddr, time::Duration};

use axum::{
    Router,
    routing::{get, post},
};
use chassis::http::{BodyWithin, Guard, HttpMetrics, Site, finish, limits::Limits, serve::serve};
use prometheus_client::registry::Registry;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    time::{sleep, timeout},
};
use tokio_util::sync::{CancellationToken, DropGuard};

const SHORT: Duration = Duration::from_millis(200);
/// Longer than every short limit: a wait that takes so long has failed.
const WAIT_TIMEOUT: Duration = Duration::from_secs(10);
/// The largest body of the call in these tests.
const MAX_KIB: usize = 64;
/// More bytes than all buffers between a server and its client hold.
const LARGE: usize = 64 << 20;

fn short_limits() -> Limits {
    Limits { head: SHORT, idle: SHORT, body: SHORT, unread: SHORT, ..Limits::default() }
}

async fn take(_: BodyWithin<MAX_KIB>) -> &'static str {
    "taken"
}

/// Starts a service that ends when the guard is dropped.
async fn start(limits: Limits) -> (SocketAddr, DropGuard) {
    let routes = Router::new()
        .route("/", get(async || "here"))
        .route("/much", get(async || vec![b'x'; LARGE]))
        .route("/take", post(take));
    let metrics = HttpMetrics::register(&mut Registry::default());
    let guard = Guard::new(Site::default(), metrics);
    let router = finish(routes, guard.clone());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let shutdown = CancellationToken::new();
    tokio::spawn(serve(listener, guard, |_| None, router, limits, shutdown.clone()));
    (address, shutdown.drop_guard())
}

async fn connect(address: SocketAddr, text: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(text.as_bytes()).await.unwrap();
    stream
}

/// Reads until the service closes the connection.
async fn read_to_end(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    timeout(WAIT_TIMEOUT, stream.read_to_end(&mut bytes)).await.expect("it is closed").unwrap();
    String::from_utf8(bytes).unwrap()
}

fn assert_problem(answer: &str, status: u16) {
    let answer = answer.to_lowercase();
    assert!(answer.starts_with(&format!("http/1.1 {status} ")), "{answer}");
    assert!(answer.contains("content-type: application/problem+json"), "{answer}");
    assert!(answer.contains(&format!("\"status\":{status}")), "{answer}");
}

#[tokio::test]
async fn a_connection_without_a_request_is_closed() {
    let (address, _service) = start(short_limits()).await;
    assert_eq!(read_to_end(&mut connect(address, "").await).await, "");
}

#[tokio::test]
async fn a_connection_with_half_a_head_is_closed() {
    let (address, _service) = start(short_limits()).await;
    assert_eq!(read_to_end(&mut connect(address, "GET / HTTP/1.1\r\nHos").await).await, "");
}

#[tokio::test]
async fn a_connection_that_is_idle_after_an_answer_is_closed() {
    let (address, _service) = start(short_limits()).await;
    let answer =
        read_to_end(&mut connect(address, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await).await;
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("here"), "{answer}");
}

#[tokio::test]
async fn a_body_that_stops_is_answered_with_408() {
    let (address, _service) = start(short_limits()).await;
    let half = "POST /take HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 10\r\n\r\nhalf";
    assert_problem(&read_to_end(&mut connect(address, half).await).await, 408);
}

#[tokio::test]
async fn a_body_that_arrives_slowly_is_answered_with_408() {
    let (address, _service) = start(short_limits()).await;
    let head = "POST /take HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n";
    let (mut reader, mut writer) = connect(address, head).await.into_split();
    let dripping = async {
        while writer.write_all(b"x").await.is_ok() {
            sleep(SHORT / 8).await;
        }
        std::future::pending::<()>().await;
    };
    let mut answer = vec![0; 4_096];
    let length = tokio::select! {
        length = timeout(WAIT_TIMEOUT, reader.read(&mut answer)) => length.expect("it answers").unwrap(),
        () = dripping => unreachable!("it never ends"),
    };

    assert_problem(std::str::from_utf8(&answer[..length]).unwrap(), 408);
}

#[tokio::test]
async fn a_body_that_almost_stops_is_answered_with_408() {
    let limits = Limits { pace: SHORT, body: 10 * WAIT_TIMEOUT, ..Limits::default() };
    let (address, _service) = start(limits).await;
    let half = "POST /take HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 10\r\n\r\nhalf";
    assert_problem(&read_to_end(&mut connect(address, half).await).await, 408);
}

#[tokio::test]
async fn a_body_that_keeps_its_pace_is_taken() {
    // Longer than the test's own pauses, also on a busy machine.
    let limits = Limits { pace: 4 * SHORT, ..Limits::default() };
    let (address, _service) = start(limits).await;
    let (part, parts) = ("x".repeat(8 << 10), 8);
    let head = format!(
        "POST /take HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        part.len() * parts
    );
    let mut stream = connect(address, &head).await;
    for _ in 0..parts {
        // Together they take twice the pace.
        sleep(SHORT).await;
        stream.write_all(part.as_bytes()).await.unwrap();
    }
    assert!(read_to_end(&mut stream).await.ends_with("taken"));
}

#[tokio::test]
async fn an_answer_does_not_wait_for_the_next_request() {
    let (address, _service) = start(Limits::default()).await;
    let get = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\nGET / HT";
    let mut stream = connect(address, get).await;
    let mut answer = Vec::new();
    while !answer.ends_with(b"here") {
        let read = timeout(WAIT_TIMEOUT, stream.read_buf(&mut answer)).await;
        assert_ne!(read.expect("it answers").unwrap(), 0);
    }
}

#[tokio::test]
async fn a_malformed_head_is_answered_with_400() {
    let (address, _service) = start(Limits::default()).await;
    let wrong = "GET / HTTP/1.1\r\nHost: localhost\r\nno colon\r\n\r\n";
    let answer = read_to_end(&mut connect(address, wrong).await).await;
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
}

#[tokio::test]
async fn a_body_that_is_announced_as_too_large_is_not_read() {
    let (address, _service) = start(Limits::default()).await;
    let head = "POST /take HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 1000000000000\r\nExpect: 100-continue\r\n\r\n";
    assert_problem(&read_to_end(&mut connect(address, head).await).await, 413);
}

#[tokio::test]
async fn a_connection_is_idle_for_the_whole_time_after_an_answer() {
    let (address, _service) = start(Limits { idle: 20 * SHORT, ..Limits::default() }).await;
    let mut stream = connect(address, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    sleep(10 * SHORT).await;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let since = std::time::Instant::now();

    let answers = read_to_end(&mut stream).await;

    assert_eq!(answers.matches("HTTP/1.1 200 ").count(), 2, "{answers}");
    assert!(since.elapsed() >= 20 * SHORT, "{:?}", since.elapsed());
}

#[tokio::test]
async fn an_idle_connection_has_more_time_than_a_head() {
    let (address, _service) = start(Limits { head: SHORT, ..Limits::default() }).await;
    let get = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let mut stream = connect(address, get).await;
    let mut answer = Vec::new();
    while !answer.ends_with(b"here") {
        let read = timeout(WAIT_TIMEOUT, stream.read_buf(&mut answer)).await;
        assert_ne!(read.expect("it answers").unwrap(), 0);
    }

    sleep(2 * SHORT).await;
    let half = &get[..get.len() - 4];
    stream.write_all(half.as_bytes()).await.unwrap();
    assert_eq!(read_to_end(&mut stream).await, "", "the second head is not complete in time");
}

#[tokio::test]
async fn a_client_that_never_reads_is_disconnected() {
    let (address, _service) = start(Limits { connections: 1, ..short_limits() }).await;
    let _idle = connect(address, "GET /much HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    let get = "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let answered = async {
        while !read_to_end(&mut connect(address, get).await).await.ends_with("here") {
            // The first answer still has its place.
        }
    };

    assert!(timeout(WAIT_TIMEOUT, answered).await.is_ok());
}

#[tokio::test]
async fn a_body_that_is_too_large_is_answered_with_413() {
    let (address, _service) = start(Limits::default()).await;
    let length = (MAX_KIB << 10) + 1;
    let head = format!(
        "POST /take HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    );
    let (mut reader, mut writer) = connect(address, &head).await.into_split();
    let sending = async {
        // The service may answer and close before the whole body is sent.
        let _ = writer.write_all(&vec![b'x'; length]).await;
        std::future::pending::<()>().await;
    };
    let mut answer = vec![0; 4_096];
    let length = tokio::select! {
        length = timeout(WAIT_TIMEOUT, reader.read(&mut answer)) => length.expect("it answers").unwrap(),
        () = sending => unreachable!("it never ends"),
    };

    assert_problem(std::str::from_utf8(&answer[..length]).unwrap(), 413);
}

#[tokio::test]
async fn a_wrong_method_is_answered_with_the_allowed_ones() {
    let (address, _service) = start(Limits::default()).await;
    let wrong = "PUT / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let answer = read_to_end(&mut connect(address, wrong).await).await;

    assert_problem(&answer, 405);
    assert!(answer.to_lowercase().contains("allow: get,head"), "{answer}");
}
