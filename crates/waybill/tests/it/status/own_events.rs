//! The service's own `created` events are not read back: the row of an order is the first entry of its
//! history.

use serde_json::{Value, json};
use testkit::{OwnServers, Service, TestEnvironment, shared, wait_until};

use crate::support::{order, record, run_as_administrator, send_status};

const RECORDED: &str = "orders.order_events";

async fn history(service: &Service, uid: &str) -> Value {
    service.json(&format!("/order/{uid}/history")).await
}

/// Returns the status, the version and the verdict of each entry.
fn entries(history: &Value) -> Vec<(&str, Option<i64>, Option<&str>)> {
    let entry = |event| {
        let event: &Value = event;
        (event["word"].as_str(), event["version"].as_i64(), event["ignored"]["reason"].as_str())
    };
    let events = history["events"].as_array().unwrap().iter().map(entry);
    events.map(|(word, version, ignored)| (word.unwrap(), version, ignored)).collect()
}

async fn send_order(env: &TestEnvironment, uid: &str, amount: i64) {
    let (key, value) = record(&order(uid, amount));
    env.send(None, Some(&key), Some(&value)).await;
    env.wait_until_drained().await;
    env.wait_until_status_drained().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn three_versions_have_one_creation_and_two_updates() {
    let env = TestEnvironment::new(shared()).await;
    let service = env.start(&[]).await;

    send_order(&env, "three", 1).await;
    let first = history(&service, "three").await;
    assert_eq!(entries(&first), [("created", Some(1), None)]);
    assert_eq!(first["events"][0]["record"], first["stored"]["record"]);
    assert_eq!(first["events"][0]["at"], first["stored"]["at"]);
    assert_eq!(
        (&first["record"], &first["since"]),
        (&first["stored"]["record"], &first["stored"]["at"])
    );
    assert_eq!(env.count(RECORDED).await, 0, "nothing is read back");

    for amount in [2, 3] {
        send_order(&env, "three", amount).await;
    }
    let third = history(&service, "three").await;
    let no_rank = Some("no_rank");
    assert_eq!(
        entries(&third),
        [("created", Some(1), None), ("updated", Some(2), no_rank), ("updated", Some(3), no_rank)]
    );
    assert_eq!(third["events"][0]["record"], Value::Null, "a later record replaced the first");
    assert_eq!(third["events"][0]["at"], first["events"][0]["at"]);
    assert_eq!((&third["status"], &third["record"]), (&json!("created"), &Value::Null));

    // The creation is on the first page, in addition to its events, and in no cursor.
    let page = service.json("/order/three/history?limit=1").await;
    assert_eq!(entries(&page), entries(&third)[..2]);
    let next = page["next"].as_str().unwrap();
    let page = service.json(&format!("/order/three/history?limit=1&after={next}")).await;
    assert_eq!(entries(&page), entries(&third)[2..]);
    assert_eq!(page["next"], Value::Null);
    service.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_created_of_another_source_is_repeated_if_stored() {
    let env = TestEnvironment::new(shared()).await;
    let service = env.start(&[]).await;

    send_order(&env, "stored", 1).await;
    send_status(&env, "stored", "created").await;
    send_status(&env, "early", "created").await;
    env.wait_until_status_drained().await;
    let event = history(&service, "early").await;
    send_order(&env, "early", 1).await;

    let stored = history(&service, "stored").await;
    assert_eq!(entries(&stored), [("created", Some(1), None), ("created", None, Some("repeated"))]);
    assert_eq!(stored["since"], stored["stored"]["at"], "the earlier of the two");
    assert_eq!(stored["record"], stored["stored"]["record"]);

    let early = history(&service, "early").await;
    assert_eq!(entries(&early), [("created", Some(1), None), ("created", None, None)]);
    assert_eq!((&early["since"], &early["record"]), (&event["since"], &event["record"]));
    service.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn another_installation_on_the_topics_is_recorded() {
    let env = TestEnvironment::new(shared()).await;
    let service = env.start(&[]).await;
    send_order(&env, "both", 1).await;

    let source = "waybill/another/orders";
    let value = br#"{"order_id":"both","status":"created","created_at":"2026-01-01T00:00:00Z","version":1}"#;
    env.send_status_with_headers(value, &[("ce_type", "created"), ("ce_source", source)]).await;
    env.wait_until_status_drained().await;

    // A version shows that a service like this one stored the order, so the entry is not repeated.
    let history = history(&service, "both").await;
    assert_eq!(entries(&history), [("created", Some(1), Some("repeated"))]);
    assert_eq!(history["since"], history["stored"]["at"]);
    service.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_of_an_earlier_version_is_created_once() {
    let env = TestEnvironment::new(shared()).await;
    let service = env.start(&[]).await;
    send_order(&env, "old", 1).await;

    // An earlier version, perhaps a replica beside this one, recorded the event.
    run_as_administrator(
        &env,
        "INSERT INTO orders.order_status (order_uid, rank, since, topic, \"partition\", \"offset\") \
             SELECT order_uid, 0, ingested_at + interval '3 ms', 'status', 0, 7 FROM orders.orders; \
         INSERT INTO orders.order_events (order_uid, record_timestamp, topic, \"partition\", \
             \"offset\", word, rank, version) \
             SELECT order_uid, ingested_at + interval '3 ms', 'status', 0, 7, 'created', 0, 1 \
             FROM orders.orders",
    )
    .await;

    let history = history(&service, "old").await;
    assert_eq!(entries(&history), [("created", Some(1), None)]);
    assert_eq!(history["events"][0]["record"], "status:0:7");
    assert_eq!(history["since"], history["stored"]["at"], "the earlier of the two");
    service.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn skipped_records_are_settled_while_postgresql_is_down() {
    let mut own = OwnServers::start().await;
    let env = TestEnvironment::new(&own.servers()).await;
    let service = env.start(&[]).await;
    own.local.postgres.as_mut().unwrap().kill().await.unwrap();

    let source = format!("waybill/{}/orders", env.name);
    for number in 0..500 {
        let value = format!(r#"{{"order_id":"{number}","status":"created"}}"#);
        let headers = [("ce_type", "created"), ("ce_source", source.as_str())];
        env.send_status_with_headers(value.as_bytes(), &headers).await;
    }
    env.wait_until_status_drained().await;

    // A record that needs the database is not skipped.
    env.send_status(Some("1"), br#"{"order_id":"1","status":"cooking"}"#).await;
    own.local.postgres.as_mut().unwrap().restart().await.unwrap();
    env.wait_until_status_drained().await;
    wait_until("the event to be recorded", async || env.count(RECORDED).await == 1).await;
    service.stop().await.unwrap();
    own.stop().await;
}
