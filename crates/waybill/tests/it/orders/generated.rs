//! Thousands of generated valid orders are served over HTTP exactly as they were sent to Kafka.

use std::collections::BTreeMap;

use proptest::{
    strategy::{Strategy as _, ValueTree as _},
    test_runner::TestRunner,
};
use serde_json::{Value, json};
use testkit::{
    TestEnvironment,
    order_json::{SAMPLE, valid_order},
    shared,
};
use time::{Duration, OffsetDateTime, format_description::well_known::Rfc3339};

use crate::support::record;

/// Returns the expected canonical order, without the code under test.
fn expected(order: &Value) -> Value {
    let mut model: Value = serde_json::from_str(SAMPLE).unwrap();
    let item = model["items"][0].clone();
    model["items"] = vec![item; order["items"].as_array().unwrap().len()].into();
    fill(&mut model, order);
    model
}

fn fill(model: &mut Value, order: &Value) {
    match model {
        Value::Object(fields) => {
            fields.iter_mut().for_each(|(key, field)| fill(field, &order[key.as_str()]));
        }
        Value::Array(items) => {
            items.iter_mut().zip(order.as_array().unwrap()).for_each(|(item, of)| fill(item, of));
        }
        field if !order.is_null() => *field = order.clone(),
        Value::String(text) => text.clear(),
        number => *number = json!(0),
    }
}

fn instant(order: &Value) -> OffsetDateTime {
    OffsetDateTime::parse(order["date_created"].as_str().unwrap(), &Rfc3339).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn two_thousand_generated_orders_are_served_unchanged() {
    let env = TestEnvironment::new(shared()).await;
    let mut runner = TestRunner::default();
    let strategy = valid_order();
    let mut orders = BTreeMap::new();

    while orders.len() < 2_000 {
        let order = strategy.new_tree(&mut runner).unwrap().current();
        let uid = order["order_uid"].as_str().unwrap().to_owned();
        // HTTP clients treat these two as folders, even if they are escaped.
        if uid != "." && uid != ".." {
            orders.insert(uid, order);
        }
    }
    let service = env.start(&["--cache-bytes", "100"]).await;
    env.send_all(orders.values().map(record)).await;
    env.wait_until_drained().await;

    assert_eq!(env.count("orders.rejected_records").await, 0);
    for (uid, order) in &orders {
        let mut address = reqwest::Url::parse(&service.url).unwrap();
        address.path_segments_mut().unwrap().extend(["order", uid]);
        let answer = service.http.get(address).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{uid:?}");
        assert_eq!(answer.headers()["x-cache"], "db");
        let served: Value = answer.json().await.unwrap();
        let mut expected = expected(order);
        let lost = instant(order) - instant(&served);
        assert!(!lost.is_negative() && lost < Duration::MICROSECOND, "{uid:?} lost {lost}");
        expected["date_created"] = served["date_created"].clone();
        assert_eq!(served, expected);
    }
    service.stop().await.unwrap();
}
