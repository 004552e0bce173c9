//! PostgreSQL or Kafka stops under load and comes back; Kafka has lost records or a topic.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use serde_json::Value;
use testkit::{OwnServers, Service, TestEnvironment, shared, wait_until};

use crate::support::{Sent, assert_served_from, metric, order, record};

async fn assert_unavailable(answer: reqwest::Response) {
    assert_eq!(answer.status(), 503);
    assert_eq!(answer.headers()["content-type"], "application/problem+json");
    assert_eq!(answer.headers()["cache-control"], "no-store");
    assert_eq!(answer.headers()["retry-after"], "1");
    assert_eq!(answer.json::<Value>().await.unwrap()["status"], 503);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_postgresql_cached_reads_continue() {
    let mut own = OwnServers::start().await;
    let env = TestEnvironment::new(&own.servers()).await;
    let mut sent = Sent::default();
    let service = env.start(&["--batch-rows", "50"]).await;

    env.send_all(sent.mixed(0, 1)).await;
    env.wait_until_drained().await;
    for round in 0..2 {
        let before = env.count("orders.orders").await;
        env.send_all(sent.mixed(1 + round * 3_000, 3_000)).await;
        wait_until("the first orders to be stored", async || {
            env.count("orders.orders").await > before
        })
        .await;
        own.local.postgres.as_mut().unwrap().kill().await.unwrap();

        assert_served_from(&service, &sent.orders["order-000000"], "memory").await;
        assert_unavailable(service.get("/order/nobody").await).await;
        assert_eq!(service.get("/readyz").await.status(), 200);
        // New orders wait in Kafka.
        let late = order(&format!("late-{round}"), 1);
        let posted = service.http.post(service.at("/order")).json(&late).send().await;
        assert_eq!(posted.unwrap().status(), 202);
        sent.orders.insert(format!("late-{round}"), late);
        assert_ne!(env.lag().await, 0, "offsets wait for the database");
        let lag = async || metric(&service, "waybill_consumer_lag_seconds").await;
        let before = lag().await;
        wait_until("the lag to grow", async || lag().await > before.max(0.0) + 0.5).await;

        assert!(metric(&service, "waybill_batch_retries_total").await > 0.0);
        own.local.postgres.as_mut().unwrap().restart().await.unwrap();
        env.wait_until_drained().await;
    }

    let idle = "db_client_connection_count{db_client_connection_pool_name=\"work\",\
                db_client_connection_state=\"idle\"}";
    assert!(metric(&service, idle).await >= 1.0);
    sent.assert_settled_at(&env, &service).await;

    wait_until("all records to be processed", async || {
        metric(&service, "waybill_consumer_lag_seconds").await == 0.0
    })
    .await;
    service.stop().await.unwrap();
    own.stop().await;
}

/// The reads go on before, during and after each outage.
#[tokio::test(flavor = "multi_thread")]
async fn cached_reads_see_no_error_during_outages_of_postgresql() {
    let mut own = OwnServers::start().await;
    let env = TestEnvironment::new(&own.servers()).await;
    let service = env.start(&[]).await;
    let orders: Vec<_> = (0..20).map(|number| order(&format!("order-{number}"), number)).collect();
    env.send_all(orders.iter().map(record)).await;
    env.wait_until_drained().await;

    let stop = AtomicBool::new(false);
    let reads = async {
        let mut reads = 0;
        while !stop.load(Ordering::Acquire) {
            assert_served_from(&service, &orders[reads % orders.len()], "memory").await;
            reads += 1;
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        reads
    };
    let outages = async {
        for round in 0..3 {
            own.local.postgres.as_mut().unwrap().kill().await.unwrap();
            let (key, value) = record(&order(&format!("late-{round}"), round));
            env.send(None, Some(&key), Some(&value)).await;
            own.local.postgres.as_mut().unwrap().restart().await.unwrap();
            env.wait_until_drained().await;
        }
        stop.store(true, Ordering::Release);
    };
    let (reads, ()) = tokio::join!(reads, outages);

    assert!(reads > 100, "{reads}");
    service.stop().await.unwrap();
    own.stop().await;
}

/// All cached orders are older than the limit here, so each read would query the database.
#[tokio::test(flavor = "multi_thread")]
async fn cached_reads_do_not_wait_for_a_stopped_postgresql() {
    let mut own = OwnServers::start().await;
    let env = TestEnvironment::new(&own.servers()).await;
    let service = env.start(&["--cache-max-age", "0"]).await;
    let orders: Vec<_> = (0..20).map(|number| order(&format!("order-{number}"), number)).collect();

    env.send_all(orders.iter().map(record)).await;
    env.wait_until_drained().await;
    let source = async |order: &Value| {
        let answer = service.get(&format!("/order/{}", order["order_uid"].as_str().unwrap())).await;
        assert_eq!(answer.status(), 200);
        answer.headers()["x-cache"].to_str().unwrap().to_owned()
    };

    assert_eq!(source(&orders[0]).await, "db");

    own.local.postgres.as_mut().unwrap().kill().await.unwrap();
    let since = Instant::now();
    for order in &orders {
        assert_served_from(&service, order, "memory").await;
    }

    // One read that waited for a connection would take three seconds.
    let took = since.elapsed();
    assert!(took < Duration::from_secs(10), "{} reads took {took:?}", orders.len());

    own.local.postgres.as_mut().unwrap().restart().await.unwrap();
    wait_until("the database to be queried again", async || source(&orders[0]).await == "db").await;
    service.stop().await.unwrap();
    own.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_kafka_reads_continue_and_nothing_is_lost() {
    let mut own = OwnServers::start().await;
    let env = TestEnvironment::new(&own.servers()).await;
    let mut sent = Sent::default();
    let service = env.start(&["--batch-rows", "50"]).await;

    env.send_all(sent.mixed(0, 1)).await;
    env.wait_until_drained().await;
    env.send_all(sent.mixed(1, 4_000)).await;
    wait_until("the first orders to be stored", async || env.count("orders.orders").await > 1)
        .await;
    own.local.kafka.as_mut().unwrap().stop().await.unwrap();

    assert_served_from(&service, &sent.orders["order-000000"], "memory").await;
    assert_eq!(service.get("/order/nobody").await.status(), 404);

    let waiting = tokio::spawn({
        let (env, records) = (env.clone(), sent.mixed(4_001, 100));
        async move { env.send_all(records).await }
    });
    let posted = order("posted", 1);
    let post = || service.http.post(service.at("/order")).json(&posted).send();

    assert_unavailable(post().await.unwrap()).await;
    assert_eq!(service.get("/readyz").await.status(), 200);

    own.local.kafka.as_mut().unwrap().restart().await.unwrap();
    wait_until("Kafka to accept orders again", async || post().await.unwrap().status() == 202)
        .await;
    sent.orders.insert("posted".to_owned(), posted.clone());
    waiting.await.unwrap();
    env.wait_until_drained().await;

    sent.assert_settled_at(&env, &service).await;
    service.stop().await.unwrap();
    own.stop().await;
}

/// After the session timeout, the client of a member with an instance id joins with a new member id,
/// and Kafka refuses its requests with the old one.
#[tokio::test(flavor = "multi_thread")]
async fn an_instance_id_survives_an_outage_of_kafka() {
    let mut own = OwnServers::start().await;
    let env = TestEnvironment::new(&own.servers()).await;
    let mut sent = Sent::default();
    let service = env.start(&["--kafka-instance-id", "replica-0"]).await;
    let partitions = async || metric(&service, "waybill_consumer_partitions").await;

    env.send_all(sent.mixed(0, 100)).await;
    wait_until("the first orders to be stored", async || env.count("orders.orders").await > 0)
        .await;
    own.local.kafka.as_mut().unwrap().kill().await.unwrap();
    wait_until("the session to time out", async || partitions().await == 0.0).await;
    own.local.kafka.as_mut().unwrap().restart().await.unwrap();
    env.send_all(sent.mixed(100, 100)).await;
    env.wait_until_drained().await;

    sent.assert_settled_at(&env, &service).await;
    service.stop().await.unwrap();
    own.stop().await;
}

/// Asserts that the service ends with the error about lost records, and has stored nothing more.
async fn assert_ends_because_records_are_lost(
    env: &TestEnvironment,
    service: Service,
    stored: i64,
) {
    let outcome = tokio::time::timeout(Duration::from_secs(60), service.outcome()).await;
    let error = outcome.expect("it ends by itself").unwrap_err().to_string();
    assert!(
        error.starts_with("Kafka no longer has the records after the committed offset"),
        "{error}"
    );
    assert!(error.contains("--reset-offsets"), "{error}");
    assert_eq!(env.count("orders.orders").await, stored);
}

async fn send_to_one_partition(env: &TestEnvironment, name: &str, count: i64) {
    for number in 0..count {
        let (key, value) = record(&order(&format!("{name}-{number}"), number));
        env.send(Some(0), Some(&key), Some(&value)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_service_ends_if_unread_records_were_deleted() {
    let env = TestEnvironment::new(shared()).await;
    let service = env.start(&[]).await;

    send_to_one_partition(&env, "read", 3).await;
    env.wait_until_drained().await;
    service.stop().await.unwrap();
    send_to_one_partition(&env, "gone", 5).await;
    env.delete_records(0, 6).await;

    let service = env.start(&[]).await;
    assert_ends_because_records_are_lost(&env, service, 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_service_ends_if_its_topic_is_recreated() {
    let env = TestEnvironment::new(shared()).await;
    let service = env.start(&[]).await;

    send_to_one_partition(&env, "old", 20).await;
    env.wait_until_drained().await;
    env.recreate_orders_topic().await;
    send_to_one_partition(&env, "new", 3).await;

    assert_ends_because_topic_is_new(service).await;
    assert_eq!(env.count("orders.orders").await, 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_service_ends_if_its_offset_is_beyond_the_end() {
    let env = TestEnvironment::new(shared()).await;
    send_to_one_partition(&env, "some", 3).await;
    // As on a broker that was restored from an older copy.
    env.commit(0, 20).await;
    let service = env.start(&[]).await;

    assert_ends_because_records_are_lost(&env, service, 0).await;
}

/// The reason is reported at once, and the wait for the other lanes is bounded.
#[tokio::test(flavor = "multi_thread")]
async fn the_service_ends_even_if_another_lane_waits() {
    let env = TestEnvironment::new(shared()).await;
    // No transaction can write while this lock is held.
    let mut lock = env.pool.begin().await.unwrap();
    sqlx::query("LOCK TABLE orders.orders IN SHARE MODE").execute(&mut *lock).await.unwrap();
    let (key, value) = record(&order("waits", 1));
    env.send(Some(1), Some(&key), Some(&value)).await;
    env.send(Some(0), Some(&key), Some(&value)).await;
    env.commit(0, 20).await;
    let service = env.start(&["--lanes", "2"]).await;

    assert_ends_because_records_are_lost(&env, service, 0).await;
    lock.rollback().await.unwrap();
}

/// Kafka deletes the offsets of a topic together with it, so the new topic is read from its
/// beginning.
#[tokio::test(flavor = "multi_thread")]
async fn a_topic_recreated_between_starts_is_read_from_the_start() {
    let env = TestEnvironment::new(shared()).await;
    let service = env.start(&[]).await;

    env.send(Some(0), None, Some(b"{")).await;
    send_to_one_partition(&env, "old", 20).await;
    env.wait_until_drained().await;
    service.stop().await.unwrap();
    env.recreate_orders_topic().await;
    env.send(Some(0), None, Some(b"[")).await;
    send_to_one_partition(&env, "new", 3).await;
    wait_until("Kafka to delete the committed offset", async || env.lag().await == 4).await;

    let service = env.start(&[]).await;
    env.wait_until_drained().await;
    assert_eq!(env.count("orders.orders").await, 23);
    assert_eq!(
        env.count("orders.rejected_records WHERE \"partition\" = 0 AND \"offset\" = 0").await,
        2,
        "the new topic's record does not hide behind the old one's"
    );
    service.stop().await.unwrap();
}

/// The new topic has all offsets of the old one, but other records.
#[tokio::test(flavor = "multi_thread")]
async fn the_service_ends_if_a_longer_topic_replaced_its_topic() {
    let env = TestEnvironment::new(shared()).await;
    let service = env.start(&[]).await;

    send_to_one_partition(&env, "old", 5).await;
    env.wait_until_drained().await;
    env.recreate_orders_topic().await;
    send_to_one_partition(&env, "new", 50).await;
    let error = assert_ends_because_topic_is_new(service).await;

    assert!(error.contains("--to-earliest"), "{error}");
    assert_eq!(env.count("orders.orders").await, 5, "no record of the new topic was taken");

    // The message recommends `kafka-consumer-groups --reset-offsets --to-earliest`.
    env.commit(0, 0).await;
    let service = env.start(&[]).await;
    env.wait_until_drained().await;

    assert_eq!(env.count("orders.orders").await, 55);
    service.stop().await.unwrap();
}

/// A replica that had not noticed the new topic may commit an offset of the old topic for it.
#[tokio::test(flavor = "multi_thread")]
async fn the_service_ends_if_its_offset_belongs_to_another_topic() {
    let env = TestEnvironment::new(shared()).await;
    send_to_one_partition(&env, "new", 50).await;
    env.commit_with_topic_id(0, 5, "qqqqqqqqqqqqqqqqqqqqqA").await;
    let service = env.start(&[]).await;
    let error = assert_ends_because_topic_is_new(service).await;

    assert!(error.contains("qqqqqqqqqqqqqqqqqqqqqA"), "{error}");
    assert_eq!(env.count("orders.orders").await, 0);
}

/// Asserts that the service ends because its topic was re-created, and returns the error.
async fn assert_ends_because_topic_is_new(service: Service) -> String {
    let outcome = tokio::time::timeout(Duration::from_secs(60), service.outcome()).await;
    let error = outcome.expect("it ends by itself").unwrap_err().to_string();
    assert!(error.contains("was deleted and created again"), "{error}");
    error
}
