//! Floods of requests: for one order that is not cached, for unknown orders, and for lists.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use testkit::{Service, TestEnvironment, order_json::SAMPLE, shared, wait_until};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::{Barrier, Semaphore},
    task::JoinHandle,
    time::timeout,
};

use super::{MANY_SOCKETS, can_open, exchange};
use crate::support::{Program, insert_large_copies, order, record};

const REQUESTS: usize = 10_000;
const CACHED: &str = "/order/b563feb7b2b84b6test";

/// The path of an order that does not exist.
fn unknown(number: usize) -> String {
    format!("/order/unknown-{number}")
}

/// Connects `count` clients, then sends the request of each at the same time. Returns the status and
/// the head of each answer.
async fn send_together(
    address: SocketAddr,
    count: usize,
    path: impl Fn(usize) -> String,
) -> Vec<(u16, String)> {
    let connecting = Arc::new(Semaphore::new(100));
    let all_connected = Arc::new(Barrier::new(count));
    let clients: Vec<_> = (0..count)
        .map(|number| {
            let (connecting, all_connected) = (connecting.clone(), all_connected.clone());
            let request = format!(
                "GET {} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
                path(number)
            );
            tokio::spawn(async move {
                let permit = connecting.acquire().await.unwrap();
                let mut stream = TcpStream::connect(address).await.unwrap();
                // A connection that was used may be idle for longer than a new one.
                let first = "GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n";
                stream.write_all(first.as_bytes()).await.unwrap();
                let mut answer = Vec::new();
                while !answer.ends_with(b"alive\n") {
                    assert_ne!(stream.read_buf(&mut answer).await.unwrap(), 0);
                }
                drop(permit);
                all_connected.wait().await;
                stream.write_all(request.as_bytes()).await.unwrap();
                answer.clear();
                let read = timeout(Duration::from_secs(60), stream.read_to_end(&mut answer)).await;
                read.expect("it answers").unwrap();
                let text = String::from_utf8_lossy(&answer).into_owned();
                let head = text.split("\r\n\r\n").next().unwrap().to_owned();
                (head[9..12].parse().unwrap(), head)
            })
        })
        .collect();
    join_all(clients).await.into_iter().map(Result::unwrap).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_requests_for_one_order_are_one_query() {
    let _alone = MANY_SOCKETS.lock().await;
    if !can_open(REQUESTS as u64) {
        return;
    }
    let env = TestEnvironment::new(shared()).await;
    let service = Program::start_orders(&env, &["--http-connections", "12000"]);
    service.wait_until_ready().await;
    // Written by another program: the service has not cached it.
    env.send(None, None, Some(SAMPLE.as_bytes())).await;
    env.wait_until_drained().await;
    insert_large_copies(&env, 1, 1).await;
    let before = service.metric("waybill_cache_loads_total{from=\"db\"}").await;

    let answers = send_together(service.address(), REQUESTS, |_| "/order/copy-1".to_owned()).await;

    let loads = service.metric("waybill_cache_loads_total{from=\"db\"}").await - before;
    assert!(answers.iter().all(|(status, _)| *status == 200), "{:?}", counted(&answers));
    assert!((loads - 1.0).abs() < f64::EPSILON, "{loads} queries");
    assert!(service.terminate().await.success());
}

/// Returns the number of answers with each status.
fn counted(answers: &[(u16, String)]) -> std::collections::BTreeMap<u16, usize> {
    let mut counts = std::collections::BTreeMap::new();
    for (status, _) in answers {
        *counts.entry(*status).or_default() += 1;
    }
    counts
}

#[tokio::test(flavor = "multi_thread")]
async fn beyond_a_bound_unknown_orders_are_refused_at_once() {
    let _alone = MANY_SOCKETS.lock().await;
    if !can_open(REQUESTS as u64) {
        return;
    }
    let env = TestEnvironment::new(shared()).await;
    env.send(None, None, Some(SAMPLE.as_bytes())).await;
    let service = Program::start_orders(&env, &["--http-connections", "12000"]);
    service.wait_until_ready().await;
    env.wait_until_drained().await;
    // No query of an order ends before all requests have arrived or are refused.
    let mut lock = env.pool.begin().await.unwrap();
    sqlx::query("LOCK TABLE orders.orders IN ACCESS EXCLUSIVE MODE")
        .execute(&mut *lock)
        .await
        .unwrap();

    let answers = send_together(service.address(), REQUESTS, unknown).await;
    let cached = exchange_status(service.address(), CACHED).await;
    lock.rollback().await.unwrap();

    assert_eq!(cached, 200);
    let refused = |kind: &str| answers.iter().filter(|(_, text)| text.contains(kind)).count();
    assert_eq!(counted(&answers).get(&503), Some(&REQUESTS), "{:?}", counted(&answers));
    assert_eq!(refused("retry-after: 1"), REQUESTS);
    let refused = service.metric("waybill_cache_loads_total{from=\"refused\"}").await;
    // Of those that come at the same time, 4,096 wait in the queue.
    assert!(refused > 1_000.0, "{refused}");
    assert!(service.terminate().await.success());
}

async fn exchange_status(address: SocketAddr, path: &str) -> u16 {
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    let answer = exchange(address, request.as_bytes(), false).await;
    assert!(answer.is_closed && answer.statuses.len() == 1, "{answer:?}");
    answer.statuses[0]
}

/// Clients that repeat requests for lists and for unknown orders until they are stopped.
struct Flood {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    refused: Arc<AtomicUsize>,
    clients: Vec<JoinHandle<()>>,
}

impl Flood {
    fn start(service: &Service, lists: usize, lookups: usize) -> Self {
        let (stop, answered, refused) =
            <(Arc<AtomicBool>, Arc<AtomicUsize>, Arc<AtomicUsize>)>::default();
        let clients = (0..lists + lookups)
            .map(|client| {
                let (stop, answered, refused) = (stop.clone(), answered.clone(), refused.clone());
                let (http, url) = (service.http.clone(), service.url.clone());
                tokio::spawn(async move {
                    let mut number = 0;
                    while !stop.load(Ordering::Relaxed) {
                        number += 1;
                        let path = if client < lists {
                            "/orders?limit=500".to_owned()
                        } else {
                            unknown(client * 1_000_000 + number)
                        };
                        let answer = http.get(format!("{url}{path}")).send().await.unwrap();
                        let status = answer.status().as_u16();
                        if status == 503 {
                            assert_eq!(answer.headers()["retry-after"], "1");
                            assert_eq!(
                                answer.headers()["content-type"],
                                "application/problem+json"
                            );
                            let text = answer.text().await.unwrap();
                            assert!(text.contains("/docs#too-many-requests"), "{text}");
                            refused.fetch_add(1, Ordering::Relaxed);
                        } else {
                            let expected = if client < lists { 200 } else { 404 };
                            assert_eq!(status, expected);
                            answer.bytes().await.unwrap();
                            answered.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                })
            })
            .collect();
        Self { stop, answered, refused, clients }
    }

    /// Returns the numbers of answered and of refused requests.
    async fn stop(self) -> (usize, usize) {
        self.stop.store(true, Ordering::Relaxed);
        for client in self.clients {
            client.await.unwrap();
        }
        (self.answered.load(Ordering::Relaxed), self.refused.load(Ordering::Relaxed))
    }
}

/// Sends orders, and returns the time until all of them are stored.
async fn time_to_store(env: &TestEnvironment, name: &str, count: usize) -> Duration {
    let orders = (0..count).map(|number| record(&order(&format!("{name}-{number}"), 1)));
    let since = Instant::now();
    env.send_all(orders).await;
    wait_until("the orders to be stored", async || {
        let stored = format!("orders.orders WHERE order_uid LIKE '{name}-%'");
        env.count(&stored).await == i64::try_from(count).unwrap()
    })
    .await;
    since.elapsed()
}

/// Returns the median and the longest time of cached requests within a second.
async fn time_to_read(service: &Service) -> (Duration, Duration) {
    let mut times = Vec::new();
    let until = Instant::now() + Duration::from_secs(1);
    while Instant::now() < until {
        let since = Instant::now();
        let answer = service.get(CACHED).await;
        assert_eq!(
            (answer.status().as_u16(), &answer.headers()["x-cache"] == "memory"),
            (200, true)
        );
        times.push(since.elapsed());
    }
    times.sort();
    (times[times.len() / 2], times[times.len() - 1])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_slows_neither_cached_reads_nor_ingest() {
    let _alone = MANY_SOCKETS.lock().await;
    let env = TestEnvironment::new(shared()).await;
    let service = env.start(&[]).await;
    env.send(None, None, Some(SAMPLE.as_bytes())).await;
    time_to_store(&env, "list", 1_000).await;
    let usual = time_to_store(&env, "before", 1_000).await;
    let (median, _) = time_to_read(&service).await;

    let flood = Flood::start(&service, 100, 100);
    wait_until("a refusal", async || flood.refused.load(Ordering::Relaxed) > 100).await;
    let stored = time_to_store(&env, "during", 1_000).await;
    let (attacked_median, longest) = time_to_read(&service).await;
    let unknown = service.get("/order/list-1/status").await.status();
    let (answered, refused) = flood.stop().await;

    println!(
        "1,000 orders: {usual:?}, during the flood {stored:?}; cached reads: {median:?}, during the \
         flood {attacked_median:?}, at most {longest:?}; flood: {answered} answered, {refused} refused"
    );
    assert!(unknown == 200 || unknown == 503, "{unknown}");
    assert!(answered > 0);
    // The clients of the flood share the processors with the service.
    assert!(stored < 5 * usual + Duration::from_secs(5), "{stored:?}");
    assert!(attacked_median < Duration::from_millis(100), "{attacked_median:?}");
    assert!(longest < Duration::from_secs(2), "{longest:?}");
    service.stop().await.unwrap();
}
