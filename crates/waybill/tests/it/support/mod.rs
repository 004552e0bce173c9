//! Helpers that several tests share: orders, requests, the real program, and checks of the result.

mod couriers;
mod fleet;
mod program;
mod redis;
mod sent;
mod up;

use serde_json::{Value, json};
use sqlx::PgConnection;
use testkit::{Service, TestEnvironment, order_json::SAMPLE};

pub(crate) use self::{
    couriers::{
        add_courier, assert_courier_invariants, assign, call, insert_couriers, set_courier_status,
        unassign, wait_for_delivery,
    },
    fleet::{Fleet, MARKUP_NAME, insert_fleet},
    program::{Program, Scratch, signal, waybill, waybill_in},
    redis::{Redis, value_in_redis},
    sent::Sent,
    up::{Up, up_command},
};

/// Returns the sample order with another id and amount.
pub(crate) fn order(uid: &str, amount: i64) -> Value {
    let mut order: Value = serde_json::from_str(SAMPLE).unwrap();
    order["order_uid"] = json!(uid);
    order["payment"]["amount"] = json!(amount);
    order
}

/// Returns the key and the value of an order's record.
pub(crate) fn record(order: &Value) -> (Vec<u8>, Vec<u8>) {
    (order["order_uid"].as_str().unwrap().as_bytes().to_vec(), order.to_string().into_bytes())
}

/// Returns a status event as a plain producer writes it.
pub(crate) fn status_event(order_id: &str, status: &str) -> Vec<u8> {
    json!({ "order_id": order_id, "status": status, "created_at": "2025-08-06T12:00:00Z" })
        .to_string()
        .into_bytes()
}

/// Returns a status event that does not say when it was created.
pub(crate) fn status_event_without_time(order_id: &str, status: &str) -> Vec<u8> {
    json!({ "order_id": order_id, "status": status }).to_string().into_bytes()
}

/// Returns a status event as a record without a key, so that events of one order go to several
/// partitions.
pub(crate) fn keyless_event(order_id: &str, status: &str) -> (Vec<u8>, Vec<u8>) {
    (Vec::new(), status_event(order_id, status))
}

/// Sends a status event without a key.
pub(crate) async fn send_status(env: &TestEnvironment, order_id: &str, status: &str) {
    env.send_status(None, &status_event(order_id, status)).await;
}

/// Sends a status event with the order's id as its key, and without a time.
pub(crate) async fn send_keyed_status(env: &TestEnvironment, order_id: &str, status: &str) {
    env.send_status(Some(order_id), &status_event_without_time(order_id, status)).await;
}

/// Runs statements in the order service's database as an administrator.
pub(crate) async fn run_as_administrator(env: &TestEnvironment, statements: &str) {
    run_sql(&mut env.administrator().await, statements).await;
}

/// Copies the only stored order: `copies` orders, each a second older than the one before, and with
/// `items` items of 9 KB.
pub(crate) async fn insert_large_copies(env: &TestEnvironment, copies: u32, items: u32) {
    let statement = format!(
        "INSERT INTO orders.orders SELECT copy.* \
         FROM orders.orders AS original, \
              LATERAL (SELECT jsonb_agg(jsonb_set(original.items->0, '{{name}}', \
                                                  to_jsonb(repeat('x', 9000) || part))) AS large \
                       FROM generate_series(1, {items}) AS part) AS items, \
              generate_series(1, {copies}) AS number, \
              jsonb_populate_record(original, jsonb_build_object( \
                  'order_uid', 'copy-' || number, 'items', large, \
                  'ingested_at', original.ingested_at - number * interval '1 s')) AS copy"
    );
    run_as_administrator(env, &statement).await;
}

pub(crate) async fn run_sql(connection: &mut PgConnection, statements: &str) {
    let statements = sqlx::AssertSqlSafe(statements.to_owned());
    sqlx::raw_sql(statements).execute(connection).await.unwrap();
}

pub(crate) async fn post(service: &Service, path: &str, body: &str) -> reqwest::Response {
    let request = service.http.post(service.at(path)).header("content-type", "application/json");
    request.body(body.to_owned()).send().await.unwrap()
}

/// Reads one number of `/metrics`.
pub(crate) async fn metric(service: &Service, name: &str) -> f64 {
    let text = service.get("/metrics").await.text().await.unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
    line.unwrap_or_else(|| panic!("no {name} in {text}")).parse().unwrap()
}

/// Asserts that the service answers with this very order, and returns where it came from:
/// `memory`, `redis` or `db`.
pub(crate) async fn assert_served(service: &Service, order: &Value) -> String {
    let answer = service.get(&format!("/order/{}", order["order_uid"].as_str().unwrap())).await;
    assert_eq!(answer.status(), 200);
    let source = answer.headers()["x-cache"].to_str().unwrap().to_owned();
    assert_eq!(&answer.json::<Value>().await.unwrap(), order);
    source
}

/// Asserts that the service answers with this very order, from `source`.
pub(crate) async fn assert_served_from(service: &Service, order: &Value, source: &str) {
    assert_eq!(assert_served(service, order).await, source);
}
