//! Clients that hold connections do not keep others from being answered.

use std::time::Duration;

use testkit::{Service, TestEnvironment, eventually, shared, wait_until};
use tokio::{io::AsyncReadExt as _, net::TcpStream, time::timeout};

use super::{RawAnswer, connect, exchange, read_to_end};
use crate::support::{Scratch, metric};

const LOCAL: &str = "Host: localhost\r\n";
const HALF: &str = "GET / HTTP/1.1\r\nHost: local";

async fn get(service: &Service, path: &str) -> RawAnswer {
    exchange(service.address(), &format!("GET {path}"), LOCAL, "").await
}

/// Sends a request that is answered only after half a minute.
async fn wait_for_an_order(service: &Service) -> TcpStream {
    let request = "GET /order/nobody?wait=30s HTTP/1.1\r\nHost: localhost\r\n\r\n";
    connect(service.address(), request).await
}

async fn is_open(stream: &mut TcpStream) -> bool {
    timeout(Duration::from_millis(1), stream.read(&mut [0; 1])).await.is_err()
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_without_a_request_are_closed_first() {
    let env = TestEnvironment::new(shared()).await;
    let service = env.start(&["--http-connections", "32"]).await;
    let mut waiting = wait_for_an_order(&service).await;
    let idle = "GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let mut unused = Vec::new();
    // Far more than the limit and the reserved places together.
    for number in 0..200 {
        let text = [HALF, "", idle][number % 3];
        unused.push(connect(service.address(), text).await);
    }

    for _ in 0..50 {
        let answer = get(&service, "/orders").await;
        assert_eq!(answer.status, 200, "{}", answer.body);
    }
    assert!(is_open(&mut waiting).await, "a request that is being answered keeps its connection");
    let mut first = unused.swap_remove(0);
    assert_eq!(read_to_end(&mut first).await, b"", "the oldest one is closed");
    let closed = metric(&service, "waybill_http_connections_closed_total").await;
    assert!(closed >= 168.0, "{closed}");
    service.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn beyond_the_limit_only_health_is_answered() {
    let env = TestEnvironment::new(shared()).await;
    let service = env.start(&["--http-connections", "2"]).await;
    let mut waiting = [wait_for_an_order(&service).await, wait_for_an_order(&service).await];

    eventually("both to be served", async || {
        (get(&service, "/orders").await.status == 503).then_some(())
    })
    .await;
    for path in ["/livez", "/readyz", "/metrics"] {
        assert_eq!(get(&service, path).await.status, 200, "{path}");
    }
    for target in ["GET /orders", "GET /order/nobody", "GET /", "POST /order/nobody/cancel"] {
        // Closed by the service, although the client does not ask for it.
        let request = format!("{target} HTTP/1.1\r\n{LOCAL}Content-Length: 0\r\n\r\n");
        let mut stream = connect(service.address(), &request).await;
        let answer = RawAnswer::read(&read_to_end(&mut stream).await);
        assert_eq!(answer.status, 503, "{target}");
        assert_eq!(answer.header("retry-after"), "1");
        assert_eq!(answer.header("connection"), "close");
        assert_eq!(answer.header("content-type"), "application/problem+json");
        assert!(answer.body.contains("HTTP_CONNECTIONS"), "{}", answer.body);
    }
    // Clients that send half a head do not take the reserved places either.
    let mut unused = Vec::new();
    for _ in 0..100 {
        unused.push(connect(service.address(), HALF).await);
    }
    assert_eq!(get(&service, "/livez").await.status, 200);
    for stream in &mut waiting {
        assert!(is_open(stream).await);
    }

    drop(waiting);
    wait_until("a place to be free", async || get(&service, "/orders").await.status == 200).await;
    service.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn live_streams_take_at_most_half_of_the_connections() {
    let env = TestEnvironment::new(shared()).await;
    let database = env.courier_database().await;
    let orders = env.start(&["--http-connections", "8"]).await;
    let couriers = env.start_couriers(&database, &["--http-connections", "8"]).await;

    for service in [&orders, &couriers] {
        let mut streams = Vec::new();
        for _ in 0..4 {
            let answer = service.get("/live").await;
            assert_eq!(answer.status(), 200);
            streams.push(answer);
        }
        let refused = get(service, "/live").await;
        assert_eq!(refused.status, 503);
        assert_eq!(refused.header("retry-after"), "1");
        assert_eq!(get(service, "/openapi.json").await.status, 200);

        streams.pop();
        eventually("a stream to be accepted", async || {
            let answer = service.get("/live").await;
            answer.status().is_success().then_some(answer)
        })
        .await;
    }
    orders.stop().await.unwrap();
    couriers.stop().await.unwrap();
}

/// Starts the order service in a shell that first runs `limit`, waits for `words` in its log, and
/// returns the line.
async fn start_with_limit(env: &TestEnvironment, limit: &str, words: &str) -> String {
    let folder = Scratch::new();
    let log = folder.0.join("log");
    let mut service = tokio::process::Command::new("/bin/sh")
        .args(["-c", &format!("{limit}; exec \"$0\" \"$@\""), env!("CARGO_BIN_EXE_waybill")])
        .arg("orders")
        .args(env.flags())
        .current_dir(&folder.0)
        .env_clear()
        .stderr(std::fs::File::create(&log).unwrap())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let line = eventually(words, async || {
        let text = std::fs::read_to_string(&log).unwrap();
        assert!(service.try_wait().unwrap().is_none(), "{text}");
        text.lines().find(|line| line.contains(words)).map(str::to_owned)
    })
    .await;
    service.kill().await.unwrap();
    line
}

#[tokio::test(flavor = "multi_thread")]
async fn the_start_raises_the_limit_of_open_files_or_warns() {
    let env = TestEnvironment::new(shared()).await;

    let raised = start_with_limit(&env, "ulimit -Sn 300", "raised the limit of open files").await;
    assert!(raised.contains("from 300 to 10256, for HTTP_CONNECTIONS"), "{raised}");

    let limited = start_with_limit(&env, "ulimit -n 400", "limit of open files").await;
    assert!(limited.contains("WARN") && limited.contains("(400)"), "{limited}");
    assert!(limited.contains("allows only 144 HTTP connections instead of 10000"), "{limited}");
    assert!(limited.contains("HTTP_CONNECTIONS"), "{limited}");
}
