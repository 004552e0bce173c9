//! The log and the deliveries topic: every entry about an order is on the topic at least once, for
//! each order in the sequence of the log, whatever happens to the sender in between.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use chassis::kafka::record::Position;
use couriers::{delivery::fold, store};
use events::{DeliveryCause, DeliveryEvent, DeliveryStatus, OrderStatus};
use serde_json::{Value, json};
use sqlx::{PgConnection, PgPool, Row as _, postgres::PgRow};
use testkit::{CourierDatabase, OwnServers, TestEnvironment, shared, wait_until};

use crate::support::{
    Program, add_courier, assert_courier_invariants, assign, call, insert_couriers, keyless_event,
    metric, run_sql, send_status, unassign, wait_for_delivery,
};

/// Reads the events on the topic, in the sequence of each partition.
async fn published(env: &TestEnvironment) -> Vec<DeliveryEvent> {
    let records = env.read_all(&env.deliveries_topic()).await;
    let events = records.iter().map(|record| {
        let event = DeliveryEvent::read(record.value.as_deref()).unwrap();
        assert_eq!(record.key.as_deref(), Some(event.order_id.as_str().as_bytes()));
        assert_eq!(record.headers["ce_id"], event.id());
        event
    });
    events.collect()
}

async fn wait_until_sent(database: &CourierDatabase) {
    wait_until("the outbox to be empty", async || {
        database.count("couriers.delivery_outbox").await == 0
    })
    .await;
}

/// Reads the entries about orders, in the sequence of their numbers, as the events that are to be sent.
async fn logged(pool: &PgPool) -> Vec<DeliveryEvent> {
    let rows = sqlx::query(
        "SELECT order_id, number, at, status, cause, courier_id, transport_type, deadline \
         FROM couriers.delivery_log WHERE order_id IS NOT NULL ORDER BY number",
    );
    let rows = rows.fetch_all(pool).await.unwrap();
    let text = |row: &PgRow, name| row.get::<Option<String>, _>(name);
    let events = rows.iter().map(|row| DeliveryEvent {
        order_id: text(row, "order_id").unwrap().parse().unwrap(),
        courier_id: row.get::<Option<i64>, _>("courier_id").map(|id| id.try_into().unwrap()),
        status: DeliveryStatus::of_word(&text(row, "status").unwrap()).unwrap(),
        at: row.get("at"),
        number: row.get("number"),
        transport_type: text(row, "transport_type").map(|word| word.parse().unwrap()),
        deadline: row.get("deadline"),
        cause: DeliveryCause::of_word(&text(row, "cause").unwrap()),
    });
    events.collect()
}

/// Asserts that the topic has exactly the entries of the log, field for field, each at least once, and
/// for each order in the sequence of the log. Returns the number of repeated events.
async fn assert_topic_equals_log(env: &TestEnvironment, pool: &PgPool) -> usize {
    let by_order = |events: Vec<DeliveryEvent>| {
        let mut orders: BTreeMap<String, Vec<DeliveryEvent>> = BTreeMap::new();
        for event in events {
            orders.entry(event.order_id.to_string()).or_default().push(event);
        }
        orders
    };
    let mut sent = published(env).await;
    let number = sent.len();
    let mut seen = BTreeSet::new();
    sent.retain(|event| seen.insert(event.id()));
    let repeats = number - sent.len();
    assert_eq!(by_order(sent), by_order(logged(pool).await));
    repeats
}

/// The status, the courier, the cause, the actor, and whether the entry names an event.
type LogRow = (String, Option<i64>, String, Option<String>, bool);

#[tokio::test]
async fn every_change_is_in_the_log_and_on_the_topic() {
    let env = TestEnvironment::new(shared()).await;
    let database = env.courier_database().await;
    let service = env.start_couriers(&database, &["--dispatch-sweep", "50ms"]).await;
    let anna = add_courier(&service, "Anna", "car", "available").await;
    send_status(&env, "first", "created").await;
    wait_for_delivery(&service, "first", "assigned").await;
    let overdue = "UPDATE couriers.courier_orders SET deadline = assigned_at";
    sqlx::raw_sql(overdue).execute(&database.pool).await.unwrap();
    wait_until("the delivery to be noted as overdue", async || {
        database.count("couriers.delivery_log WHERE status = 'overdue'").await == 1
    })
    .await;
    let body = json!({ "order_id": "first" }).to_string();
    let request = service.http.post(service.at("/delivery/unassign")).body(body);
    let request = request.header("content-type", "application/json").header("x-actor", "Ольга");
    assert_eq!(request.send().await.unwrap().status(), 200);
    assert_eq!(assign(&service, "first").await.0, 200);
    send_status(&env, "first", "completed").await;
    wait_for_delivery(&service, "first", "completed").await;
    send_status(&env, "first", "cancelled").await;
    send_status(&env, "without", "cancelled").await;
    wait_for_delivery(&service, "first", "cancelled").await;
    wait_for_delivery(&service, "without", "cancelled").await;
    wait_until_sent(&database).await;

    let rows: Vec<LogRow> = sqlx::query_as(
        "SELECT status, courier_id, cause, actor, topic IS NOT NULL FROM couriers.delivery_log \
         WHERE order_id = 'first' ORDER BY number",
    )
    .fetch_all(&database.pool)
    .await
    .unwrap();
    let wanted = [
        ("assigned", "match", None, false),
        ("overdue", "sweep", None, false),
        ("unassigned", "manual", Some("Ольга"), false),
        ("assigned", "manual", None, false),
        ("completed", "event", None, true),
        ("cancelled", "event", None, true),
    ];
    let wanted = wanted.map(|(status, cause, actor, is_event)| {
        (status.to_owned(), Some(anna), cause.to_owned(), actor.map(str::to_owned), is_event)
    });
    assert_eq!(rows, wanted);
    assert_eq!(assert_topic_equals_log(&env, &database.pool).await, 0, "nothing is repeated");
    let records = env.read_all(&env.deliveries_topic()).await;
    let first = records.iter().find(|one| one.key.as_deref() == Some(b"first")).unwrap();
    let value: Value = serde_json::from_slice(first.value.as_deref().unwrap()).unwrap();
    assert_eq!(value["courier_id"], anna);
    assert_eq!((&value["status"], &value["cause"]), (&json!("assigned"), &json!("match")));
    assert_eq!(value["transport_type"], "car");
    assert_eq!(first.headers["ce_source"], format!("waybill/{}/couriers", env.name));
    assert_eq!(first.headers["ce_time"], value["at"].as_str().unwrap());
    service.stop().await.unwrap();
}

/// Begins a transaction that has cancelled an order and is not committed.
async fn cancel_slowly<'a>(
    pool: &'a PgPool,
    order_id: &str,
) -> sqlx::Transaction<'a, sqlx::Postgres> {
    let uid = order_id.parse().unwrap();
    let position = Position { timestamp_ms: 1, partition: 0, offset: 0 };
    let folded = fold([(&uid, OrderStatus::Cancelled, position)]);
    let mut transaction = pool.begin().await.unwrap();
    store::apply(&mut transaction, "statuses", &folded).await.unwrap();
    transaction
}

#[tokio::test]
async fn a_lower_number_that_becomes_visible_later_is_sent() {
    let env = TestEnvironment::new(shared()).await;
    let database = env.courier_database().await;
    let service = env.start_couriers(&database, &[]).await;
    let slow = cancel_slowly(&database.pool, "slow").await;
    let never = cancel_slowly(&database.pool, "never").await;
    send_status(&env, "fast", "cancelled").await;
    wait_for_delivery(&service, "fast", "cancelled").await;
    wait_until_sent(&database).await;
    assert_eq!(published(&env).await.len(), 1);

    never.rollback().await.unwrap();
    slow.commit().await.unwrap();
    wait_until("the lower number to be sent", async || {
        published(&env).await.iter().any(|event| event.order_id.as_str() == "slow")
    })
    .await;
    send_status(&env, "last", "cancelled").await;
    wait_for_delivery(&service, "last", "cancelled").await;
    wait_until_sent(&database).await;

    let numbers: BTreeMap<String, i64> = published(&env)
        .await
        .into_iter()
        .map(|event| (event.order_id.to_string(), event.number))
        .collect();
    assert!(numbers["slow"] < numbers["fast"], "{numbers:?}");
    assert!(numbers["last"] - numbers["slow"] > 2, "a number was rolled back: {numbers:?}");
    assert_eq!(assert_topic_equals_log(&env, &database.pool).await, 0);
    service.stop().await.unwrap();
}

/// Cancels and completes orders while a program runs that is killed at `point`, and asserts that the
/// next one sends what is left.
async fn assert_entries_survive_a_crash(point: &str, has_repeats: bool) {
    let env = TestEnvironment::new(shared()).await;
    let database = env.courier_database().await;
    insert_couriers(&database.pool, 20).await;
    let events: Vec<_> = (0..60)
        .flat_map(|number| {
            let order_id = format!("order-{number}");
            [keyless_event(&order_id, "created"), keyless_event(&order_id, "completed")]
        })
        .collect();
    env.send_all_to(&env.status_topic(), events).await;
    let kill = format!("{point}=kill");
    Program::start_couriers(&env, &database, &[], Some(&kill)).assert_killed().await;
    assert_ne!(database.count("couriers.delivery_outbox").await, 0, "{point}");

    let again = Program::start_couriers(&env, &database, &[], None);
    env.wait_until_couriers_drained().await;
    wait_until_sent(&database).await;

    assert!(again.terminate().await.success());
    assert_courier_invariants(&database.pool).await;
    let repeats = assert_topic_equals_log(&env, &database.pool).await;
    assert_eq!(repeats > 0, has_repeats, "{point}: {repeats} repeats");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_sender_leaves_no_entry_unsent() {
    // They run in parallel, because the broker takes long to remove a killed member of a group.
    tokio::join!(
        assert_entries_survive_a_crash("outbox-read", false),
        assert_entries_survive_a_crash("outbox-sent", true),
        assert_entries_survive_a_crash("outbox-deleted", true),
    );
}

/// Waits until the topic has `count` events.
async fn wait_for_events(env: &TestEnvironment, count: usize) {
    wait_until("the events to be on the topic", async || published(env).await.len() == count).await;
}

/// Starts a program whose sender stops for a time after Kafka has acknowledged the event of the order
/// `first`. Returns it when that event is on the topic.
async fn start_frozen(
    env: &TestEnvironment,
    database: &CourierDatabase,
    milliseconds: u32,
) -> Program {
    insert_couriers(&database.pool, 1).await;
    send_status(env, "first", "created").await;
    let freeze = format!("outbox-sent=1*delay({milliseconds})");
    let program = Program::start_couriers(env, database, &[], Some(&freeze));
    // The topic may not exist yet.
    program.wait_until_ready().await;
    wait_until("the order to be assigned", async || {
        database.count("couriers.courier_orders").await == 1
    })
    .await;
    wait_for_events(env, 1).await;
    program
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sender_without_its_lease_deletes_nothing() {
    let env = TestEnvironment::new(shared()).await;
    let database = env.courier_database().await;
    let program = start_frozen(&env, &database, 10_000).await;
    assert_eq!(database.count("couriers.delivery_outbox").await, 1, "it is still frozen");

    let take = "UPDATE couriers.outbox_lease SET holder = 1, until = now() + interval '30 s'";
    run_sql(&mut database.administrator().await, take).await;
    tokio::time::sleep(Duration::from_secs(12)).await;
    assert_eq!(database.count("couriers.delivery_outbox").await, 1, "it has no lease any more");
    wait_until_sent(&database).await;

    assert!(program.terminate().await.success());
    assert_eq!(assert_topic_equals_log(&env, &database.pool).await, 1, "one repeat");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_replica_continues_for_a_frozen_sender() {
    let env = TestEnvironment::new(shared()).await;
    let database = env.courier_database().await;
    let frozen = start_frozen(&env, &database, 12_000).await;
    let other = env.start_couriers(&database, &[]).await;

    send_status(&env, "first", "completed").await;
    wait_for_delivery(&other, "first", "completed").await;
    wait_until_sent(&database).await;
    assert!(frozen.terminate().await.success());

    assert_eq!(assert_topic_equals_log(&env, &database.pool).await, 1, "one repeat");
    other.stop().await.unwrap();
}

/// Puts the database back to the state before the assignment of the only order, as a failover does
/// that loses the last transactions.
async fn lose_the_assignment(administrator: &mut PgConnection) {
    run_sql(
        administrator,
        "BEGIN; LOCK TABLE couriers.couriers; \
         DELETE FROM couriers.courier_orders; DELETE FROM couriers.delivery_log; \
         DELETE FROM couriers.delivery_outbox; \
         UPDATE couriers.couriers SET status = 'available', deliveries = 0; \
         UPDATE couriers.order_states SET waiting_since = created_at; \
         SELECT setval(pg_get_serial_sequence('couriers.delivery_log', 'number'), 1, false); COMMIT",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_that_gets_the_number_of_a_lost_one_is_sent() {
    let env = TestEnvironment::new(shared()).await;
    let database = env.courier_database().await;
    let program = start_frozen(&env, &database, 10_000).await;
    assert_eq!(database.count("couriers.delivery_outbox").await, 1, "it is still frozen");

    lose_the_assignment(&mut database.administrator().await).await;
    wait_for_events(&env, 2).await;
    wait_until_sent(&database).await;

    assert!(program.terminate().await.success());
    let events = published(&env).await;
    assert_eq!((events[0].number, events[1].number), (1, 1));
    assert!(events[0].at < events[1].at, "a consumer keeps the second one");
    assert_courier_invariants(&database.pool).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_replicas_send_each_entry_once() {
    let env = TestEnvironment::new(shared()).await;
    let database = env.courier_database().await;
    insert_couriers(&database.pool, 50).await;
    let one = env.start_couriers(&database, &["--batch-rows", "20"]).await;
    let other = env.start_couriers(&database, &["--batch-rows", "20"]).await;
    for status in ["created", "completed", "cancelled"] {
        let events = (0..500).map(|number| keyless_event(&format!("order-{number}"), status));
        env.send_all_to(&env.status_topic(), events).await;
    }
    env.wait_until_couriers_drained().await;
    wait_until_sent(&database).await;

    assert_courier_invariants(&database.pool).await;
    assert_eq!(assert_topic_equals_log(&env, &database.pool).await, 0);

    // The sender that stops gives up its lease, so the other one need not wait for its end.
    one.stop().await.unwrap();
    send_status(&env, "last", "cancelled").await;
    wait_for_delivery(&other, "last", "cancelled").await;
    wait_until_sent(&database).await;
    assert_eq!(assert_topic_equals_log(&env, &database.pool).await, 0);
    other.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_during_an_outage_of_kafka_are_sent_after_it() {
    let mut own = OwnServers::start().await;
    let env = TestEnvironment::new(&own.servers()).await;
    let database = CourierDatabase::new(&env.servers).await;
    let one = env.start_couriers(&database, &[]).await;
    let other = env.start_couriers(&database, &[]).await;
    add_courier(&one, "Anna", "car", "available").await;
    assert_eq!(assign(&one, "first").await.0, 200);
    wait_until_sent(&database).await;

    own.local.kafka.as_mut().unwrap().stop().await.unwrap();
    assert_eq!(unassign(&one, "first").await.0, 200);
    assert_eq!(assign(&other, "first").await.0, 200);
    // Longer than the lease: the sender renews it while it waits.
    tokio::time::sleep(Duration::from_secs(12)).await;
    assert_eq!(unassign(&one, "first").await.0, 200, "calls work without Kafka");
    assert_eq!(database.count("couriers.delivery_outbox").await, 3);
    wait_until("the entries to be counted", async || {
        metric(&other, "waybill_delivery_events_unsent").await == 3.0
    })
    .await;
    assert!(metric(&other, "waybill_oldest_unsent_delivery_event_seconds").await > 10.0);
    let (status, _) = call(&one, "GET", "/readyz", "").await;
    assert_eq!(status, 200);
    own.local.kafka.as_mut().unwrap().restart().await.unwrap();
    wait_until_sent(&database).await;

    assert_eq!(assert_topic_equals_log(&env, &database.pool).await, 0, "one sender at a time");
    one.stop().await.unwrap();
    other.stop().await.unwrap();
    own.stop().await;
}

#[tokio::test]
async fn a_row_of_the_previous_version_is_sent_with_its_entry() {
    let env = TestEnvironment::new(shared()).await;
    let database = env.courier_database().await;
    run_sql(
        &mut database.administrator().await,
        "WITH logged AS ( \
             INSERT INTO couriers.delivery_log \
                 (at, status, order_id, courier_id, transport_type, deadline, cause) \
             VALUES (now(), 'assigned', 'old', 7, 'car', now(), 'match'), \
                 (now(), 'completed', 'older', NULL, NULL, NULL, 'event') \
             RETURNING number, order_id, at \
         ) \
         INSERT INTO couriers.delivery_outbox (number, order_id, at) SELECT * FROM logged",
    )
    .await;

    let service = env.start_couriers(&database, &[]).await;
    wait_until_sent(&database).await;

    assert_eq!(assert_topic_equals_log(&env, &database.pool).await, 0);
    service.stop().await.unwrap();
}
