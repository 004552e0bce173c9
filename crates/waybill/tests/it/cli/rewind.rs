//! `waybill rewind`: the records since a time are read again, so that a database that lost its last
//! transactions becomes complete.

use std::process::Output;

use serde_json::{Value, json};
use sqlx::PgConnection;
use testkit::{TestEnvironment, shared, wait_until};
use time::{Duration, OffsetDateTime, format_description::well_known::Rfc3339};

use super::audit::{assert_holds, audit};
use crate::{
    deliveries::{delivery_event, send_deliveries},
    support::{add_courier, order, record, run_sql, send_keyed_status, waybill},
};

/// Runs the command with the flags of Kafka and its topics, and returns its lines of JSON.
async fn rewind(env: &TestEnvironment, to: &str, more: &[&str]) -> (Output, Vec<Value>) {
    let flags = env.flags();
    let flags = flags.chunks(2).filter(|flag| flag[0].starts_with("--kafka-")).flatten();
    let flags: Vec<&str> = ["rewind", "--json", "--to", to]
        .into_iter()
        .chain(flags.map(String::as_str))
        .chain(more.iter().copied())
        .collect();
    let output = waybill(&flags, &[]).await;
    let lines = String::from_utf8_lossy(&output.stdout);
    let lines = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    (output, lines)
}

fn assert_ends(output: &Output, code: i32, words: &[&str]) {
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{error}");
    for word in words {
        assert!(error.contains(word), "no {word} in {error}");
    }
}

fn text(at: OffsetDateTime) -> String {
    at.format(&Rfc3339).unwrap()
}

/// Returns the sum of the records that are read again, of one group.
fn records(lines: &[Value], group: &str) -> u64 {
    let lines = lines.iter().filter(|line| line["group"].as_str().unwrap().ends_with(group));
    lines.map(|line| line["records"].as_u64().unwrap()).sum()
}

/// The tables of a schema, in an order in which they can be filled.
async fn tables(connection: &mut PgConnection, schema: &str) -> Vec<String> {
    let tables = sqlx::query_scalar(
        "SELECT tablename::text FROM pg_tables WHERE schemaname = $1 \
             AND tablename NOT LIKE '\\_%' AND tablename NOT LIKE '%\\_before' \
         ORDER BY tablename = 'courier_orders'",
    );
    tables.bind(schema).fetch_all(connection).await.unwrap()
}

async fn keep(connection: &mut PgConnection, schema: &str) {
    for table in tables(connection, schema).await {
        let name = format!("{schema}.{table}");
        run_sql(connection, &format!("CREATE TABLE {name}_before AS TABLE {name}")).await;
    }
}

/// Sets all tables back, as a failover to a standby does that lacks the last transactions.
async fn lose_transactions(connection: &mut PgConnection, schema: &str) {
    let tables = tables(connection, schema).await;
    let names: Vec<_> = tables.iter().map(|table| format!("{schema}.{table}")).collect();
    run_sql(connection, &format!("TRUNCATE {}", names.join(", "))).await;
    // Without triggers, as a standby applies changes: what they have written is in the tables.
    run_sql(connection, "SET session_replication_role = replica").await;
    for name in names {
        let identity = "OVERRIDING SYSTEM VALUE";
        run_sql(connection, &format!("INSERT INTO {name} {identity} TABLE {name}_before")).await;
    }
    run_sql(connection, "RESET session_replication_role").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn records_of_lost_transactions_are_read_again() {
    let env = TestEnvironment::new(shared()).await;
    let database = env.courier_database().await;
    let drained = async || {
        env.wait_until_drained().await;
        env.wait_until_status_drained().await;
        env.wait_until_deliveries_drained().await;
        env.wait_until_couriers_drained().await;
    };
    let orders = env.start(&[]).await;
    let couriers = env.start_couriers(&database, &["--dispatch-sweep", "200ms"]).await;
    for number in 0..3 {
        add_courier(&couriers, &format!("courier-{number}"), "car", "available").await;
    }
    let send = async |numbers: std::ops::Range<i64>, amount| {
        let uids = numbers.map(|number| format!("order-{number}"));
        env.send_all(uids.map(|uid| record(&order(&uid, amount)))).await;
    };
    send(0..20, 1).await;
    drained().await;
    let (mut stored, mut delivered) = (env.administrator().await, database.administrator().await);
    keep(&mut stored, "orders").await;
    keep(&mut delivered, "couriers").await;
    let lost_since = OffsetDateTime::now_utc();
    wait_until("the next millisecond", async || {
        OffsetDateTime::now_utc() - lost_since > Duration::milliseconds(2)
    })
    .await;
    let to = text(OffsetDateTime::now_utc());

    // New orders, replaced ones, invalid records and events: all of them are lost.
    send(20..40, 1).await;
    send(0..5, 2).await;
    env.send(Some(0), None, Some(b"no order")).await;
    send_keyed_status(&env, "order-7", "completed").await;
    send_keyed_status(&env, "order-8", "cancelled").await;
    env.send_status(None, b"no event").await;
    let delivered_uids = (0..10).map(|number| format!("order-{number}"));
    let events = delivered_uids.map(|uid| delivery_event(&uid, "completed", 9));
    send_deliveries(&env, events).await;
    drained().await;
    assert_holds(&env, &database).await;
    orders.stop().await.unwrap();
    couriers.stop().await.unwrap();
    lose_transactions(&mut stored, "orders").await;
    lose_transactions(&mut delivered, "couriers").await;
    let (output, checks) = audit(&env, &database).await;
    assert_eq!(output.status.code(), Some(1), "{checks:#?}");

    let (shown, plan) = rewind(&env, &to, &["--dry-run"]).await;
    assert_ends(&shown, 0, &[]);
    assert_eq!(records(&plan, ".orders"), 26);
    assert!(records(&plan, ".status") >= 33 && records(&plan, ".couriers") >= 33, "{plan:#?}");
    assert!(records(&plan, ".deliveries") >= 10, "{plan:#?}");
    assert_eq!(env.lag().await, 0, "a dry run changes nothing");

    let (done, lines) = rewind(&env, &to, &[]).await;
    assert_ends(&done, 0, &[]);
    assert_eq!(lines, plan);
    assert_eq!(env.lag().await, 26);
    // The offsets are back already, so there is nothing left to do.
    let (again, lines) = rewind(&env, &to, &[]).await;
    assert_ends(&again, 0, &[]);
    assert_eq!(records(&lines, ""), 0);

    let orders = env.start(&[]).await;
    let couriers = env.start_couriers(&database, &["--dispatch-sweep", "200ms"]).await;
    drained().await;
    assert_holds(&env, &database).await;
    assert_eq!(env.count("orders.orders").await, 40);
    assert_eq!(env.count("orders.rejected_records").await, 1);
    assert_eq!(orders.json("/order/order-2").await, order("order-2", 2));
    let completed = "orders.order_deliveries WHERE status = 'completed' AND number = 9";
    assert_eq!(env.count(completed).await, 10);
    orders.stop().await.unwrap();
    couriers.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_with_members_is_not_set_back() {
    let env = TestEnvironment::new(shared()).await;
    let to = text(OffsetDateTime::now_utc());
    let service = env.start(&[]).await;
    let (key, value) = record(&order("a", 1));
    env.send(Some(0), Some(&key), Some(&value)).await;
    env.wait_until_drained().await;
    env.wait_until_status_drained().await;

    let (refused, lines) = rewind(&env, &to, &[]).await;
    assert_ends(
        &refused,
        1,
        &[".orders has 1 member", ".status has 1 member", "stop all replicas"],
    );
    assert_eq!(lines, [] as [Value; 0]);
    assert_eq!(env.lag().await, 0);

    let (shown, lines) = rewind(&env, &to, &["--dry-run"]).await;
    assert_ends(&shown, 0, &["stop all replicas"]);
    assert_eq!(records(&lines, ".orders"), 1);

    service.stop().await.unwrap();
    let (done, _) = rewind(&env, &to, &[]).await;
    assert_ends(&done, 0, &[]);
    assert_eq!(env.lag().await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_deliveries_topic_may_be_missing() {
    let env = TestEnvironment::new(shared()).await;
    env.commit(0, 0).await;
    env.delete_topic(&env.deliveries_topic()).await;

    let (done, lines) = rewind(&env, "2000-01-01T00:00:00Z", &[]).await;
    assert_ends(&done, 0, &[]);
    assert!(lines.iter().all(|line| line["topic"] != env.deliveries_topic()), "{lines:#?}");

    env.delete_topic(&env.status_topic()).await;
    let (missing, _) = rewind(&env, "2000-01-01T00:00:00Z", &[]).await;
    assert_ends(&missing, 78, &[&format!("has no topic {}", env.status_topic())]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_offset_never_moves_forward() {
    let env = TestEnvironment::new(shared()).await;
    let long_ago = "2000-01-01T00:00:00Z";

    let (unknown, _) = rewind(&env, long_ago, &[]).await;
    assert_ends(&unknown, 1, &["has committed an offset", "--kafka-group-id"]);
    let (future, _) = rewind(&env, "2999-01-01T00:00:00Z", &[]).await;
    assert_ends(&future, 2, &["in the future"]);
    let (wrong, _) = rewind(&env, "yesterday", &[]).await;
    assert_ends(&wrong, 2, &["RFC 3339"]);

    for number in 0..6 {
        let (key, value) = record(&order(&format!("order-{number}"), 1));
        env.send(Some(number % 2), Some(&key), Some(&value)).await;
    }
    // Partition 1 is behind: its offset must not move forward to the time.
    env.commit_with_topic_id(0, 3, "qqqqqqqqqqqqqqqqqqqqqA").await;
    env.commit(1, 1).await;
    let (late, lines) = rewind(&env, &text(OffsetDateTime::now_utc()), &[]).await;
    assert_ends(&late, 0, &[]);
    assert_eq!(records(&lines, ""), 0);
    assert_eq!(env.lag().await, 2);

    // The time is before the first record, and Kafka has deleted the oldest one.
    env.delete_records(0, 1).await;
    let (done, lines) = rewind(&env, long_ago, &[]).await;
    assert_ends(&done, 0, &[]);
    let line = |partition: i32| {
        lines.iter().find(|it| it["topic"] == env.orders_topic() && it["partition"] == partition)
    };
    let group = format!("{}.orders", env.name);
    let expected = json!({
        "group": group, "topic": env.orders_topic(), "partition": 0, "committed": 3, "to": 1,
        "records": 2, "older_deleted": true,
    });
    assert_eq!(line(0), Some(&expected));
    assert_eq!(line(1).unwrap()["to"], 0);
    assert_eq!(line(2).unwrap()["committed"], Value::Null);
    assert_eq!(env.lag().await, 5);
    // The topic's id is kept: a service still finds out that the offsets are of another topic.
    let error = env.start(&[]).await.outcome().await.unwrap_err().to_string();
    assert!(error.contains("qqqqqqqqqqqqqqqqqqqqqA"), "{error}");
}
