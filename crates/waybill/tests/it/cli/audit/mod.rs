//! `waybill audit` on both real services: all invariants hold under load, and a broken one is
//! named. `altered`: rows that were changed manually; `topics`: compacted topics, producers' clocks,
//! transactions, added partitions, deleted records, missing offsets.

mod altered;
mod topics;

use std::process::Output;

use serde_json::Value;
use testkit::{CourierDatabase, TestEnvironment, shared, wait_until};
use tokio::process::Command;

use crate::support::{add_courier, order, record, run_sql, send_status, waybill};

/// Returns the flags of both databases, and of Kafka and its topics.
fn audit_flags(env: &TestEnvironment, database: &CourierDatabase) -> Vec<String> {
    let flags = env.flags();
    let wanted = ["--kafka-", "--orders-database-url"];
    let flags = flags.chunks(2).filter(|flag| wanted.iter().any(|name| flag[0].starts_with(name)));
    let couriers = ["--couriers-database-url".to_owned(), database.url.clone()];
    flags.flatten().cloned().chain(couriers).collect()
}

pub(super) async fn audit(
    env: &TestEnvironment,
    database: &CourierDatabase,
) -> (Output, Vec<Value>) {
    audit_with(env, database, &[]).await
}

/// Runs the audit with further flags.
async fn audit_with(
    env: &TestEnvironment,
    database: &CourierDatabase,
    more: &[&str],
) -> (Output, Vec<Value>) {
    let mut all = vec!["audit".to_owned(), "--json".to_owned()];
    all.extend(audit_flags(env, database));
    let all: Vec<&str> = all.iter().map(String::as_str).chain(more.iter().copied()).collect();
    let output = waybill(&all, &[]).await;
    let checks = String::from_utf8_lossy(&output.stdout);
    let checks = checks.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    (output, checks)
}

/// Asserts that all invariants hold, and returns the checks.
pub(super) async fn assert_holds(env: &TestEnvironment, database: &CourierDatabase) -> Vec<Value> {
    assert_holds_with(env, database, &[]).await
}

async fn assert_holds_with(
    env: &TestEnvironment,
    database: &CourierDatabase,
    more: &[&str],
) -> Vec<Value> {
    let (output, checks) = audit_with(env, database, more).await;
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{error} {checks:#?}");
    checks
}

/// Asserts that the audit reports this invariant as broken, with this example.
async fn assert_broken(
    env: &TestEnvironment,
    database: &CourierDatabase,
    number: u8,
    example: &str,
) {
    let (output, checks) = audit(env, database).await;
    assert_eq!(output.status.code(), Some(1), "{checks:#?}");
    let names = |check: &&Value| {
        check["number"] == number
            && check["examples"].as_array().unwrap().iter().any(|one| one == example)
    };
    let broken = checks.iter().find(names);
    let broken = broken.unwrap_or_else(|| panic!("{example} is not named: {checks:#?}"));
    assert!(broken["broken"].as_u64() > Some(0), "{broken}");
}

#[tokio::test(flavor = "multi_thread")]
async fn all_invariants_hold_under_load() {
    let env = TestEnvironment::new(shared()).await;
    let database = env.courier_database().await;
    // Validation does not check this constraint, so the database rejects a valid event.
    let mut administrator = database.administrator().await;

    run_sql(
        &mut administrator,
        "ALTER TABLE couriers.order_states ADD CHECK (order_id <> 'refused')",
    )
    .await;
    let orders = env.start(&[]).await;
    let couriers = env.start_couriers(&database, &["--dispatch-sweep", "200ms"]).await;
    send_status(&env, "refused", "created").await;
    env.send_status(None, b"no event").await;
    let mut load = Command::new(env!("CARGO_BIN_EXE_waybill"));
    load.args(["load", "--count", "0", "--rate", "200", "--quiet", "--couriers", "150"]);
    load.args(["--couriers-url", &couriers.at("")]);
    load.args(["--duplicates", "0.1", "--changed", "0.1", "--invalid", "0.05"]);
    load.args(["--unparsable", "0.05", "--walk", "0.2", "--cancels", "0.1", "--repeats", "0.1"]);
    load.args(["--reordered", "0.1", "--unknown", "0.1", "--kafka-brokers", &env.servers.kafka]);
    load.args(["--kafka-orders-topic", &env.orders_topic()]);
    load.args(["--kafka-status-topic", &env.status_topic()]).kill_on_drop(true);
    let mut load = load.stdout(std::process::Stdio::null()).spawn().unwrap();

    for orders in [200, 600] {
        wait_until("orders to be stored", async || env.count("orders.orders").await > orders).await;
        assert_holds(&env, &database).await;
    }
    assert!(load.try_wait().unwrap().is_none(), "the generator is still running");

    load.kill().await.unwrap();
    env.wait_until_drained().await;
    env.wait_until_couriers_drained().await;

    for check in assert_holds(&env, &database).await {
        let is_checked = check["checked"].as_u64() > Some(0);
        // At the end, no order may be waiting. The courier service sends no delivery events yet.
        let may_be_idle = [
            "no order waits while a courier is available",
            "the stored delivery of an order is its latest event",
        ]
        .contains(&check["invariant"].as_str().unwrap());
        assert!(is_checked || may_be_idle, "{check}");
    }
    orders.stop().await.unwrap();
    couriers.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn each_broken_invariant_is_named() {
    let env = TestEnvironment::new(shared()).await;
    let database = env.courier_database().await;
    let orders = env.start(&[]).await;
    let couriers = env.start_couriers(&database, &["--dispatch-sweep", "200ms"]).await;

    add_courier(&couriers, "Anna", "car", "available").await;
    let (partition, offset) = env.send(None, None, Some(b"no order")).await;
    let rejected = format!("{}:{partition}:{offset}", env.orders_topic());
    env.send_all(["a", "b", "c"].map(|uid| record(&order(uid, 1)))).await;
    env.wait_until_drained().await;
    env.wait_until_couriers_drained().await;
    wait_until("Anna to be busy", async || couriers.json("/statistics").await["active"] == 1).await;
    let mut waiting = Vec::new();
    for uid in ["a", "b", "c"] {
        if couriers.json(&format!("/delivery/{uid}")).await["state"] == "waiting" {
            waiting.push(uid);
        }
    }

    assert_eq!(waiting.len(), 2);
    assert_holds(&env, &database).await;

    let (mut stored, mut delivered) = (env.administrator().await, database.administrator().await);

    // 1: an order with other content, a deleted rejected record, a state without an event.
    run_sql(&mut stored, "CREATE TABLE orders.before AS TABLE orders.orders").await;
    run_sql(&mut stored, "UPDATE orders.orders SET content_hash = decode(repeat('00', 16), 'hex') WHERE order_uid = 'a'").await;
    let (output, checks) = audit(&env, &database).await;

    assert_eq!(output.status.code(), Some(1), "{checks:#?}");

    let same = "every stored order has the content of its record";
    assert!(checks.iter().any(|check| check["invariant"] == same && check["broken"] == 1));

    run_sql(&mut stored, "UPDATE orders.orders AS o SET content_hash = b.content_hash FROM orders.before AS b WHERE o.order_uid = b.order_uid").await;
    assert_holds(&env, &database).await;

    run_sql(&mut stored, "CREATE TABLE orders.kept AS TABLE orders.rejected_records").await;
    run_sql(&mut stored, "DELETE FROM orders.rejected_records").await;
    assert_broken(&env, &database, 1, &rejected).await;

    run_sql(&mut stored, "INSERT INTO orders.rejected_records TABLE orders.kept").await;
    // A dead letter that was never sent: another record is stored as rejected.
    run_sql(&mut stored, "INSERT INTO orders.rejected_records SELECT topic, source_partition, source_offset, source_timestamp, key, value, reason, violations, replays, rejected_at FROM orders.kept, orders.orders WHERE order_uid = 'b'").await;
    let (output, checks) = audit(&env, &database).await;

    assert_eq!(output.status.code(), Some(1), "{checks:#?}");

    let letters = "every rejected record is on the dead-letter topic";
    assert!(checks.iter().any(|check| check["invariant"] == letters && check["broken"] == 1));

    run_sql(&mut stored, "DELETE FROM orders.rejected_records; INSERT INTO orders.rejected_records TABLE orders.kept").await;
    let lost = waiting[0];
    run_sql(
        &mut delivered,
        &format!("UPDATE couriers.order_states SET rank = 3 WHERE order_id = '{lost}'"),
    )
    .await;

    assert_broken(&env, &database, 1, lost).await;

    run_sql(
        &mut delivered,
        &format!("UPDATE couriers.order_states SET rank = 0 WHERE order_id = '{lost}'"),
    )
    .await;

    // 2: a stored order without an event, and an event without a stored order.
    run_sql(
        &mut stored,
        "UPDATE orders.orders SET order_uid = 'unpublished' WHERE order_uid = 'c'",
    )
    .await;
    assert_broken(&env, &database, 2, "unpublished").await;
    assert_broken(&env, &database, 2, "c").await;

    run_sql(
        &mut stored,
        "UPDATE orders.orders SET order_uid = 'c' WHERE order_uid = 'unpublished'",
    )
    .await;

    // 3: a lost order that neither waits nor has a courier.
    run_sql(&mut delivered, &format!("CREATE TABLE couriers.before AS SELECT * FROM couriers.order_states WHERE order_id = '{lost}'; UPDATE couriers.order_states SET waiting_since = NULL WHERE order_id = '{lost}'")).await;
    assert_broken(&env, &database, 3, lost).await;

    run_sql(&mut delivered, &format!("UPDATE couriers.order_states SET waiting_since = (SELECT waiting_since FROM couriers.before) WHERE order_id = '{lost}'")).await;
    assert_holds(&env, &database).await;

    // 4: statistics that differ from the deliveries.
    run_sql(&mut delivered, "UPDATE couriers.couriers SET deliveries = deliveries + 1").await;
    assert_broken(&env, &database, 4, "1").await;

    run_sql(&mut delivered, "UPDATE couriers.couriers SET deliveries = deliveries - 1").await;

    let mark = |is| {
        format!("UPDATE couriers.order_states SET without_courier = {is} WHERE order_id = '{lost}'")
    };
    run_sql(&mut delivered, &mark("true")).await;
    assert_broken(&env, &database, 4, lost).await;

    run_sql(&mut delivered, &mark("false")).await;
    // 3: a courier who is available and carries an order.
    let set = |status| format!("UPDATE couriers.couriers SET status = '{status}' WHERE id = 1");
    run_sql(&mut delivered, &set("available")).await;
    assert_broken(&env, &database, 3, "1").await;

    run_sql(&mut delivered, &set("busy")).await;
    assert_holds(&env, &database).await;
    orders.stop().await.unwrap();
    couriers.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_a_recreated_topic_are_not_reported_as_missing() {
    let env = TestEnvironment::new(shared()).await;
    let database = env.courier_database().await;
    let send = async |partition: i32, uid: &str| {
        let (key, value) = record(&order(uid, 1));
        env.send(Some(partition), Some(&key), Some(&value)).await;
    };
    let service = env.start(&[]).await;

    env.send(Some(0), None, Some(b"no order")).await;
    send(1, "old").await;
    env.wait_until_drained().await;
    service.stop().await.unwrap();
    env.recreate_orders_topic().await;
    // These records get the same partitions and offsets as the old ones.
    send(0, "new").await;
    send(1, "newer").await;
    wait_until("Kafka to delete the committed offsets", async || env.lag().await == 2).await;
    let service = env.start(&[]).await;
    // Without the courier service, its checks could look at nothing.
    let couriers = env.start_couriers(&database, &[]).await;
    env.wait_until_drained().await;
    env.wait_until_status_drained().await;
    env.wait_until_couriers_drained().await;
    let checks = assert_holds(&env, &database).await;
    let valid = "every valid record is stored, or superseded by a later one";

    assert!(checks.iter().any(|check| check["invariant"] == valid && check["checked"] == 2));
    couriers.stop().await.unwrap();
    service.stop().await.unwrap();
}
