//! Redis as the second level of the cache: which state of an order replaces which, expiry, values
//! that are not trusted, and a Redis that accepts connections and never answers.

use std::{
    cell::Cell,
    time::{Duration, Instant},
};

use rustix::process::Signal;
use testkit::{Service, TestEnvironment, shared, wait_until};

use crate::support::{
    Redis, Sent, assert_served, assert_served_from, metric, order, record, run_as_administrator,
    value_in_redis,
};

/// Starts Redis, and a service that has no room in memory: every read goes to Redis.
async fn start_without_memory(more: &[&str]) -> (TestEnvironment, Redis, Service) {
    let env = TestEnvironment::new(shared()).await;
    let redis = Redis::start(&env).await;
    let url = redis.url();
    let flags = [&["--redis-url", &url, "--cache-bytes", "100"], more].concat();
    let service = env.start(&flags).await;
    (env, redis, service)
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_keeps_the_newer_of_two_versions_until_it_expires() {
    // Values in Redis expire after 20 seconds.
    let (env, redis, service) = start_without_memory(&["--cache-max-age", "20"]).await;

    for amount in [1, 2] {
        env.send_all([record(&order("uid", amount))]).await;
        env.wait_until_drained().await;
    }
    wait_until("the second version", async || redis.value("uid").await.starts_with(b"0000000002"))
        .await;
    assert_served_from(&service, &order("uid", 2), "redis").await;

    redis.run(&[b"DEL", redis.key("uid").as_bytes()]).await;

    assert_served_from(&service, &order("uid", 2), "db").await;

    // After a read from the database, the value is in Redis again, with an expiry.
    assert!(redis.value("uid").await.starts_with(b"0000000002"));

    let left = redis.milliseconds_left("uid").await;
    assert!((1..=20_000).contains(&left), "{left} ms");
    service.stop().await.unwrap();
}

async fn version(service: &Service, uid: &str) -> String {
    let answer = service.get(&format!("/order/{uid}")).await;
    assert_eq!(answer.status(), 200);
    answer.headers()["x-order-version"].to_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_was_deleted_and_sent_again_replaces_its_higher_version_in_redis() {
    let (env, redis, service) = start_without_memory(&[]).await;

    for amount in [1, 2, 3] {
        env.send_all([record(&order("uid", amount))]).await;
        env.wait_until_drained().await;
    }
    wait_until("the third version", async || redis.value("uid").await.starts_with(b"0000000003"))
        .await;
    // Of two answers that the database gave within 200 ms, Redis keeps the higher version.
    let left = redis.milliseconds_left("uid").await;
    wait_until("half a second", async || redis.milliseconds_left("uid").await < left - 500).await;
    run_as_administrator(&env, "DELETE FROM orders.orders WHERE order_uid = 'uid'").await;
    env.send_all([record(&order("uid", 4))]).await;
    env.wait_until_drained().await;

    wait_until("the first version", async || redis.value("uid").await.starts_with(b"0000000001"))
        .await;
    assert_served_from(&service, &order("uid", 4), "redis").await;
    service.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn installations_on_one_redis_do_not_share_orders() {
    let envs = [TestEnvironment::new(shared()).await, TestEnvironment::new(shared()).await];
    let redis = Redis::start(&envs[0]).await;
    let url = redis.url();
    let flags = ["--redis-url", &url, "--cache-bytes", "100"];
    let services = [envs[0].start(&flags).await, envs[1].start(&flags).await];

    for (env, amount) in envs.iter().zip([1, 2]) {
        env.send_all([record(&order("uid", amount))]).await;
        env.wait_until_drained().await;
    }

    for (service, amount) in services.iter().zip([1, 2]) {
        wait_until("its order to come from Redis", async || {
            assert_served(service, &order("uid", amount)).await == "redis"
        })
        .await;
    }
    for service in services {
        service.stop().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_that_the_service_cannot_have_written_is_deleted() {
    let (env, redis, service) = start_without_memory(&["--redis-value-key", "secret"]).await;
    let genuine = order("uid", 1);

    env.send_all([record(&genuine)]).await;
    env.wait_until_drained().await;
    redis.value("uid").await;
    assert_served_from(&service, &genuine, "redis").await;

    let key = redis.key("uid");
    let value = value_in_redis(&env.name, "secret", "uid", i32::MAX, &order("uid", 9).to_string());
    for attempt in ["no expiry", "too much time left", "another type", "a list under a new order"] {
        match attempt {
            "no expiry" => redis.set("uid", &value).await,
            "too much time left" => redis.set_for("uid", &value, 1 << 40).await,
            _ => {
                redis.run(&[b"DEL", key.as_bytes()]).await;
                redis.run(&[b"LPUSH", key.as_bytes(), b"an element"]).await;
            }
        }
        if attempt == "a list under a new order" {
            // A write replaces it, too.
            env.send_all([record(&order("uid", 1))]).await;
            env.wait_until_drained().await;
        } else {
            assert_served_from(&service, &genuine, "db").await;
        }
        wait_until("the value to be replaced", async || {
            let left = redis.milliseconds_left("uid").await;
            (1..=300_000).contains(&left) && redis.value("uid").await.starts_with(b"0000000001")
        })
        .await;
        assert_served_from(&service, &genuine, "redis").await;
    }
    assert_eq!(metric(&service, "waybill_redis_failures_total").await, 0.0);
    assert!(metric(&service, "waybill_redis_untrusted_total").await >= 3.0);
    service.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_false_value_with_a_good_checksum_is_corrected_when_it_expires() {
    let env = TestEnvironment::new(shared()).await;
    let redis = Redis::start(&env).await;
    let url = redis.url();
    let flags = ["--redis-url", &url, "--cache-max-age", "3", "--redis-value-key", "secret"];
    let service = env.start(&flags).await;
    env.send_all([record(&order("uid", 1))]).await;
    env.wait_until_drained().await;
    service.stop().await.unwrap();
    let json = order("uid", 9).to_string();
    let value = value_in_redis(&env.name, "secret", "uid", i32::MAX, &json);

    // The order is hidden during the warm-up, so that it is not in memory and Redis is asked.
    run_as_administrator(&env, "UPDATE orders.orders SET order_uid = 'hidden'").await;
    let service = env.start(&flags).await;
    run_as_administrator(&env, "UPDATE orders.orders SET order_uid = 'uid'").await;
    redis.set_for("uid", &value, 2_500).await;

    assert_eq!(version(&service, "uid").await, i32::MAX.to_string());
    wait_until("the database to be asked", async || version(&service, "uid").await == "1").await;
    assert_served_from(&service, &order("uid", 1), "memory").await;
    wait_until("Redis to be corrected", async || {
        redis.value("uid").await.starts_with(b"0000000001")
    })
    .await;
    service.stop().await.unwrap();
}

/// Removes the order from Redis and requests it; calls `meanwhile` when the query waits for a lock, and
/// then lets the database answer. Repeats all of it if the request has exceeded its limit meanwhile.
async fn request_and_meanwhile(
    env: &TestEnvironment,
    service: &Service,
    redis: &Redis,
    meanwhile: impl AsyncFn(),
) {
    wait_until("an answer within the limit of a request", async || {
        redis.run(&[b"DEL", redis.key("uid").as_bytes()]).await;
        let mut lock = env.pool.begin().await.unwrap();
        sqlx::query("LOCK TABLE orders.orders IN ACCESS EXCLUSIVE MODE")
            .execute(&mut *lock)
            .await
            .unwrap();
        let request = tokio::spawn(service.http.get(service.at("/order/uid")).send());
        let waiting = "pg_stat_activity WHERE datname = current_database() \
            AND wait_event_type = 'Lock' AND query LIKE '%orders.orders%'";
        wait_until("the query", async || env.count(waiting).await == 1 || request.is_finished())
            .await;
        meanwhile().await;
        lock.rollback().await.unwrap();
        request.await.unwrap().unwrap().status() == 200
    })
    .await;
    // Redis is written in the sequence of the answers.
    env.send_all([record(&order("beside", 1))]).await;
    redis.value("beside").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lower_version_that_was_read_at_the_same_time_does_not_replace_a_higher_one() {
    let (env, redis, service) = start_without_memory(&["--redis-value-key", "secret"]).await;
    env.send_all([record(&order("uid", 1))]).await;
    env.wait_until_drained().await;
    redis.value("uid").await;

    // As if another replica had replaced the order meanwhile.
    let value = value_in_redis(&env.name, "secret", "uid", 2, &order("uid", 2).to_string());
    request_and_meanwhile(&env, &service, &redis, async || {
        redis.set_for("uid", &value, 300_000).await;
    })
    .await;

    assert!(redis.value("uid").await.starts_with(b"0000000002"));
    service.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_confirmation_of_the_same_version_does_not_shorten_the_expiry() {
    let (env, redis, service) = start_without_memory(&["--redis-value-key", "secret"]).await;

    env.send_all([record(&order("uid", 1))]).await;
    env.wait_until_drained().await;
    let value = redis.value("uid").await;
    let confirmed = Cell::new(Instant::now());
    // As if another replica had confirmed the order meanwhile.
    request_and_meanwhile(&env, &service, &redis, async || {
        confirmed.set(Instant::now());
        redis.set_for("uid", &value, 300_000).await;
    })
    .await;

    let left = redis.milliseconds_left("uid").await + confirmed.get().elapsed().as_millis() as i64;
    assert!(left >= 299_500, "{left} ms");
    service.stop().await.unwrap();
}

/// As if another replica had committed version 2 of the order, and ended before it wrote to Redis.
async fn announce_version_2(env: &TestEnvironment) {
    let own = format!("waybill/{}/orders", env.name);
    let event = br#"{"order_id":"uid","status":"updated","version":2}"#;
    env.send_status_with_headers(event, &[("ce_source", &own)]).await;
}

/// A replica that starts later does not know the announced version.
#[tokio::test(flavor = "multi_thread")]
async fn an_announced_version_deletes_lower_ones_in_redis_and_keeps_them_out() {
    // Memory does not know the announced version either.
    let (env, redis, service) = start_without_memory(&[]).await;
    env.send_all([record(&order("uid", 1))]).await;
    env.wait_until_drained().await;
    redis.value("uid").await;
    assert_served_from(&service, &order("uid", 1), "redis").await;

    redis.signal(Signal::STOP);
    announce_version_2(&env).await;
    wait_until("a failure of Redis", async || {
        metric(&service, "waybill_redis_failures_total").await >= 1.0
    })
    .await;
    redis.signal(Signal::CONT);
    wait_until("the minimum version", async || redis.value("uid").await == b"0000000002").await;

    // The query is sent before a further event, and answered after it.
    request_and_meanwhile(&env, &service, &redis, async || {
        announce_version_2(&env).await;
        assert_eq!(redis.value("uid").await, b"0000000002");
    })
    .await;

    assert_eq!(redis.value("uid").await, b"0000000002");
    assert_eq!(metric(&service, "waybill_redis_untrusted_total").await, 0.0);

    // The database still has version 1, as after a failover: a query after the event says so.
    wait_until("the answer of a later query", async || {
        assert_served(&service, &order("uid", 1)).await;
        redis.value("uid").await.starts_with(b"0000000001")
    })
    .await;
    service.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_below_an_announced_version_does_not_enter_redis() {
    let env = TestEnvironment::new(shared()).await;
    let redis = Redis::start(&env).await;
    let url = redis.url();
    let service = env.start(&["--redis-url", &url]).await;
    env.send_all([record(&order("uid", 1))]).await;
    env.wait_until_drained().await;
    redis.value("uid").await;

    announce_version_2(&env).await;
    wait_until("the minimum version", async || redis.value("uid").await == b"0000000002").await;
    // As if Redis had lost it, and the database answered from before the event.
    redis.run(&[b"DEL", redis.key("uid").as_bytes()]).await;
    assert_served_from(&service, &order("uid", 1), "db").await;

    // Redis is written in the sequence of the answers.
    env.send_all([record(&order("beside", 1))]).await;
    redis.value("beside").await;
    assert!(redis.milliseconds_left("uid").await < 0, "the old version is in Redis");
    service.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_redis_delays_ingest_and_reads_only_briefly() {
    let env = TestEnvironment::new(shared()).await;
    let redis = Redis::start(&env).await;
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
        let key = redis.key(&format!("order-{number:06}"));
        number += 1;
        redis.run(&[b"EXISTS", key.as_bytes()]).await == b":1\r\n"
    })
    .await;

    sent.assert_settled_at(&env, &service).await;
    service.stop().await.unwrap();
}
