//! The second level of the cache beyond its mere use: what may replace what, how long it is kept,
//! and a Redis that takes connections and answers nothing.

use std::time::Duration;

use rustix::process::Signal;
use testkit::{TestEnvironment, shared, wait_until};

use crate::{
    orders::cache::{Redis, source},
    support::{Sent, order, record},
};

#[tokio::test(flavor = "multi_thread")]
async fn redis_keeps_the_newer_of_two_versions_and_neither_for_ever() {
    let env = TestEnvironment::new(shared()).await;
    let redis = Redis::start().await;
    let url = redis.url();
    // No room in memory: every read goes to Redis. What is in it lives for twenty seconds.
    let flags = ["--redis-url", &url, "--cache-bytes", "100", "--cache-max-age", "20"];
    let service = env.start(&flags).await;
    for amount in [1, 2] {
        env.send_all([record(&order("uid", amount))]).await;
        env.drained().await;
    }
    wait_until("the second version", async || redis.value("uid").await.starts_with(b"0000000002"))
        .await;
    let newer = redis.value("uid").await;
    assert_eq!(source(&service, &order("uid", 2)).await, "redis");

    // One that is a version behind writes there too, and too late: here it is one with a database
    // of its own, which a real installation would not have.
    let behind = TestEnvironment::new(shared()).await;
    let late = behind.start(&flags).await;
    redis.set("uid", &newer).await;
    behind.send_all([record(&order("uid", 1)), record(&order("beside", 1))]).await;
    behind.drained().await;
    redis.value("beside").await;
    assert!(redis.value("uid").await == newer, "the older version did not replace the newer");
    late.stop().await.unwrap();
    redis.ask(&[b"DEL", b"waybill:order:uid"]).await;
    assert_eq!(source(&service, &order("uid", 2)).await, "db");

    // Read from the database, it is put there again, and will go by itself.
    assert!(redis.value("uid").await.starts_with(b"0000000002"));
    let left = redis.milliseconds_left("uid").await;
    assert!((1..=20_000).contains(&left), "{left} ms");
    service.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_hangs_in_full_flow_costs_nothing_but_a_moment() {
    let env = TestEnvironment::new(shared()).await;
    let redis = Redis::start().await;
    let url = redis.url();
    let mut sent = Sent::default();
    let service = env.start(&["--redis-url", &url, "--batch-rows", "50"]).await;
    env.send_all(sent.mixed(0, 2_000)).await;
    wait_until("the flow to be on", async || env.count("orders.orders").await > 0).await;
    redis.signal(Signal::STOP);

    env.send_all(sent.mixed(2_000, 500)).await;
    env.drained().await;
    for path in ["/order/order-000000", "/order/order-002499", "/order/nobody"] {
        // Memory does not ask it; who must ask waits a fifth of a second at most.
        let answer = tokio::time::timeout(Duration::from_secs(5), service.get(path)).await;
        let status = answer.expect("nobody waits for Redis").status();
        assert_eq!(status.as_u16(), if path.ends_with("nobody") { 404 } else { 200 }, "{path}");
    }
    assert_eq!(service.get("/readyz").await.status(), 200);

    redis.signal(Signal::CONT);
    let mut number = 2_500;
    wait_until("Redis to be used again", async || {
        env.send_all(sent.mixed(number, 1)).await;
        env.drained().await;
        let key = format!("waybill:order:order-{number:06}");
        number += 1;
        redis.ask(&[b"EXISTS", key.as_bytes()]).await == b":1\r\n"
    })
    .await;
    sent.is_served(&env, &service).await;
    service.stop().await.unwrap();
}
