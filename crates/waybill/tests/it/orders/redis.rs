//! Redis as the second level of the cache: which version replaces which, expiry, and a Redis that
//! accepts connections and never answers.

use std::time::Duration;

use rustix::process::Signal;
use testkit::{TestEnvironment, shared, wait_until};

use crate::support::{Redis, Sent, assert_served_from, order, record};

#[tokio::test(flavor = "multi_thread")]
async fn redis_keeps_the_newer_of_two_versions_until_it_expires() {
    let env = TestEnvironment::new(shared()).await;
    let redis = Redis::start().await;
    let url = redis.url();
    // There is no room in memory: every read goes to Redis. Values there expire after 20 seconds.
    let flags = ["--redis-url", &url, "--cache-bytes", "100", "--cache-max-age", "20"];
    let service = env.start(&flags).await;

    for amount in [1, 2] {
        env.send_all([record(&order("uid", amount))]).await;
        env.wait_until_drained().await;
    }
    wait_until("the second version", async || redis.value("uid").await.starts_with(b"0000000002"))
        .await;
    let newer = redis.value("uid").await;

    assert_served_from(&service, &order("uid", 2), "redis").await;

    // A replica that is a version behind writes the same key later. Here it has a database of its
    // own, which a real installation would not have.
    let stale_env = TestEnvironment::new(shared()).await;
    let stale = stale_env.start(&flags).await;
    redis.set("uid", &newer).await;
    stale_env.send_all([record(&order("uid", 1)), record(&order("beside", 1))]).await;
    stale_env.wait_until_drained().await;
    redis.value("beside").await;

    assert!(redis.value("uid").await == newer, "the older version did not replace the newer");
    stale.stop().await.unwrap();
    redis.run(&[b"DEL", b"waybill:order:uid"]).await;

    assert_served_from(&service, &order("uid", 2), "db").await;

    // After a read from the database, the value is in Redis again, with an expiry.
    assert!(redis.value("uid").await.starts_with(b"0000000002"));

    let left = redis.milliseconds_left("uid").await;
    assert!((1..=20_000).contains(&left), "{left} ms");
    service.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_redis_delays_ingest_and_reads_only_briefly() {
    let env = TestEnvironment::new(shared()).await;
    let redis = Redis::start().await;
    let url = redis.url();
    let mut sent = Sent::default();
    let service = env.start(&["--redis-url", &url, "--batch-rows", "50"]).await;

    env.send_all(sent.mixed(0, 2_000)).await;
    wait_until("the first orders to be stored", async || env.count("orders.orders").await > 0)
        .await;
    redis.signal(Signal::STOP);

    env.send_all(sent.mixed(2_000, 500)).await;
    env.wait_until_drained().await;
    for path in ["/order/order-000000", "/order/order-002499", "/order/nobody"] {
        // A hit in memory does not need Redis; a miss waits for it at most a fifth of a second.
        let answer = tokio::time::timeout(Duration::from_secs(5), service.get(path)).await;
        let status = answer.expect("the service answers without Redis").status();
        assert_eq!(status.as_u16(), if path.ends_with("nobody") { 404 } else { 200 }, "{path}");
    }
    assert_eq!(service.get("/readyz").await.status(), 200);

    redis.signal(Signal::CONT);
    let mut number = 2_500;
    wait_until("Redis to be used again", async || {
        env.send_all(sent.mixed(number, 1)).await;
        env.wait_until_drained().await;
        let key = format!("waybill:order:order-{number:06}");
        number += 1;
        redis.run(&[b"EXISTS", key.as_bytes()]).await == b":1\r\n"
    })
    .await;

    sent.assert_settled_at(&env, &service).await;
    service.stop().await.unwrap();
}
