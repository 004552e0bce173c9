//! Several records with one `order_uid`: the latest by (Kafka timestamp, partition, offset) wins,
//! in any order of arrival and with any number of repeats.

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

/// Sends an order with this amount to one partition and returns the offset.
async fn send_amount(env: &TestEnvironment, partition: i32, uid: &str, amount: i64) -> i64 {
    let (key, value) = record(&order(uid, amount));
    env.send(Some(partition), Some(&key), Some(&value)).await.1
}

fn event_ids(events: &[Received]) -> Vec<&str> {
    let mut ids: Vec<_> = events.iter().map(|event| event.headers["ce_id"].as_str()).collect();
    ids.sort_unstable();
    ids
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_different_content_makes_a_new_version() {
    let env = TestEnvironment::new(shared()).await;
    let service = env.start(&[]).await;

    send_amount(&env, 2, UID, 1).await;
    env.wait_until_drained().await;
    let first = row(&env, UID).await;

    assert_eq!((first.payment_amount, first.version), (1, 1));

    let offset = send_amount(&env, 2, UID, 1).await;
    env.wait_until_drained().await;
    let same = row(&env, UID).await;

    assert_eq!((same.version, same.source_offset), (1, offset));
    assert_eq!(same.ingested_at, first.ingested_at);

    let events = env.read_all(&env.status_topic()).await;
    assert_eq!(event_ids(&events), ["again:1:created", "again:1:created"], "no updated");

    let offset = send_amount(&env, 2, UID, 3).await;
    env.wait_until_drained().await;
    let changed = row(&env, UID).await;

    assert_eq!((changed.payment_amount, changed.version, changed.source_offset), (3, 2, offset));
    assert_eq!(changed.ingested_at, first.ingested_at);

    let events = env.read_all(&env.status_topic()).await;
    assert!(event_ids(&events).contains(&"again:2:updated"), "{:?}", event_ids(&events));

    let answer = service.get("/order/again").await;
    assert_eq!(answer.headers()["x-order-version"], "2");
    assert_eq!(answer.json::<Value>().await.unwrap(), order(UID, 3));
    service.stop().await.unwrap();
}

/// New orders are copied together; a known order among them must not prevent that.
#[tokio::test(flavor = "multi_thread")]
async fn a_batch_with_one_known_order_stores_all_of_its_orders() {
    let env = TestEnvironment::new(shared()).await;
    let service = env.start(&["--batch-age-ms", "1000"]).await;

    send_amount(&env, 0, UID, 1).await;
    env.wait_until_drained().await;
    let new = |number: usize| format!("new-{number:03}");
    for number in 0..100 {
        send_amount(&env, 0, &new(number), number as i64).await;
    }
    send_amount(&env, 0, UID, 2).await;
    for number in 100..200 {
        send_amount(&env, 0, &new(number), number as i64).await;
    }
    env.wait_until_drained().await;

    let known = row(&env, UID).await;
    assert_eq!((known.payment_amount, known.version), (2, 2));
    assert_eq!(env.count("orders.orders").await, 201);
    for number in [0, 99, 100, 199] {
        let stored = row(&env, &new(number)).await;
        assert_eq!((stored.payment_amount, stored.version), (number as i64, 1));
    }

    // Of the service's own events, only `updated` is recorded.
    let events = env.read_all(&env.status_topic()).await;
    assert_eq!(events.len(), 203, "201 created, one of them again, and one updated");

    env.wait_until_status_drained().await;
    assert_eq!(env.count("orders.order_events").await, 1);
    assert_eq!(env.count("orders.order_events WHERE word = 'updated'").await, 1);
    service.stop().await.unwrap();
}

/// The partitions to which the contents of one order are sent.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Partitions {
    One,
    Several,
}

/// Sends three contents in each of the six orders of arrival, and returns the last content of each.
async fn send_permutations(env: &TestEnvironment, partitions: Partitions) -> Vec<(String, i64)> {
    let permutations = [[1, 2, 3], [1, 3, 2], [2, 1, 3], [2, 3, 1], [3, 1, 2], [3, 2, 1]];
    let mut wanted = Vec::new();
    for permutation in permutations {
        let uid = format!("uid-{permutation:?}");
        for amount in permutation {
            let partition = match partitions {
                Partitions::One => 5,
                Partitions::Several => amount as i32,
            };
            send_amount(env, partition, &uid, amount).await;
        }
        wanted.push((uid, permutation[2]));
    }
    wanted
}

/// Returns the amount and the position of an order's latest record; Kafka sets the timestamps when
/// it appends the records.
async fn latest_record(env: &TestEnvironment, uid: &str) -> (i64, (i64, i32, i64)) {
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

async fn assert_latest_record_wins(partitions: Partitions, flags: &[&str]) {
    let env = TestEnvironment::new(shared()).await;
    let sent = send_permutations(&env, partitions).await;
    let service = env.start(flags).await;
    env.wait_until_drained().await;
    for (uid, last_sent) in &sent {
        let (amount, position) = latest_record(&env, uid).await;
        let row = row(&env, uid).await;
        let milliseconds = (row.source_timestamp.unix_timestamp_nanos() / 1_000_000) as i64;
        assert_eq!(row.payment_amount, amount, "{uid}");
        assert_eq!((milliseconds, row.source_partition, row.source_offset), position, "{uid}");
        if partitions == Partitions::One {
            assert_eq!(amount, *last_sent, "on one partition, the record sent last is the latest");
        }
        assert_eq!(service.json(&format!("/order/{uid}")).await, order(uid, amount));
    }
    let events = env.read_all(&env.status_topic()).await;
    for (uid, _) in &sent {
        let created =
            events.iter().filter(|event| event.headers["ce_id"].starts_with(&format!("{uid}:")));
        let created = created.filter(|event| event.headers["ce_type"] == "created").count();
        assert_eq!(created, 3, "every valid record is followed by an event: {uid}");
    }
    service.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_latest_record_wins_on_one_partition_in_one_batch() {
    assert_latest_record_wins(Partitions::One, &["--batch-age-ms", "500"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_latest_record_wins_on_one_partition_in_many_batches() {
    assert_latest_record_wins(Partitions::One, &["--batch-rows", "1"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_latest_record_wins_on_partitions_of_one_lane() {
    assert_latest_record_wins(Partitions::Several, &["--lanes", "1", "--batch-age-ms", "500"])
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_latest_record_wins_on_partitions_of_eight_lanes() {
    assert_latest_record_wins(Partitions::Several, &["--lanes", "8", "--batch-rows", "1"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redelivered_records_change_nothing() {
    let env = TestEnvironment::new(shared()).await;
    let service = env.start(&[]).await;

    for amount in 1..=3 {
        send_amount(&env, 0, UID, amount).await;
        env.wait_until_drained().await;
    }
    env.send(Some(0), Some(b"bad"), Some(b"{")).await;
    env.wait_until_drained().await;
    let before = row(&env, UID).await;
    let rejected: OffsetDateTime = rejected_at(&env).await;
    service.stop().await.unwrap();

    let events = env.read_all(&env.status_topic()).await.len();
    let letters = env.read_all(&env.dead_letter_topic()).await.len();
    // Another group starts at the beginning: every record is redelivered.
    let other = env.in_another_group();
    let service = other.start(&["--batch-rows", "1"]).await;
    other.wait_until_drained().await;

    assert_eq!(env.read_all(&env.status_topic()).await.len(), events + 6, "events are repeated");
    assert_eq!(env.read_all(&env.dead_letter_topic()).await.len(), letters + 1);
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
        send_amount(&env, 4, UID, amount).await;
    }
    Program::start(&env, Some("after-commit=kill")).assert_killed().await;
    wait_until("the order to be committed", async || env.count("orders.orders").await == 1).await;
    let before = row(&env, UID).await;

    assert!(env.read_all(&env.status_topic()).await.is_empty(), "nothing is published yet");

    let service = env.start(&[]).await;
    env.wait_until_drained().await;
    let events = env.read_all(&env.status_topic()).await;

    assert!(events.iter().any(|event| event.headers["ce_type"] == "created"));

    let after = row(&env, UID).await;
    assert_eq!(after.payment_amount, 3);
    assert_eq!(after.ingested_at, before.ingested_at);
    service.stop().await.unwrap();
}
