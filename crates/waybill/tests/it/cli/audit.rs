//! `waybill audit` on both real services: every promise is kept while everything goes on, and each
//! that somebody breaks by hand is named.

use std::process::Output;

use serde_json::Value;
use sqlx::{Connection as _, PgConnection};
use testkit::{CourierDatabase, TestEnvironment, shared, wait_until};
use tokio::process::Command;

use crate::{
    couriers::api::{add, tell},
    support::{order, record, waybill},
};

/// The flags of both services' databases, of Kafka and its topics.
fn flags(env: &TestEnvironment, database: &CourierDatabase) -> Vec<String> {
    let flags = env.flags();
    let wanted = ["--kafka-", "--orders-database-url"];
    let flags = flags.chunks(2).filter(|flag| wanted.iter().any(|name| flag[0].starts_with(name)));
    let couriers = ["--couriers-database-url".to_owned(), database.url.clone()];
    flags.flatten().cloned().chain(couriers).collect()
}

async fn audit(env: &TestEnvironment, database: &CourierDatabase) -> (Output, Vec<Value>) {
    let mut all = vec!["audit".to_owned(), "--json".to_owned()];
    all.extend(flags(env, database));
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    let output = waybill(&all, &[]).await;
    let checks = String::from_utf8_lossy(&output.stdout);
    let checks = checks.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    (output, checks)
}

/// Every promise is kept, and each was looked at.
async fn holds(env: &TestEnvironment, database: &CourierDatabase) -> Vec<Value> {
    let (output, checks) = audit(env, database).await;
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{told} {checks:#?}");
    checks
}

/// A promise is broken, and this is the number of the invariant and what breaks it.
async fn breaks(env: &TestEnvironment, database: &CourierDatabase, invariant: u8, example: &str) {
    let (output, checks) = audit(env, database).await;
    assert_eq!(output.status.code(), Some(1), "{checks:#?}");
    let names = |check: &&Value| {
        check["invariant"] == invariant
            && check["examples"].as_array().unwrap().iter().any(|one| one == example)
    };
    let broken = checks.iter().find(names);
    let broken = broken.unwrap_or_else(|| panic!("{example} is not named: {checks:#?}"));
    assert!(broken["broken"].as_u64() > Some(0), "{broken}");
}

/// An administrator's connection to the order service's database.
async fn of_orders(env: &TestEnvironment) -> PgConnection {
    let server = env.servers.postgres.rsplit_once('/').unwrap().0;
    PgConnection::connect(&format!("{server}/{}_orders", env.name)).await.unwrap()
}

async fn change(connection: &mut PgConnection, statement: &str) {
    let statement = sqlx::AssertSqlSafe(statement.to_owned());
    sqlx::raw_sql(statement).execute(connection).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn every_promise_is_kept_while_everything_goes_on() {
    let env = TestEnvironment::new(shared()).await;
    let database = env.courier_database().await;
    // A rule that reading an event does not know: a valid one becomes a rejected record.
    let mut administrator = database.administrator().await;
    change(
        &mut administrator,
        "ALTER TABLE couriers.order_states ADD CHECK (order_id <> 'guilty')",
    )
    .await;
    let orders = env.start(&[]).await;
    let couriers = env.start_couriers(&database, &["--dispatch-sweep", "200ms"]).await;
    tell(&env, "guilty", "created").await;
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
        holds(&env, &database).await;
    }
    assert!(load.try_wait().unwrap().is_none(), "the traffic goes on");
    load.kill().await.unwrap();
    env.drained().await;
    env.events_drained().await;
    for check in holds(&env, &database).await {
        let is_looked_at = check["checked"].as_u64() > Some(0);
        // At the end nobody waits while a courier is free.
        let may_be_idle = check["promise"] == "no order waits while a courier stands available";
        assert!(is_looked_at || may_be_idle, "{check}");
    }
    orders.stop().await.unwrap();
    couriers.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn each_promise_that_somebody_breaks_is_named() {
    let env = TestEnvironment::new(shared()).await;
    let database = env.courier_database().await;
    let orders = env.start(&[]).await;
    let couriers = env.start_couriers(&database, &["--dispatch-sweep", "200ms"]).await;
    add(&couriers, "Anna", "car", "available").await;
    let (partition, offset) = env.send(None, None, Some(b"no order")).await;
    let rejected = format!("{}:{partition}:{offset}", env.orders_topic());
    env.send_all(["a", "b", "c"].map(|uid| record(&order(uid, 1)))).await;
    env.drained().await;
    env.events_drained().await;
    wait_until("Anna to carry", async || couriers.json("/statistics").await["active"] == 1).await;
    let mut waiting = Vec::new();
    for uid in ["a", "b", "c"] {
        if couriers.json(&format!("/delivery/{uid}")).await["state"] == "waiting" {
            waiting.push(uid);
        }
    }
    assert_eq!(waiting.len(), 2);
    holds(&env, &database).await;
    let (mut stored, mut delivered) = (of_orders(&env).await, database.administrator().await);

    // 1: an order of another content, a rejected record that is gone, a state nobody told of.
    change(&mut stored, "CREATE TABLE orders.before AS TABLE orders.orders").await;
    change(&mut stored, "UPDATE orders.orders SET content_hash = decode(repeat('00', 16), 'hex') WHERE order_uid = 'a'").await;
    let (output, checks) = audit(&env, &database).await;
    assert_eq!(output.status.code(), Some(1), "{checks:#?}");
    let same = "what is stored is what the record says";
    assert!(checks.iter().any(|check| check["promise"] == same && check["broken"] == 1));
    change(&mut stored, "UPDATE orders.orders AS o SET content_hash = b.content_hash FROM orders.before AS b WHERE o.order_uid = b.order_uid").await;
    holds(&env, &database).await;
    change(&mut stored, "CREATE TABLE orders.kept AS TABLE orders.rejected_records").await;
    change(&mut stored, "DELETE FROM orders.rejected_records").await;
    breaks(&env, &database, 1, &rejected).await;
    change(&mut stored, "INSERT INTO orders.rejected_records TABLE orders.kept").await;
    // A dead letter that was never sent: the record before the rejected one was kept as well.
    change(&mut stored, "INSERT INTO orders.rejected_records SELECT topic, source_partition, source_offset, source_timestamp, key, value, reason, violations, replays, rejected_at FROM orders.kept, orders.orders WHERE order_uid = 'b'").await;
    let (output, checks) = audit(&env, &database).await;
    assert_eq!(output.status.code(), Some(1), "{checks:#?}");
    let letters = "every kept record is on the dead-letter topic";
    assert!(checks.iter().any(|check| check["promise"] == letters && check["broken"] == 1));
    change(&mut stored, "DELETE FROM orders.rejected_records; INSERT INTO orders.rejected_records TABLE orders.kept").await;
    let gone = waiting[0];
    change(
        &mut delivered,
        &format!("UPDATE couriers.order_states SET rank = 3 WHERE order_id = '{gone}'"),
    )
    .await;
    breaks(&env, &database, 1, gone).await;
    change(
        &mut delivered,
        &format!("UPDATE couriers.order_states SET rank = 0 WHERE order_id = '{gone}'"),
    )
    .await;

    // 2: a stored order that nobody was told of, an order that was told of and is not stored.
    change(&mut stored, "UPDATE orders.orders SET order_uid = 'silent' WHERE order_uid = 'c'")
        .await;
    breaks(&env, &database, 2, "silent").await;
    breaks(&env, &database, 2, "c").await;
    change(&mut stored, "UPDATE orders.orders SET order_uid = 'c' WHERE order_uid = 'silent'")
        .await;

    // 3: an order that was lost, and a courier who stands idle though he is said to carry.
    change(&mut delivered, &format!("CREATE TABLE couriers.before AS SELECT * FROM couriers.order_states WHERE order_id = '{gone}'; UPDATE couriers.order_states SET waiting_since = NULL WHERE order_id = '{gone}'")).await;
    breaks(&env, &database, 3, gone).await;
    change(&mut delivered, &format!("UPDATE couriers.order_states SET waiting_since = (SELECT waiting_since FROM couriers.before) WHERE order_id = '{gone}'")).await;
    holds(&env, &database).await;

    // 4: figures that no deliveries stand behind.
    change(&mut delivered, "UPDATE couriers.couriers SET deliveries = deliveries + 1").await;
    breaks(&env, &database, 4, "1").await;
    change(&mut delivered, "UPDATE couriers.couriers SET deliveries = deliveries - 1").await;

    holds(&env, &database).await;
    orders.stop().await.unwrap();
    couriers.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_kept_of_a_topic_is_not_missed_on_the_one_made_anew() {
    let env = TestEnvironment::new(shared()).await;
    let database = env.courier_database().await;
    let send = async |partition: i32, uid: &str| {
        let (key, value) = record(&order(uid, 1));
        env.send(Some(partition), Some(&key), Some(&value)).await;
    };
    let service = env.start(&[]).await;
    env.send(Some(0), None, Some(b"no order")).await;
    send(1, "old").await;
    env.drained().await;
    service.stop().await.unwrap();
    env.make_orders_topic_anew().await;
    // At the same partitions and offsets.
    send(0, "new").await;
    send(1, "newer").await;
    wait_until("Kafka to forget the offsets", async || env.lag().await == 2).await;
    let service = env.start(&[]).await;
    env.drained().await;
    let checks = holds(&env, &database).await;
    let valid = "every valid record is stored, or superseded by a later one";
    assert!(checks.iter().any(|check| check["promise"] == valid && check["checked"] == 2));
    service.stop().await.unwrap();
}
