//! The cache's levels: restart, single flight, absence, the byte budget, Redis.

use std::{net::TcpListener, process::Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use testkit::{Service, TestEnvironment, eventually, shared, wait_until};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    process::{Child, Command},
};

use crate::support::{metric, order, record};

async fn send(env: &TestEnvironment, order: &Value) {
    env.send_all([record(order)]).await;
}

/// Where the answer came from; the order must be right whatever that is.
pub async fn source(service: &Service, order: &Value) -> String {
    let answer = service.get(&format!("/order/{}", order["order_uid"].as_str().unwrap())).await;
    assert_eq!(answer.status(), 200);
    let source = answer.headers()["x-cache"].to_str().unwrap().to_owned();
    assert_eq!(&answer.json::<Value>().await.unwrap(), order);
    source
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_restores_the_cache() {
    let env = TestEnvironment::new(shared()).await;
    let kept = order("kept", 7);
    let service = env.start(&[]).await;
    send(&env, &kept).await;
    env.drained().await;
    service.stop().await.unwrap();
    let service = env.start(&[]).await;
    assert_eq!(source(&service, &kept).await, "memory");
    service.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_misses_at_once_are_one_query() {
    let env = TestEnvironment::new(shared()).await;
    let wanted = order("wanted", 7);
    let service = env.start(&[]).await;
    send(&env, &wanted).await;
    env.drained().await;
    service.stop().await.unwrap();
    // No room for it: every question is a miss.
    let service = env.start(&["--cache-bytes", "100"]).await;
    // The lock holds the one query up until all the others have joined it.
    let mut lock = env.pool.begin().await.unwrap();
    sqlx::query("LOCK TABLE orders.orders IN ACCESS EXCLUSIVE MODE")
        .execute(&mut *lock)
        .await
        .unwrap();
    let before = metric(&service, "waybill_cache_misses_total").await;
    let asking: Vec<_> = (0..1_000)
        .map(|_| tokio::spawn(service.http.get(service.at("/order/wanted")).send()))
        .collect();
    wait_until("all to have missed", async || {
        metric(&service, "waybill_cache_misses_total").await >= before + 1_000.0
    })
    .await;
    let waiting: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM pg_stat_activity \
         WHERE datname = current_database() AND query LIKE '-- find_order%' AND state = 'active'",
    )
    .fetch_one(&mut *lock)
    .await
    .unwrap();
    assert_eq!(waiting, 1, "queries that wait for the lock");
    lock.rollback().await.unwrap();
    for answer in asking {
        let answer = answer.await.unwrap().unwrap();
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()["x-cache"], "db");
        assert_eq!(answer.json::<Value>().await.unwrap(), wanted);
    }
    service.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_order_harms_none_that_is_missed_together_with_it() {
    let env = TestEnvironment::new(shared()).await;
    let service = env.start(&["--cache-bytes", "100"]).await;
    let uids = ["first", "second", "good", "damaged", "better"];
    env.send_all(uids.iter().map(|uid| record(&order(uid, 7)))).await;
    env.drained().await;
    sqlx::query("UPDATE orders.orders SET items = '[{}]' WHERE order_uid = 'damaged'")
        .execute(&env.pool)
        .await
        .unwrap();
    let mut lock = env.pool.begin().await.unwrap();
    sqlx::query("LOCK TABLE orders.orders IN ACCESS EXCLUSIVE MODE")
        .execute(&mut *lock)
        .await
        .unwrap();
    let ask =
        |uid: &str| tokio::spawn(service.http.get(service.at(&format!("/order/{uid}"))).send());
    let before = metric(&service, "waybill_cache_misses_total").await;
    let missed = async |count: f64| {
        wait_until("all to have missed", async || {
            metric(&service, "waybill_cache_misses_total").await >= before + count
        })
        .await;
    };
    // Two are asked for at once; what comes then waits for one of these.
    let mut asked = vec![ask("first")];
    missed(1.0).await;
    asked.push(ask("second"));
    missed(2.0).await;
    asked.extend(["good", "damaged", "better"].map(ask));
    missed(5.0).await;
    lock.rollback().await.unwrap();
    for (uid, answer) in uids.iter().zip(asked) {
        let status = answer.await.unwrap().unwrap().status();
        assert_eq!(status, if *uid == "damaged" { 503 } else { 200 }, "{uid}");
    }
    service.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn absence_is_remembered_and_ends_with_the_order() {
    let env = TestEnvironment::new(shared()).await;
    let service = env.start(&[]).await;
    assert_eq!(service.get("/order/soon").await.status(), 404);
    let soon = order("soon", 7);
    send(&env, &soon).await;
    let events = eventually("the order to be published", async || {
        let events = env.read_all(&env.status_topic()).await;
        (!events.is_empty()).then_some(events)
    });
    assert_eq!(events.await[0].headers["ce_id"], "soon:1:created");
    // Committed, so visible, however lately it was absent.
    assert_eq!(source(&service, &soon).await, "memory");

    // A second question about nothing, within the second, is not asked of the database.
    let before = metric(&service, "waybill_cache_misses_total").await;
    for _ in 0..3 {
        assert_eq!(service.get("/order/never").await.status(), 404);
    }
    let missed = metric(&service, "waybill_cache_misses_total").await - before;
    assert!(missed < 3.0, "{missed} of 3 questions were misses");
    service.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_byte_budget_evicts_and_what_is_evicted_is_still_served() {
    let env = TestEnvironment::new(shared()).await;
    let orders: Vec<_> = (0..200).map(|number| order(&format!("order-{number}"), number)).collect();
    let service = env.start(&["--cache-bytes", "50000"]).await;
    env.send_all(orders.iter().map(record)).await;
    env.drained().await;
    let (mut memory, mut database) = (0, 0);
    for order in &orders {
        match source(&service, order).await.as_str() {
            "memory" => memory += 1,
            "db" => database += 1,
            other => panic!("{other}"),
        }
    }
    assert!(database >= 100 && memory + database == 200, "{memory} from memory, {database} not");
    let bytes = metric(&service, "waybill_cache_bytes").await;
    assert!(bytes > 25_000.0 && bytes <= 50_000.0, "{bytes}");
    service.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_orders_are_warm_when_the_budget_is_small() {
    let env = TestEnvironment::new(shared()).await;
    let service = env.start(&[]).await;
    send(&env, &order("original", 7)).await;
    env.drained().await;
    service.stop().await.unwrap();
    // Several pages of the warm-up: copies, each a second older than the one before.
    sqlx::query(
        "INSERT INTO orders.orders SELECT copy.* \
         FROM orders.orders AS original, generate_series(1, 7000) AS number, \
              jsonb_populate_record(original, jsonb_build_object( \
                  'order_uid', 'copy-' || number, \
                  'ingested_at', original.ingested_at - number * interval '1 s')) AS copy",
    )
    .execute(&env.pool)
    .await
    .unwrap();
    // Room for a little more than 2,000 of them.
    let service = env.start(&["--cache-bytes", "2500000"]).await;
    let mut warm = Vec::new();
    for number in (1..7_000).step_by(25) {
        let answer = service.get(&format!("/order/copy-{number}")).await;
        assert_eq!(answer.status(), 200);
        if answer.headers()["x-cache"] == "memory" {
            warm.push(number);
        }
    }
    // One part of the memory may be full a little before the others.
    assert!(warm.iter().filter(|number| **number < 1_500).count() >= 55, "{warm:?}");
    assert!(warm.iter().all(|number| *number < 3_000), "{warm:?}");
    service.stop().await.unwrap();
}

/// A Redis of one test, without any persistence.
pub struct Redis {
    child: Child,
    port: u16,
}

impl Redis {
    pub async fn start() -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut command = Command::new("redis-server");
        command.args(["--port", &port.to_string(), "--bind", "127.0.0.1"]);
        command.args(["--save", "", "--appendonly", "no"]).kill_on_drop(true);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn();
        let redis = Self { child: child.expect("redis-server is installed"), port };
        wait_until("Redis to answer", async || {
            TcpStream::connect(("127.0.0.1", redis.port)).await.is_ok()
        })
        .await;
        redis
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Stops it where it stands, or has it go on.
    pub fn signal(&self, signal: Signal) {
        let id = Pid::from_raw(self.child.id().unwrap().cast_signed()).unwrap();
        kill_process(id, signal).unwrap();
    }

    /// One command, its first reply as it comes over the wire.
    pub async fn ask(&self, words: &[&[u8]]) -> Vec<u8> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).await.unwrap();
        let mut request = format!("*{}\r\n", words.len()).into_bytes();
        for word in words {
            request.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
            request.extend_from_slice(word);
            request.extend_from_slice(b"\r\n");
        }
        stream.write_all(&request).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut reply = Vec::new();
        stream.read_to_end(&mut reply).await.unwrap();
        reply
    }

    /// What it holds for an order, once it holds something.
    pub async fn value(&self, uid: &str) -> Vec<u8> {
        let key = format!("waybill:order:{uid}");
        let reply = eventually("the order to be in Redis", async || {
            let reply = self.ask(&[b"GET", key.as_bytes()]).await;
            (!reply.starts_with(b"$-1")).then_some(reply)
        })
        .await;
        let start = reply.iter().position(|byte| *byte == b'\n').unwrap() + 1;
        reply[start..reply.len() - 2].to_vec()
    }

    /// How long it will still hold an order; negative if it holds none.
    pub async fn milliseconds_left(&self, uid: &str) -> i64 {
        let key = format!("waybill:order:{uid}");
        let reply = self.ask(&[b"PTTL", key.as_bytes()]).await;
        let number = std::str::from_utf8(&reply).unwrap().trim().strip_prefix(':');
        number.expect("an integer").parse().unwrap()
    }

    pub async fn set(&self, uid: &str, value: &[u8]) {
        let key = format!("waybill:order:{uid}");
        assert_eq!(self.ask(&[b"SET", key.as_bytes(), value]).await, b"+OK\r\n");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_is_shared_by_replicas_and_its_death_is_not_seen() {
    let env = TestEnvironment::new(shared()).await;
    let mut redis = Redis::start().await;
    let url = redis.url();
    let flags = ["--redis-url", &url];
    let first = env.start(&flags).await;
    // Ready with an empty database: the second replica has nothing in memory.
    let second = env.start(&flags).await;
    let orders: Vec<_> = (0..40).map(|number| order(&format!("order-{number}"), number)).collect();
    env.send_all(orders.iter().map(record)).await;
    env.drained().await;
    let mut from_redis = 0;
    for order in &orders {
        redis.value(order["order_uid"].as_str().unwrap()).await;
        // Whichever replica stored it has it in memory; the other finds it in Redis first.
        let sources = [source(&first, order).await, source(&second, order).await];
        assert!(sources.iter().all(|source| source != "db"), "{sources:?}");
        from_redis += sources.iter().filter(|source| *source == "redis").count();
        assert_eq!(source(&first, order).await, "memory");
        assert_eq!(source(&second, order).await, "memory");
    }
    assert_eq!(from_redis, 40, "each order is stored by one replica");

    let mut loaded = 0;
    for service in [&first, &second] {
        let told = service.get("/metrics").await.text().await.unwrap();
        let from_redis = "waybill_cache_loads_total{from=\"redis\"} ";
        // One that has stored all of them has loaded none.
        let from_redis = told.lines().find_map(|line| line.strip_prefix(from_redis));
        loaded += from_redis.map_or(0, |count| count.parse::<i32>().unwrap());
        assert_eq!(metric(service, "waybill_redis_failures_total").await, 0.0);
    }
    assert_eq!(loaded, 40);

    redis.child.kill().await.unwrap();
    for order in &orders {
        assert_eq!(source(&first, order).await, "memory");
    }
    let late = order("late", 1);
    send(&env, &late).await;
    env.drained().await;
    let sources = [source(&first, &late).await, source(&second, &late).await];
    assert!(sources.iter().all(|source| source != "redis"), "{sources:?}");
    assert_eq!(first.get("/order/nobody").await.status(), 404);
    assert!(metric(&first, "waybill_redis_failures_total").await > 0.0);
    assert_eq!(first.get("/readyz").await.status(), 200);
    first.stop().await.unwrap();
    second.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_detour_by_redis_makes_no_order_younger() {
    let env = TestEnvironment::new(shared()).await;
    let redis = Redis::start().await;
    let url = redis.url();
    let flags = ["--redis-url", &url, "--cache-max-age", "6"];
    let services = [env.start(&flags).await, env.start(&flags).await];
    let old = order("old", 7);
    send(&env, &old).await;
    env.drained().await;
    redis.value("old").await;
    wait_until("half of its time to pass", async || redis.milliseconds_left("old").await < 3_000)
        .await;
    // One has stored it; the other learns of it from Redis, and from now on it has it in memory.
    let sources = [source(&services[0], &old).await, source(&services[1], &old).await];
    let learned =
        sources.iter().position(|source| source == "redis").expect("one has not stored it");
    wait_until("its time to end", async || redis.milliseconds_left("old").await < 0).await;
    assert_eq!(source(&services[learned], &old).await, "db");
    for service in services {
        service.stop().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_value_in_redis_is_not_served() {
    let env = TestEnvironment::new(shared()).await;
    let redis = Redis::start().await;
    let url = redis.url();
    // No room in memory: every read goes to Redis.
    let flags = ["--redis-url", &url, "--cache-bytes", "100"];
    let service = env.start(&flags).await;
    let whole = order("whole", 7);
    send(&env, &whole).await;
    env.drained().await;
    let value = redis.value("whole").await;
    assert_eq!(source(&service, &whole).await, "redis");
    let last = value.len() - 1;
    let mut other_version = value.clone();
    other_version[9] = b'8';
    let damages = [
        Vec::new(),
        b"nonsense".to_vec(),
        value[..last].to_vec(),
        [&value[..last], b"]"].concat(),
        other_version,
    ];
    for damaged in damages {
        redis.set("whole", &damaged).await;
        assert_eq!(source(&service, &whole).await, "db", "{}", String::from_utf8_lossy(&damaged));
        let answer = service.get("/order/whole").await;
        assert_eq!(answer.headers()["x-order-version"], "1");
    }
    service.stop().await.unwrap();
}
