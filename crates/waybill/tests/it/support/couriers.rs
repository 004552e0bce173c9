//! Calls of the courier service, and its database.

use serde_json::{Value, json};
use sqlx::PgPool;
use testkit::{Service, wait_until};

/// Sends a request and returns the status and the JSON of the answer.
pub(crate) async fn call(service: &Service, method: &str, path: &str, body: &str) -> (u16, Value) {
    let method = method.parse().unwrap();
    let request = service.http.request(method, service.at(path));
    let request = request.header("content-type", "application/json").body(body.to_owned());
    let answer = request.send().await.unwrap();
    let status = answer.status().as_u16();
    (status, answer.json().await.unwrap_or(Value::Null))
}

/// Adds a courier and returns their id.
pub(crate) async fn add_courier(
    service: &Service,
    name: &str,
    transport_type: &str,
    status: &str,
) -> i64 {
    let phone = format!("+7{:010}", rand::random::<u32>());
    let body = json!({
        "name": name, "phone": phone, "transport_type": transport_type, "status": status,
    });
    let (status, answer) = call(service, "POST", "/courier", &body.to_string()).await;
    assert_eq!(status, 201, "{answer}");
    answer["id"].as_i64().unwrap()
}

/// Pauses or resumes a courier and returns the status that they then have.
pub(crate) async fn set_courier_status(service: &Service, id: i64, status: &str) -> String {
    let body = json!({ "id": id, "status": status }).to_string();
    let (code, courier) = call(service, "PUT", "/courier", &body).await;
    assert_eq!(code, 200, "{courier}");
    courier["status"].as_str().unwrap().to_owned()
}

pub(crate) async fn assign(service: &Service, order_id: &str) -> (u16, Value) {
    let body = json!({ "order_id": order_id }).to_string();
    call(service, "POST", "/delivery/assign", &body).await
}

pub(crate) async fn unassign(service: &Service, order_id: &str) -> (u16, Value) {
    let body = json!({ "order_id": order_id }).to_string();
    call(service, "POST", "/delivery/unassign", &body).await
}

/// Waits until an order's delivery is in a state, and returns the delivery.
pub(crate) async fn wait_for_delivery(service: &Service, order_id: &str, state: &str) -> Value {
    let path = format!("/delivery/{order_id}");
    wait_until(&format!("{order_id} to be {state}"), async || {
        service.json(&path).await["state"] == state
    })
    .await;
    service.json(&path).await
}

/// Inserts a number of available couriers into the database.
pub(crate) async fn insert_couriers(pool: &PgPool, count: i64) {
    sqlx::query(
        "INSERT INTO couriers.couriers (name, phone, transport_type, status) \
         SELECT 'c', '+7' || lpad(n::text, 10, '0'), 'car', 'available' FROM generate_series(1, $1) AS n",
    )
    .bind(count)
    .execute(pool)
    .await
    .unwrap();
}

/// Asserts the rules that hold at every moment, which the courier service's own tests check too.
pub(crate) async fn assert_courier_invariants(pool: &PgPool) {
    let rules: Vec<(String, i64)> =
        sqlx::query_as(include_str!("../../../../couriers/tests/it/invariants.sql"))
            .fetch_all(pool)
            .await
            .unwrap();
    let broken: Vec<_> = rules.into_iter().filter(|(_, number)| *number > 0).collect();
    assert!(broken.is_empty(), "{broken:?}");
}
