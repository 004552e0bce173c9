//! Servers that go away in full flow and come back; records that Kafka has lost.

use std::time::{Duration, Instant};

use serde_json::Value;
use testkit::{OwnServers, Service, TestEnvironment, shared, wait_until};

use crate::support::{Sent, metric, order, record};

async fn is_cached(service: &Service, order: &Value) {
    let answer = service.get(&format!("/order/{}", order["order_uid"].as_str().unwrap())).await;
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["x-cache"], "memory");
    assert_eq!(&answer.json::<Value>().await.unwrap(), order);
}

async fn is_problem(answer: reqwest::Response) {
    assert_eq!(answer.status(), 503);
    assert_eq!(answer.headers()["content-type"], "application/problem+json");
    assert_eq!(answer.headers()["cache-control"], "no-store");
    assert_eq!(answer.headers()["retry-after"], "1");
    assert_eq!(answer.json::<Value>().await.unwrap()["status"], 503);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_postgresql_cached_reads_go_on_and_nothing_is_lost() {
    let mut own = OwnServers::start().await;
    let env = TestEnvironment::new(&own.servers()).await;
    let mut sent = Sent::default();
    let service = env.start(&["--batch-rows", "50"]).await;
    env.send_all(sent.mixed(0, 1)).await;
    env.drained().await;
    for round in 0..2 {
        let before = env.count("orders.orders").await;
        env.send_all(sent.mixed(1 + round * 3_000, 3_000)).await;
        wait_until("the flow to be on", async || env.count("orders.orders").await > before).await;
        own.local.postgres.as_mut().unwrap().kill().await.unwrap();

        is_cached(&service, &sent.orders["order-000000"]).await;
        is_problem(service.get("/order/nobody").await).await;
        assert_eq!(service.get("/readyz").await.status(), 200);
        // What comes meanwhile waits in Kafka.
        let late = order(&format!("late-{round}"), 1);
        let posted = service.http.post(service.at("/order")).body(late.to_string()).send().await;
        assert_eq!(posted.unwrap().status(), 202);
        sent.orders.insert(format!("late-{round}"), late);
        assert_ne!(env.lag().await, 0, "offsets wait for the database");
        let lag = async || metric(&service, "waybill_consumer_lag_seconds").await;
        let before = lag().await;
        wait_until("the lag to grow", async || lag().await > before.max(0.0) + 0.5).await;

        assert!(metric(&service, "waybill_batch_retries_total").await > 0.0);
        own.local.postgres.as_mut().unwrap().restart().await.unwrap();
        env.drained().await;
    }
    let idle = "db_client_connection_count{db_client_connection_state=\"idle\"}";
    assert!(metric(&service, idle).await >= 1.0);
    sent.is_served(&env, &service).await;
    wait_until("nothing to be unsettled", async || {
        metric(&service, "waybill_consumer_lag_seconds").await == 0.0
    })
    .await;
    service.stop().await.unwrap();
    own.stop().await;
}

/// What is cached is past its age all the time here, so each read would ask the database.
#[tokio::test(flavor = "multi_thread")]
async fn without_postgresql_no_cached_read_waits_for_it() {
    let mut own = OwnServers::start().await;
    let env = TestEnvironment::new(&own.servers()).await;
    let service = env.start(&["--cache-max-age", "0"]).await;
    let orders: Vec<_> = (0..20).map(|number| order(&format!("order-{number}"), number)).collect();
    env.send_all(orders.iter().map(record)).await;
    env.drained().await;
    let source = async |order: &Value| {
        let answer = service.get(&format!("/order/{}", order["order_uid"].as_str().unwrap())).await;
        assert_eq!(answer.status(), 200);
        answer.headers()["x-cache"].to_str().unwrap().to_owned()
    };
    assert_eq!(source(&orders[0]).await, "db");

    own.local.postgres.as_mut().unwrap().kill().await.unwrap();
    let since = Instant::now();
    for order in &orders {
        is_cached(&service, order).await;
    }
    // A single one that waited for a connection would take three seconds.
    let took = since.elapsed();
    assert!(took < Duration::from_secs(10), "{} reads took {took:?}", orders.len());

    own.local.postgres.as_mut().unwrap().restart().await.unwrap();
    wait_until("the database to be asked again", async || source(&orders[0]).await == "db").await;
    service.stop().await.unwrap();
    own.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_kafka_reads_go_on_and_nothing_is_lost() {
    let mut own = OwnServers::start().await;
    let env = TestEnvironment::new(&own.servers()).await;
    let mut sent = Sent::default();
    let service = env.start(&["--batch-rows", "50"]).await;
    env.send_all(sent.mixed(0, 1)).await;
    env.drained().await;
    env.send_all(sent.mixed(1, 4_000)).await;
    wait_until("the flow to be on", async || env.count("orders.orders").await > 1).await;
    own.local.kafka.as_mut().unwrap().stop().await.unwrap();

    is_cached(&service, &sent.orders["order-000000"]).await;
    assert_eq!(service.get("/order/nobody").await.status(), 404);
    let waiting = tokio::spawn({
        let (env, records) = (env.clone(), sent.mixed(4_001, 100));
        async move { env.send_all(records).await }
    });
    let posted = order("posted", 1);
    let post = || service.http.post(service.at("/order")).body(posted.to_string()).send();
    is_problem(post().await.unwrap()).await;
    assert_eq!(service.get("/readyz").await.status(), 200);

    own.local.kafka.as_mut().unwrap().restart().await.unwrap();
    wait_until("Kafka to take orders again", async || post().await.unwrap().status() == 202).await;
    sent.orders.insert("posted".to_owned(), posted.clone());
    waiting.await.unwrap();
    env.drained().await;
    sent.is_served(&env, &service).await;
    service.stop().await.unwrap();
    own.stop().await;
}

/// Ends with the sentence about offsets that Kafka no longer has, and has stored nothing new.
async fn stops_loudly(env: &TestEnvironment, service: Service, stored: i64) {
    let outcome = tokio::time::timeout(Duration::from_secs(60), service.ended()).await;
    let told = outcome.expect("it ends by itself").unwrap_err().to_string();
    assert!(
        told.starts_with("Kafka no longer has the records after the committed offset"),
        "{told}"
    );
    assert!(told.contains("--reset-offsets"), "{told}");
    assert_eq!(env.count("orders.orders").await, stored);
}

async fn send_to_one_partition(env: &TestEnvironment, name: &str, count: i64) {
    for number in 0..count {
        let (key, value) = record(&order(&format!("{name}-{number}"), number));
        env.send(Some(0), Some(&key), Some(&value)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn records_deleted_before_they_were_read_are_a_loud_stop() {
    let env = TestEnvironment::new(shared()).await;
    let service = env.start(&[]).await;
    send_to_one_partition(&env, "read", 3).await;
    env.drained().await;
    service.stop().await.unwrap();
    send_to_one_partition(&env, "gone", 5).await;
    env.delete_records(0, 6).await;

    let service = env.start(&[]).await;
    stops_loudly(&env, service, 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_made_anew_under_a_running_service_is_a_loud_stop() {
    let env = TestEnvironment::new(shared()).await;
    let service = env.start(&[]).await;
    send_to_one_partition(&env, "old", 20).await;
    env.drained().await;
    env.make_orders_topic_anew().await;
    send_to_one_partition(&env, "new", 3).await;
    made_anew(service).await;
    assert_eq!(env.count("orders.orders").await, 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_offset_beyond_the_end_is_a_loud_stop() {
    let env = TestEnvironment::new(shared()).await;
    send_to_one_partition(&env, "some", 3).await;
    // As a broker leaves it that was restored from an older copy.
    env.commit(0, 20).await;
    let service = env.start(&[]).await;
    stops_loudly(&env, service, 0).await;
}

/// With a topic Kafka deletes what was committed for it, so the new one is read from its beginning.
#[tokio::test(flavor = "multi_thread")]
async fn a_topic_made_anew_between_two_starts_is_read_from_its_beginning() {
    let env = TestEnvironment::new(shared()).await;
    let service = env.start(&[]).await;
    env.send(Some(0), None, Some(b"{")).await;
    send_to_one_partition(&env, "old", 20).await;
    env.drained().await;
    service.stop().await.unwrap();
    env.make_orders_topic_anew().await;
    env.send(Some(0), None, Some(b"[")).await;
    send_to_one_partition(&env, "new", 3).await;
    wait_until("Kafka to forget the offset", async || env.lag().await == 4).await;

    let service = env.start(&[]).await;
    env.drained().await;
    assert_eq!(env.count("orders.orders").await, 23);
    assert_eq!(
        env.count("orders.rejected_records WHERE \"partition\" = 0 AND \"offset\" = 0").await,
        2,
        "the new topic's record does not hide behind the old one's"
    );
    service.stop().await.unwrap();
}

/// The new topic has all the offsets of the old one, and none of its records.
#[tokio::test(flavor = "multi_thread")]
async fn a_topic_made_anew_that_outgrew_the_old_one_is_a_loud_stop() {
    let env = TestEnvironment::new(shared()).await;
    let service = env.start(&[]).await;
    send_to_one_partition(&env, "old", 5).await;
    env.drained().await;
    env.make_orders_topic_anew().await;
    send_to_one_partition(&env, "new", 50).await;
    let told = made_anew(service).await;
    assert!(told.contains("--to-earliest"), "{told}");
    assert_eq!(env.count("orders.orders").await, 5, "no record of the new topic was taken");

    // What is told to do: `kafka-consumer-groups --reset-offsets --to-earliest`.
    env.commit(0, 0).await;
    let service = env.start(&[]).await;
    env.drained().await;
    assert_eq!(env.count("orders.orders").await, 55);
    service.stop().await.unwrap();
}

/// An offset of the old topic that was committed for the new one, as by a replica that knew no
/// better, is not gone on from.
#[tokio::test(flavor = "multi_thread")]
async fn an_offset_committed_for_another_topic_of_the_name_is_a_loud_stop() {
    let env = TestEnvironment::new(shared()).await;
    send_to_one_partition(&env, "new", 50).await;
    env.commit_as_of_topic(0, 5, "qqqqqqqqqqqqqqqqqqqqqA").await;
    let service = env.start(&[]).await;
    let told = made_anew(service).await;
    assert!(told.contains("qqqqqqqqqqqqqqqqqqqqqA"), "{told}");
    assert_eq!(env.count("orders.orders").await, 0);
}

async fn made_anew(service: Service) -> String {
    let outcome = tokio::time::timeout(Duration::from_secs(60), service.ended()).await;
    let told = outcome.expect("it ends by itself").unwrap_err().to_string();
    assert!(told.contains("was made anew"), "{told}");
    told
}
