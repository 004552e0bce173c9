//! The latest delivery event of each order is stored, in any sequence of arrival and with any
//! repetition; other records are skipped.

use serde_json::{Value, json};
use testkit::{TestEnvironment, order_json::SAMPLE, order_json::SAMPLE_UID, shared, wait_until};

use super::{delivery, delivery_event, send_deliveries, wait_until_shown};
use crate::support::{Program, metric};

#[tokio::test(flavor = "multi_thread")]
async fn the_latest_event_of_an_order_is_shown() {
    let env = TestEnvironment::new(shared()).await;
    let service = env.start(&["--batch-rows", "1"]).await;
    env.send(None, None, Some(SAMPLE.as_bytes())).await;
    env.wait_until_drained().await;

    assert_eq!(delivery(&service, SAMPLE_UID).await, Value::Null);

    // Later ones first, and each of them twice.
    for number in [3, 1, 4, 2, 1, 4, 3, 2] {
        let status = ["assigned", "overdue", "released", "completed"][number - 1];
        let event = delivery_event(SAMPLE_UID, status, number.try_into().unwrap());
        send_deliveries(&env, [event]).await;
        env.wait_until_deliveries_drained().await;
    }

    let completed = delivery_event(SAMPLE_UID, "completed", 4);
    assert_eq!(delivery(&service, SAMPLE_UID).await, completed);
    let history = service.json(&format!("/order/{SAMPLE_UID}/history")).await;
    assert_eq!((&history["delivery"], &history["status"]), (&completed, &json!("created")));
    assert_eq!(metric(&service, "waybill_deliveries_written_total").await, 2.0);
    assert_eq!(metric(&service, "waybill_delivery_events_superseded_total").await, 6.0);

    // At the same time, the number decides; a later time wins against any number.
    let mut same_time = delivery_event(SAMPLE_UID, "cancelled", 4);
    same_time["number"] = json!(9_007_199_254_740_993_i64);
    let mut lower_number = delivery_event(SAMPLE_UID, "assigned", 5);
    lower_number["number"] = json!(1);
    for event in [same_time, lower_number] {
        send_deliveries(&env, [event.clone()]).await;
        wait_until_shown(&service, &event).await;
    }
    service.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_known_only_from_its_delivery_is_shown() {
    let env = TestEnvironment::new(shared()).await;
    let service = env.start(&[]).await;
    let mut event = delivery_event("unknown", "cancelled", 1);
    for field in ["courier_id", "transport_type", "deadline"] {
        event[field] = Value::Null;
    }

    send_deliveries(&env, [event.clone()]).await;
    wait_until_shown(&service, &event).await;

    let status = service.json("/order/unknown/status").await;
    assert_eq!((&status["status"], &status["stored"]), (&Value::Null, &Value::Null));
    let reason = status["explanation"].as_str().unwrap();
    assert!(reason.contains("they are about its delivery"), "{reason}");
    assert_eq!(service.get("/order/unknown").await.status(), 404);
    let page = service.http.get(service.at("/order/unknown")).header("accept", "text/html");
    let page = page.send().await.unwrap().text().await.unwrap();
    assert!(page.contains("Only events of this order are known"), "{page}");
    assert!(page.contains("Delivery cancelled"), "{page}");

    let cancelled = service.http.post(service.at("/order/unknown/cancel")).send().await.unwrap();
    assert_eq!(cancelled.status(), 202);
    wait_until("the status to be recorded", async || {
        service.json("/order/unknown/status").await["status"] == "cancelled"
    })
    .await;
    service.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn foreign_records_are_counted_and_skipped() {
    let env = TestEnvironment::new(shared()).await;
    let service = env.start(&[]).await;
    let event = |change: fn(&mut Value)| {
        let mut event = delivery_event("foreign", "assigned", 1);
        change(&mut event);
        event.to_string().into_bytes()
    };
    let foreign = [
        ("not_an_object", Vec::from(*b"{")),
        ("not_an_object", Vec::from(*b"[]")),
        ("not_an_object", Vec::from(*b"\xff\xfe")),
        ("not_an_object", vec![b' '; 900_000]),
        ("order_id", event(|event| event["order_id"] = json!("a\0b"))),
        ("status", event(|event| event["status"] = json!("teleported"))),
        ("at", event(|event| event["at"] = json!("yesterday"))),
        ("number", event(|event| event["number"] = json!("1"))),
    ];
    // Fields that cannot be read count as absent.
    let mut tolerated = delivery_event("tolerated", "assigned", 1);
    tolerated["courier_id"] = json!(-1);
    tolerated["transport_type"] = json!("plane");
    tolerated["more"] = json!([1]);
    let mut shown = delivery_event("tolerated", "assigned", 1);
    (shown["courier_id"], shown["transport_type"]) = (Value::Null, Value::Null);

    let records = foreign.iter().map(|(_, value)| (Vec::new(), value.clone()));
    env.send_all_to(&env.deliveries_topic(), records).await;
    env.send_delivery(None).await;
    send_deliveries(&env, [tolerated]).await;
    wait_until_shown(&service, &shown).await;
    env.wait_until_deliveries_drained().await;

    assert_eq!(env.count("orders.order_deliveries").await, 1);
    for (reason, count) in
        [("null_record", 1.0), ("not_an_object", 4.0), ("order_id", 1.0), ("number", 1.0)]
    {
        let name = format!("waybill_delivery_events_unreadable_total{{reason=\"{reason}\"}}");
        assert_eq!(metric(&service, &name).await, count, "{reason}");
    }
    assert_eq!(service.get("/order/foreign/status").await.status(), 404);
    service.stop().await.unwrap();
}

/// Returns the events of 60 orders, four each, so that each order ends with its own number.
fn events_of_many_orders() -> impl Iterator<Item = Value> {
    let statuses = ["assigned", "overdue", "reassigned", "completed"];
    (1..=4_i64).flat_map(move |number| {
        (0..60).map(move |order| {
            let status = statuses[usize::try_from(number).unwrap() - 1];
            delivery_event(&format!("order-{order}"), status, number)
        })
    })
}

async fn assert_all_completed(env: &TestEnvironment) {
    assert_eq!(env.count("orders.order_deliveries").await, 60);
    let completed = "orders.order_deliveries WHERE status = 'completed' AND number = 4";
    assert_eq!(env.count(completed).await, 60);
}

/// Kills a program that stores delivery events at `point`, and asserts that the next one stores the
/// rest.
async fn assert_deliveries_survive_a_crash(point: &str) {
    let env = TestEnvironment::new(shared()).await;
    send_deliveries(&env, events_of_many_orders()).await;
    Program::start(&env, Some(&format!("{point}=kill"))).assert_killed().await;
    let stored = env.count("orders.order_deliveries").await;
    assert_eq!(stored > 0, point != "before-commit", "{stored} deliveries");

    let again = Program::start(&env, None);
    env.wait_until_deliveries_drained().await;
    assert!(again.terminate().await.success());
    assert_all_completed(&env).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_around_the_commit_loses_no_delivery() {
    tokio::join!(
        assert_deliveries_survive_a_crash("before-commit"),
        assert_deliveries_survive_a_crash("after-commit"),
        assert_deliveries_survive_a_crash("store-offsets")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn deliveries_are_read_after_a_restart_and_again_without_effect() {
    let env = TestEnvironment::new(shared()).await;
    let service = env.start(&[]).await;
    send_deliveries(&env, events_of_many_orders().take(150)).await;
    env.wait_until_deliveries_drained().await;
    service.stop().await.unwrap();
    send_deliveries(&env, events_of_many_orders().skip(150)).await;

    let service = env.start(&[]).await;
    env.wait_until_deliveries_drained().await;
    assert_all_completed(&env).await;
    service.stop().await.unwrap();

    let again = env.in_another_group();
    let service = again.start(&[]).await;
    again.wait_until_deliveries_drained().await;

    assert_all_completed(&env).await;
    assert_eq!(metric(&service, "waybill_deliveries_written_total").await, 0.0);
    assert_eq!(metric(&service, "waybill_delivery_events_superseded_total").await, 240.0);
    service.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_that_start_and_stop_lose_no_delivery() {
    const SMALL: [&str; 2] = ["--batch-rows", "5"];
    let env = TestEnvironment::new(shared()).await;
    let partitions = "deliveries_waybill_consumer_partitions";
    let first = env.start(&SMALL).await;
    wait_until("all partitions to be assigned", async || metric(&first, partitions).await == 2.0)
        .await;

    let flow = async {
        for round in 0..20 {
            let number = round + 1;
            let status = if number == 20 { "completed" } else { "assigned" };
            let events =
                (0..200).map(|order| delivery_event(&format!("o-{order}"), status, number));
            send_deliveries(&env, events).await;
        }
    };
    let replicas = async {
        let second = env.start(&SMALL).await;
        wait_until("the replicas to share the partitions", async || {
            let shares = (metric(&first, partitions).await, metric(&second, partitions).await);
            shares.0 > 0.0 && shares.1 > 0.0 && shares.0 + shares.1 == 2.0
        })
        .await;
        first.stop().await.unwrap();
        second
    };
    let ((), second) = tokio::join!(flow, replicas);
    env.wait_until_deliveries_drained().await;

    let completed = "orders.order_deliveries WHERE status = 'completed' AND number = 20";
    assert_eq!(env.count(completed).await, 200);
    assert_eq!(env.count("orders.order_deliveries").await, 200);
    second.stop().await.unwrap();
}
