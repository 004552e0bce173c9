//! The levels of the cache: restart, single flight, negative entries, the byte budget, Redis.

use serde_json::Value;
use testkit::{TestEnvironment, eventually, shared, wait_until};

use crate::support::{
    Program, Redis, Scratch, assert_served, assert_served_from, insert_large_copies, metric, order,
    record, value_in_redis,
};

async fn send_order(env: &TestEnvironment, order: &Value) {
    env.send_all([record(order)]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_restores_the_cache() {
    let env = TestEnvironment::new(shared()).await;
    let kept = order("kept", 7);
    let service = env.start(&[]).await;

    send_order(&env, &kept).await;
    env.wait_until_drained().await;
    service.stop().await.unwrap();
    let service = env.start(&[]).await;

    assert_served_from(&service, &kept, "memory").await;
    service.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn many_misses_at_once_are_one_query() {
    let env = TestEnvironment::new(shared()).await;
    let wanted = order("wanted", 7);
    let service = env.start(&[]).await;

    send_order(&env, &wanted).await;
    env.wait_until_drained().await;
    service.stop().await.unwrap();
    // There is no room for it: every request is a miss.
    let service = env.start(&["--cache-bytes", "100"]).await;
    // The lock delays the one query until all other requests wait for it, for less than its limit.
    let mut lock = env.pool.begin().await.unwrap();
    sqlx::query("LOCK TABLE orders.orders IN ACCESS EXCLUSIVE MODE")
        .execute(&mut *lock)
        .await
        .unwrap();
    let before = metric(&service, "waybill_cache_misses_total").await;
    let requests: Vec<_> = (0..100)
        .map(|_| tokio::spawn(service.http.get(service.at("/order/wanted")).send()))
        .collect();
    wait_until("all requests to be misses", async || {
        metric(&service, "waybill_cache_misses_total").await >= before + 100.0
    })
    .await;
    let waiting = "pg_stat_activity WHERE datname = current_database() \
        AND query LIKE '-- find_order%' AND state = 'active'";
    wait_until("the query", async || env.count(waiting).await > 0).await;

    assert_eq!(env.count(waiting).await, 1, "queries that wait for the lock");
    lock.rollback().await.unwrap();
    for answer in requests {
        let answer = answer.await.unwrap().unwrap();
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()["x-cache"], "db");
        assert_eq!(answer.json::<Value>().await.unwrap(), wanted);
    }
    service.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_order_does_not_affect_others_of_the_same_query() {
    let env = TestEnvironment::new(shared()).await;
    let service = env.start(&["--cache-bytes", "100"]).await;
    let uids = ["first", "second", "good", "damaged", "better"];

    env.send_all(uids.iter().map(|uid| record(&order(uid, 7)))).await;
    env.wait_until_drained().await;
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
        wait_until("all requests to be misses", async || {
            metric(&service, "waybill_cache_misses_total").await >= before + count
        })
        .await;
    };
    // Two queries run at once; later requests wait for one of them.
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
async fn an_absent_order_is_cached_until_the_order_arrives() {
    let env = TestEnvironment::new(shared()).await;
    let service = env.start(&[]).await;
    assert_eq!(service.get("/order/soon").await.status(), 404);

    let soon = order("soon", 7);
    send_order(&env, &soon).await;
    let events = eventually("the order to be published", async || {
        let events = env.read_all(&env.status_topic()).await;
        (!events.is_empty()).then_some(events)
    });

    assert_eq!(events.await[0].headers["ce_id"], "soon:1:created");
    // It is committed, so it is visible, although it was absent just before.
    assert_served_from(&service, &soon, "memory").await;

    // A second request for an absent order within a second does not reach the database.
    let before = metric(&service, "waybill_cache_misses_total").await;
    for _ in 0..3 {
        assert_eq!(service.get("/order/never").await.status(), 404);
    }

    let missed = metric(&service, "waybill_cache_misses_total").await - before;
    assert!(missed < 3.0, "{missed} of 3 requests were misses");
    service.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_evicted_by_the_byte_budget_is_still_served() {
    let env = TestEnvironment::new(shared()).await;
    let orders: Vec<_> = (0..200).map(|number| order(&format!("order-{number}"), number)).collect();
    let service = env.start(&["--cache-bytes", "50000"]).await;

    env.send_all(orders.iter().map(record)).await;
    env.wait_until_drained().await;
    let (mut memory, mut database) = (0, 0);

    for order in &orders {
        match assert_served(&service, order).await.as_str() {
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
async fn warm_up_takes_the_newest_orders_if_the_budget_is_small() {
    let env = TestEnvironment::new(shared()).await;
    let service = env.start(&[]).await;

    send_order(&env, &order("original", 7)).await;
    env.wait_until_drained().await;
    service.stop().await.unwrap();
    // Copies for several pages of the warm-up, each a second older than the one before.
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
    // One shard of the cache may be full slightly before the others.
    assert!(warm.iter().filter(|number| **number < 1_500).count() >= 55, "{warm:?}");
    assert!(warm.iter().all(|number| *number < 3_000), "{warm:?}");
    service.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_share_redis_and_its_crash_is_not_noticed() {
    let env = TestEnvironment::new(shared()).await;
    let mut redis = Redis::start(&env).await;
    let url = redis.url();
    let flags = ["--redis-url", &url];
    let first = env.start(&flags).await;
    // The database is still empty: the second replica has nothing in memory.
    let second = env.start(&flags).await;
    let orders: Vec<_> = (0..40).map(|number| order(&format!("order-{number}"), number)).collect();

    env.send_all(orders.iter().map(record)).await;
    env.wait_until_drained().await;
    let mut from_redis = 0;

    for order in &orders {
        redis.value(order["order_uid"].as_str().unwrap()).await;
        // The replica that stored it has it in memory; the other finds it in Redis first.
        let sources = [assert_served(&first, order).await, assert_served(&second, order).await];
        assert!(sources.iter().all(|source| source != "db"), "{sources:?}");
        from_redis += sources.iter().filter(|source| *source == "redis").count();
        assert_served_from(&first, order, "memory").await;
        assert_served_from(&second, order, "memory").await;
    }
    assert_eq!(from_redis, 40, "each order is stored by one replica");

    let mut loaded = 0;
    for service in [&first, &second] {
        let metrics = service.get("/metrics").await.text().await.unwrap();
        let from_redis = "waybill_cache_loads_total{from=\"redis\"} ";
        // A replica that has stored all of them has loaded none.
        let from_redis = metrics.lines().find_map(|line| line.strip_prefix(from_redis));
        loaded += from_redis.map_or(0, |count| count.parse::<i32>().unwrap());
        assert_eq!(metric(service, "waybill_redis_failures_total").await, 0.0);
    }
    assert_eq!(loaded, 40);

    redis.kill().await;
    for order in &orders {
        assert_served_from(&first, order, "memory").await;
    }

    let late = order("late", 1);
    send_order(&env, &late).await;
    env.wait_until_drained().await;
    let sources = [assert_served(&first, &late).await, assert_served(&second, &late).await];

    assert!(sources.iter().all(|source| source != "redis"), "{sources:?}");
    assert_eq!(first.get("/order/nobody").await.status(), 404);
    assert!(metric(&first, "waybill_redis_failures_total").await > 0.0);
    assert_eq!(first.get("/readyz").await.status(), 200);
    first.stop().await.unwrap();
    second.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_in_redis_does_not_extend_the_age_of_an_order() {
    let env = TestEnvironment::new(shared()).await;
    let redis = Redis::start(&env).await;
    let url = redis.url();
    let flags = ["--redis-url", &url, "--cache-max-age", "12"];
    let services = [env.start(&flags).await, env.start(&flags).await];
    let old = order("old", 7);

    send_order(&env, &old).await;
    env.wait_until_drained().await;
    redis.value("old").await;
    wait_until("half of the expiry to pass", async || {
        (0..6_000).contains(&redis.milliseconds_left("old").await)
    })
    .await;
    // One replica has stored it; the other loads it from Redis and then has it in memory.
    let sources =
        [assert_served(&services[0], &old).await, assert_served(&services[1], &old).await];
    let loader =
        sources.iter().position(|source| source == "redis").expect("one replica has not stored it");
    wait_until("the value to expire", async || redis.milliseconds_left("old").await < 0).await;

    assert_served_from(&services[loader], &old, "db").await;

    for service in services {
        service.stop().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_value_in_redis_is_not_served() {
    let env = TestEnvironment::new(shared()).await;
    let redis = Redis::start(&env).await;
    let url = redis.url();
    // There is no room in memory: every read goes to Redis.
    let flags = ["--redis-url", &url, "--cache-bytes", "100"];
    let service = env.start(&flags).await;
    let whole = order("whole", 7);

    send_order(&env, &whole).await;
    env.wait_until_drained().await;
    let value = redis.value("whole").await;

    assert_served_from(&service, &whole, "redis").await;

    let last = value.len() - 1;
    let mut other_version = value.clone();
    other_version[9] = b'8';
    let json = whole.to_string();
    let foreign = value_in_redis(&env.name, "another secret", "whole", 8, &json);
    let damages = [
        Vec::new(),
        b"nonsense".to_vec(),
        value[..last].to_vec(),
        [&value[..last], b"]"].concat(),
        other_version,
        foreign,
    ];

    for damaged in damages {
        redis.set_for("whole", &damaged, 60_000).await;
        assert_eq!(
            assert_served(&service, &whole).await,
            "db",
            "{}",
            String::from_utf8_lossy(&damaged)
        );
        wait_until("the value to be replaced by a good one", async || {
            // The digits of the duration and the checksum after them may differ.
            let written = redis.value("whole").await;
            written.len() == value.len()
                && written[..10] == value[..10]
                && written[52..] == value[52..]
        })
        .await;
        let answer = service.get("/order/whole").await;
        assert_eq!(answer.headers()["x-order-version"], "1");
    }
    service.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_warm_up_of_large_orders_stays_within_the_budget() {
    let env = TestEnvironment::new(shared()).await;
    let service = env.start(&[]).await;
    send_order(&env, &order("original", 7)).await;
    env.wait_until_drained().await;
    service.stop().await.unwrap();
    // 3,000 orders of 90 KB, that is 270 MB of JSON.
    insert_large_copies(&env, 3000, 10).await;
    let folder = Scratch::new();
    let flags = env.flags();
    let mut flags: Vec<_> =
        flags.chunks(2).map(|flag| (flag[0].as_str(), flag[1].as_str())).collect();
    flags.retain(|(flag, _)| *flag != "--orders-http-addr");
    flags.push(("--cache-bytes", "16777216"));

    let program = Program::start_with_log("orders", &flags, &folder.0.join("log"));
    wait_until("the cache to be warm", async || {
        let log = std::fs::read_to_string(folder.0.join("log")).unwrap();
        log.contains("the cache is warm")
    })
    .await;

    let peak = program.peak_memory();
    assert!(peak < 150_000_000, "{peak} bytes");
    assert!(program.terminate().await.success());
}
