//! Rows that were changed manually: each is found, with its field, although their hashes and the
//! other tables were not changed.

use std::process::Output;

use serde_json::Value;
use sqlx::PgConnection;
use testkit::{CourierDatabase, TestEnvironment, shared};

use super::{assert_holds, audit_with};
use crate::{
    deliveries::{delivery_event, send_deliveries},
    support::{order, record, run_sql, status_event},
};

/// Tables of the order service, which are restored after each change.
const TABLES: [&str; 5] =
    ["orders", "order_status", "order_events", "order_deliveries", "rejected_records"];

async fn keep_tables(connection: &mut PgConnection) {
    for table in TABLES {
        let copy = format!("CREATE TABLE orders.{table}_before AS TABLE orders.{table}");
        run_sql(connection, &copy).await;
    }
}

async fn restore_tables(connection: &mut PgConnection) {
    for table in TABLES {
        let restore = format!(
            "TRUNCATE orders.{table}; INSERT INTO orders.{table} TABLE orders.{table}_before"
        );
        run_sql(connection, &restore).await;
    }
}

/// The audit without the wait for two sweeps of dispatch.
async fn quick_audit(env: &TestEnvironment, database: &CourierDatabase) -> (Output, Vec<Value>) {
    audit_with(env, database, &["--dispatch-sweep", "10ms"]).await
}

/// Asserts that the broken checks have this example, and that no example shows a value.
fn assert_named(output: &Output, checks: &[Value], statement: &str, example: &str) {
    assert_eq!(output.status.code(), Some(1), "{statement}: {checks:#?}");
    let examples = checks.iter().flat_map(|check| check["examples"].as_array().unwrap());
    let examples: Vec<&str> = examples.map(|example| example.as_str().unwrap()).collect();
    assert!(examples.contains(&example), "{statement}: no {example} in {examples:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_was_changed_manually_is_named_with_its_field() {
    let env = TestEnvironment::new(shared()).await;
    let database = env.courier_database().await;
    let orders = env.start(&[]).await;
    let couriers = env.start_couriers(&database, &[]).await;
    let (key, value) = record(&order("a", 1));
    let (partition, offset) = env.send(None, Some(&key), Some(&value)).await;
    let at_a = format!("{}:{partition}:{offset}", env.orders_topic());
    let (partition, offset) = env.send(Some(3), Some(b"key"), Some(b"no order")).await;
    let bad = format!("{}:{partition}:{offset}", env.orders_topic());
    env.wait_until_drained().await;
    env.send_status(Some("a"), &status_event("a", "cooking")).await;
    let (partition, offset) = env.send_status(None, b"no event").await;
    let no_event = format!("{}:{partition}:{offset}", env.status_topic());
    // The one that counts is sent first.
    for (status, number) in [("overdue", 2), ("assigned", 1)] {
        send_deliveries(&env, [delivery_event("a", status, number)]).await;
    }
    env.wait_until_status_drained().await;
    env.wait_until_deliveries_drained().await;
    env.wait_until_couriers_drained().await;
    orders.stop().await.unwrap();
    couriers.stop().await.unwrap();
    assert_holds(&env, &database).await;
    let event: (i32, i64) = sqlx::query_as(
        "SELECT \"partition\", \"offset\" FROM orders.order_events WHERE word = 'cooking'",
    )
    .fetch_one(&env.pool)
    .await
    .unwrap();
    let event = format!("{}:{}:{}", env.status_topic(), event.0, event.1);
    let mut stored = env.administrator().await;
    keep_tables(&mut stored).await;

    let named = |id: &str, field: &str| format!("{id}: {field}");
    let cases = [
        ("orders SET payment_amount = 7", named("a", "/payment/amount")),
        ("orders SET delivery_phone = '', entry = ''", named("a", "/delivery/phone /entry")),
        ("orders SET items = jsonb_set(items, '{0,price}', '7')", named("a", "/items/0/price")),
        ("orders SET items = jsonb_set(items, '{0,more}', '7')", named("a", "/items")),
        ("orders SET items = items #- '{0,name}'", named("a", "/items")),
        ("orders SET items = '[]'", named("a", "/items")),
        ("orders SET date_created = date_created + interval '1 s'", named("a", "/date_created")),
        ("orders SET date_created = 'infinity'", named("a", "/date_created")),
        ("orders SET content_hash = decode(repeat('00', 16), 'hex')", named("a", "content_hash")),
        ("orders SET warnings = '{made_up}'", named("a", "warnings")),
        ("orders SET version = 5", "a".to_owned()),
        ("orders SET source_offset = source_offset + 1000", "a".to_owned()),
        ("orders SET order_uid = 'b'", "b".to_owned()),
        ("orders SET order_uid = 'b'", at_a.clone()),
        ("orders SET order_uid = E'a\\tb'", "a\tb".to_owned()),
        ("order_status SET rank = 5", named("a", "rank")),
        ("order_status SET since = since + interval '1 s'", named("a", "since")),
        ("order_status SET \"offset\" = \"offset\" + 1", named("a", "position")),
        ("order_events SET word = 'delivering'", named(&event, "word")),
        ("order_events SET rank = 4", named(&event, "rank")),
        ("order_events SET told_at = 'infinity'", named(&event, "told_at")),
        ("order_events SET version = 9", named(&event, "version")),
        ("order_events SET ignored = 'no_rank'", named(&event, "ignored")),
        ("order_events SET \"offset\" = \"offset\" + 1000", event.clone()),
        ("order_deliveries SET status = 'assigned'", named("a", "status")),
        ("order_deliveries SET courier_id = NULL", named("a", "courier_id")),
        ("order_deliveries SET transport_type = 'car'", named("a", "transport_type")),
        ("order_deliveries SET deadline = 'infinity'", named("a", "deadline")),
        ("order_deliveries SET cause = 'sweep'", named("a", "cause")),
        ("order_deliveries SET number = 3", named("a", "no record")),
        ("order_deliveries SET since = 'infinity'", named("a", "no record")),
        ("order_deliveries SET since = since - interval '1 s'", named("a", "since")),
        ("order_deliveries SET order_uid = 'b'", named("b", "no record")),
        ("order_deliveries SET order_uid = 'b'", "a".to_owned()),
        ("rejected_records SET value = 'an order'", named(&bad, "value")),
        ("rejected_records SET key = NULL", named(&bad, "key")),
        ("rejected_records SET headers = '[[\"a\",null]]'", named(&bad, "headers")),
        ("rejected_records SET reason = 'missing'", named(&bad, "reason")),
        ("rejected_records SET violations = '[]'", named(&bad, "violations")),
        ("rejected_records SET record_timestamp = 'infinity'", bad.clone()),
    ];
    for (change, example) in cases {
        let statement = format!("UPDATE orders.{change}");
        let statement = match change.starts_with("order_events") {
            true => format!("{statement} WHERE word = 'cooking'"),
            false => statement,
        };
        run_sql(&mut stored, &statement).await;
        let (output, checks) = quick_audit(&env, &database).await;
        assert_named(&output, &checks, &statement, &example);
        restore_tables(&mut stored).await;
    }
    for (statement, example) in [
        ("DELETE FROM orders.orders".to_owned(), at_a.clone()),
        ("DELETE FROM orders.order_events WHERE word = 'cooking'".to_owned(), event),
        ("DELETE FROM orders.order_status".to_owned(), named("a", "rank")),
        ("DELETE FROM orders.order_deliveries".to_owned(), "a".to_owned()),
        ("DELETE FROM orders.rejected_records".to_owned(), bad.clone()),
        // A valid record that is also stored as rejected.
        (
            "INSERT INTO orders.rejected_records (topic, \"partition\", \"offset\", \
                 record_timestamp, key, value, reason, violations) \
             SELECT topic, source_partition, source_offset, source_timestamp, NULL, NULL, reason, \
                 violations FROM orders.orders, orders.rejected_records"
                .to_owned(),
            named(&at_a, "key"),
        ),
        (
            format!(
                "INSERT INTO orders.rejected_records (topic, \"partition\", \"offset\", \
                     record_timestamp, reason, violations) \
                 VALUES ('{}', 3, 1000, now(), 'missing', '[]')",
                env.orders_topic()
            ),
            format!("{}:3:1000: no record", env.orders_topic()),
        ),
    ] {
        run_sql(&mut stored, &statement).await;
        let (output, checks) = quick_audit(&env, &database).await;
        assert_named(&output, &checks, &statement, &example);
        restore_tables(&mut stored).await;
    }

    let mut delivered = database.administrator().await;
    run_sql(&mut delivered, "UPDATE couriers.rejected_records SET reason = 'missing'").await;
    let (output, checks) = quick_audit(&env, &database).await;
    assert_named(&output, &checks, "couriers", &named(&no_event, "reason"));
    run_sql(&mut delivered, "UPDATE couriers.rejected_records SET reason = 'invalid_json'").await;
    assert_holds(&env, &database).await;
}
