//! The same `order_uid` again: the later record by (Kafka timestamp, partition, offset) wins, in
//! whatever order and however often the records arrive.

use serde_json::Value;
use sqlx::types::time::OffsetDateTime;
use testkit::{Received, TestEnvironment, shared, wait_until};

use crate::support::{Program, order, record};

const UID: &str = "again";

#[derive(Debug, Clone, PartialEq, sqlx::FromRow)]
struct Row {
    payment_amount: i64,
    version: i32,
    source_timestamp: OffsetDateTime,
    source_partition: i32,
    source_offset: i64,
    ingested_at: OffsetDateTime,
}

async fn row(env: &TestEnvironment, uid: &str) -> Row {
    sqlx::query_as(
        "SELECT payment_amount, version, source_timestamp, source_partition, source_offset, ingested_at \
         FROM orders.orders WHERE order_uid = $1",
    )
    .bind(uid)
    .fetch_one(&env.pool)
    .await
    .unwrap()
}

/// Sends one content to one partition; gives the offset.
async fn send(env: &TestEnvironment, partition: i32, uid: &str, amount: i64) -> i64 {
    let (key, value) = record(&order(uid, amount));
    env.send(Some(partition), Some(&key), Some(&value)).await.1
}

fn ids(events: &[Received]) -> Vec<&str> {
    let mut ids: Vec<_> = events.iter().map(|event| event.headers["ce_id"].as_str()).collect();
    ids.sort_unstable();
    ids
}

#[tokio::test(flavor = "multi_thread")]
async fn equal_content_moves_the_position_on_and_other_content_makes_a_version() {
    let env = TestEnvironment::new(shared()).await;
    let service = env.start(&[]).await;
    send(&env, 2, UID, 1).await;
    env.drained().await;
    let first = row(&env, UID).await;
    assert_eq!((first.payment_amount, first.version), (1, 1));

    let offset = send(&env, 2, UID, 1).await;
    env.drained().await;
    let same = row(&env, UID).await;
    assert_eq!((same.version, same.source_offset), (1, offset));
    assert_eq!(same.ingested_at, first.ingested_at);
    let events = env.read_all(&env.status_topic()).await;
    assert_eq!(ids(&events), ["again:1:created", "again:1:created"], "no updated");

    let offset = send(&env, 2, UID, 3).await;
    env.drained().await;
    let changed = row(&env, UID).await;
    assert_eq!((changed.payment_amount, changed.version, changed.source_offset), (3, 2, offset));
    assert_eq!(changed.ingested_at, first.ingested_at);
    let events = env.read_all(&env.status_topic()).await;
    assert!(ids(&events).contains(&"again:2:updated"), "{:?}", ids(&events));
    let answer = service.get("/order/again").await;
    assert_eq!(answer.headers()["x-order-version"], "2");
    assert_eq!(answer.json::<Value>().await.unwrap(), order(UID, 3));
    service.stop().await.unwrap();
}

/// New orders are copied as one; the known one among them must not cost them anything.
#[tokio::test(flavor = "multi_thread")]
async fn a_known_order_in_a_full_batch_of_new_ones_is_replaced_and_the_others_are_stored() {
    let env = TestEnvironment::new(shared()).await;
    let service = env.start(&["--batch-age-ms", "1000"]).await;
    send(&env, 0, UID, 1).await;
    env.drained().await;
    let new = |number: usize| format!("new-{number:03}");
    for number in 0..100 {
        send(&env, 0, &new(number), number as i64).await;
    }
    send(&env, 0, UID, 2).await;
    for number in 100..200 {
        send(&env, 0, &new(number), number as i64).await;
    }
    env.drained().await;

    let known = row(&env, UID).await;
    assert_eq!((known.payment_amount, known.version), (2, 2));
    assert_eq!(env.count("orders.orders").await, 201);
    for number in [0, 99, 100, 199] {
        let stored = row(&env, &new(number)).await;
        assert_eq!((stored.payment_amount, stored.version), (number as i64, 1));
    }
    // Each event is recorded once, though the known order's status was told before.
    let events = env.read_all(&env.status_topic()).await;
    assert_eq!(events.len(), 203, "201 created, one of them again, and one updated");
    wait_until("all events are recorded", async || env.count("orders.order_events").await == 203)
        .await;
    assert_eq!(env.count("orders.order_status").await, 201);
    assert_eq!(env.count("orders.order_events WHERE ignored = 'repeated'").await, 1);
    service.stop().await.unwrap();
}

/// Three contents for each of the six orders of arrival, and the greatest record of each.
async fn six_permutations(env: &TestEnvironment, several_partitions: bool) -> Vec<(String, i64)> {
    let permutations = [[1, 2, 3], [1, 3, 2], [2, 1, 3], [2, 3, 1], [3, 1, 2], [3, 2, 1]];
    let mut wanted = Vec::new();
    for permutation in permutations {
        let uid = format!("uid-{permutation:?}");
        for amount in permutation {
            let partition = if several_partitions { amount as i32 } else { 5 };
            send(env, partition, &uid, amount).await;
        }
        wanted.push((uid, permutation[2]));
    }
    wanted
}

/// What Kafka says is the latest of each order: it stamps records itself, as they are appended.
async fn latest(env: &TestEnvironment, uid: &str) -> (i64, (i64, i32, i64)) {
    let records = env.read_all(&env.orders_topic()).await;
    let latest = records
        .iter()
        .filter(|record| record.key.as_deref() == Some(uid.as_bytes()))
        .max_by_key(|record| (record.timestamp_ms, record.partition, record.offset))
        .unwrap();
    let value: Value = serde_json::from_slice(latest.value.as_ref().unwrap()).unwrap();
    let position = (latest.timestamp_ms, latest.partition, latest.offset);
    (value["payment"]["amount"].as_i64().unwrap(), position)
}

async fn every_order_of_arrival_ends_the_same(several_partitions: bool, flags: &[&str]) {
    let env = TestEnvironment::new(shared()).await;
    let sent = six_permutations(&env, several_partitions).await;
    let service = env.start(flags).await;
    env.drained().await;
    for (uid, last_sent) in &sent {
        let (amount, position) = latest(&env, uid).await;
        let row = row(&env, uid).await;
        let milliseconds = (row.source_timestamp.unix_timestamp_nanos() / 1_000_000) as i64;
        assert_eq!(row.payment_amount, amount, "{uid}");
        assert_eq!((milliseconds, row.source_partition, row.source_offset), position, "{uid}");
        if !several_partitions {
            assert_eq!(amount, *last_sent, "on one partition the last sent is the latest");
        }
        assert_eq!(service.json(&format!("/order/{uid}")).await, order(uid, amount));
    }
    let events = env.read_all(&env.status_topic()).await;
    for (uid, _) in &sent {
        let created =
            events.iter().filter(|event| event.headers["ce_id"].starts_with(&format!("{uid}:")));
        let created = created.filter(|event| event.headers["ce_type"] == "created").count();
        assert_eq!(created, 3, "every valid record tells of its order: {uid}");
    }
    service.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn three_contents_on_one_partition_in_one_batch() {
    every_order_of_arrival_ends_the_same(false, &["--batch-age-ms", "500"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn three_contents_on_one_partition_in_a_batch_each() {
    every_order_of_arrival_ends_the_same(false, &["--batch-rows", "1"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn three_contents_on_several_partitions_in_one_batch() {
    every_order_of_arrival_ends_the_same(true, &["--lanes", "1", "--batch-age-ms", "500"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn three_contents_on_several_partitions_and_lanes_in_a_batch_each() {
    every_order_of_arrival_ends_the_same(true, &["--lanes", "8", "--batch-rows", "1"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redelivery_changes_nothing() {
    let env = TestEnvironment::new(shared()).await;
    let service = env.start(&[]).await;
    for amount in 1..=3 {
        send(&env, 0, UID, amount).await;
        env.drained().await;
    }
    env.send(Some(0), Some(b"bad"), Some(b"{")).await;
    env.drained().await;
    let before = row(&env, UID).await;
    let rejected: OffsetDateTime = rejected_at(&env).await;
    service.stop().await.unwrap();

    let events = env.read_all(&env.status_topic()).await.len();
    let letters = env.read_all(&env.dead_letters()).await.len();
    // Another group starts at the beginning: every record comes again.
    let other = env.in_another_group();
    let service = other.start(&["--batch-rows", "1"]).await;
    other.drained().await;
    assert_eq!(env.read_all(&env.status_topic()).await.len(), events + 6, "events are repeated");
    assert_eq!(env.read_all(&env.dead_letters()).await.len(), letters + 1);
    assert_eq!(row(&env, UID).await, before);
    assert_eq!(before.version, 3);
    assert_eq!(env.count("orders.rejected_records").await, 1);
    assert_eq!(rejected_at(&env).await, rejected);
    assert_eq!(service.json("/order/again").await, order(UID, 3));
    service.stop().await.unwrap();
}

async fn rejected_at(env: &TestEnvironment) -> OffsetDateTime {
    sqlx::query_scalar("SELECT rejected_at FROM orders.rejected_records")
        .fetch_one(&env.pool)
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_between_commit_and_publish_still_publishes_created() {
    let env = TestEnvironment::new(shared()).await;
    for amount in [2, 1, 3] {
        send(&env, 4, UID, amount).await;
    }
    Program::start(&env, Some("after-commit")).was_killed().await;
    wait_until("the order to be committed", async || env.count("orders.orders").await == 1).await;
    let before = row(&env, UID).await;
    assert!(env.read_all(&env.status_topic()).await.is_empty(), "nothing is published yet");

    let service = env.start(&[]).await;
    env.drained().await;
    let events = env.read_all(&env.status_topic()).await;
    assert!(events.iter().any(|event| event.headers["ce_type"] == "created"));
    let after = row(&env, UID).await;
    assert_eq!(after.payment_amount, 3);
    assert_eq!(after.ingested_at, before.ingested_at);
    service.stop().await.unwrap();
}
