//! Delivery events: the order service stores the latest one of each order and shows it. The tests
//! publish the events themselves, as the courier service does.

mod events;
mod topic;

use serde_json::{Value, json};
use testkit::{Service, TestEnvironment, wait_until};

/// Returns a delivery event of courier 7, with the number as its second. It is later than the events
/// of a courier service that runs in the same test.
pub(crate) fn delivery_event(order_id: &str, status: &str, number: i64) -> Value {
    json!({
        "order_id": order_id, "courier_id": 7, "status": status,
        "at": format!("2099-08-06T12:{:02}:{:02}.123456Z", number / 60, number % 60),
        "number": number, "transport_type": "scooter", "deadline": "2099-08-06T12:59:00Z",
        "cause": "match",
    })
}

/// Sends events without keys, so that events of one order go to several partitions.
pub(crate) async fn send_deliveries(
    env: &TestEnvironment,
    events: impl IntoIterator<Item = Value>,
) {
    let records = events.into_iter().map(|event| (Vec::new(), event.to_string().into_bytes()));
    env.send_all_to(&env.deliveries_topic(), records).await;
}

/// Returns the delivery of an order, as the API shows it.
async fn delivery(service: &Service, uid: &str) -> Value {
    service.json(&format!("/order/{uid}/status")).await["delivery"].take()
}

/// Waits until the order service shows this event as the delivery of its order.
pub(crate) async fn wait_until_shown(service: &Service, event: &Value) {
    let uid = event["order_id"].as_str().unwrap();
    wait_until("the delivery to be shown", async || delivery(service, uid).await == *event).await;
}
