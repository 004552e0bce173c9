//! Calls that publish status events: an order is cancelled or completed, and its trace continues.

use serde_json::{Value, json};
use testkit::{OwnServers, TestEnvironment, shared};

use crate::support::{order, post, record, send_status};

async fn assert_problem(answer: reqwest::Response, status: u16, detail: &str) {
    assert_eq!(answer.status(), status);
    assert_eq!(answer.headers()["content-type"], "application/problem+json");
    let problem: Value = answer.json().await.unwrap();
    assert!(problem["detail"].as_str().unwrap().contains(detail), "{problem}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_is_completed_and_cancelled_by_calls() {
    let env = TestEnvironment::new(shared()).await;
    let service = env.start(&[]).await;
    let (key, value) = record(&order("a/b", 1));

    env.send(None, Some(&key), Some(&value)).await;
    assert_eq!(service.get("/order/a%2Fb?wait=30s").await.status(), 200);

    assert_problem(post(&service, "/order/nobody/cancel", "").await, 404, "is stored").await;

    let long = format!("/order/{}/cancel", "x".repeat(101));
    assert_problem(post(&service, &long, "").await, 400, "101 bytes").await;

    let answer = post(&service, "/order/a%2Fb/complete", "").await;
    assert_eq!(answer.status(), 202);
    assert_eq!(answer.headers()["location"], "/order/a%2Fb/status");

    let sent: Value = answer.json().await.unwrap();
    assert_eq!((&sent["order_id"], &sent["status"]), (&json!("a/b"), &json!("completed")));

    env.wait_until_drained().await;
    env.wait_until_status_drained().await;
    let events = env.read_all(&env.status_topic()).await;
    let published = events.iter().find(|event| event.headers["ce_type"] == "completed").unwrap();

    assert_eq!(published.key.as_deref(), Some(b"a/b".as_slice()));
    assert_eq!(published.headers["ce_id"], "a/b:1:completed");
    assert_eq!(published.headers["ce_source"], format!("waybill/{}/orders", env.name));
    assert_eq!(published.headers["ce_specversion"], "1.0");
    assert_eq!(published.headers["ce_time"], sent["created_at"]);
    assert_eq!(serde_json::from_slice::<Value>(published.value.as_deref().unwrap()).unwrap(), sent);

    assert_problem(post(&service, "/order/a%2Fb/complete", "").await, 409, "already completed")
        .await;
    assert_eq!(post(&service, "/order/a%2Fb/cancel", "").await.status(), 202);

    env.wait_until_status_drained().await;
    assert_eq!(service.json("/order/a%2Fb/status").await["status"], "cancelled");
    assert_problem(post(&service, "/order/a%2Fb/cancel", "").await, 409, "already cancelled").await;
    assert_problem(post(&service, "/order/a%2Fb/complete", "").await, 409, "already cancelled")
        .await;

    // An order that is known only from events has no version here.
    send_status(&env, "123", "created").await;
    env.wait_until_status_drained().await;
    let sent: Value = post(&service, "/order/123/cancel", "").await.json().await.unwrap();

    assert_eq!(sent.get("version"), None);
    service.stop().await.unwrap();
}

/// Returns the ids of the trace and of the span in the header `traceparent`.
fn trace_and_span(headers: &std::collections::BTreeMap<String, String>) -> (String, String) {
    let parts: Vec<&str> = headers["traceparent"].split('-').collect();
    let [version, trace, span, _] = parts[..] else { panic!("{headers:?}") };
    assert_eq!((version, trace.len(), span.len()), ("00", 32, 16), "{headers:?}");
    (trace.to_owned(), span.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn events_continue_the_trace_of_their_cause() {
    let env = TestEnvironment::new(shared()).await;
    let service = env.start(&[]).await;
    let posted = ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331");
    let cancelled = ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7");
    let with = |path: &str, (trace, span): (&str, &str)| {
        service.http.post(service.at(path)).header("traceparent", format!("00-{trace}-{span}-01"))
    };
    let traced = order("traced", 1).to_string();
    let answer = with("/order", posted)
        .header("content-type", "application/json")
        .body(traced)
        .send()
        .await
        .unwrap();

    assert_eq!(answer.status(), 202);
    assert_eq!(service.get("/order/traced?wait=30s").await.status(), 200);

    let answer = with("/order/traced/cancel", cancelled).send().await.unwrap();
    assert_eq!(answer.status(), 202);

    // Records without a trace.
    env.send_all([record(&order("one", 1)), record(&order("other", 1))]).await;
    env.wait_until_drained().await;

    let records = env.read_all(&env.orders_topic()).await;
    let ordered = records.iter().find(|one| one.key.as_deref() == Some(b"traced")).unwrap();
    let events = env.read_all(&env.status_topic()).await;
    let event = |id: &str| {
        let event = events.iter().find(|event| event.headers["ce_id"] == id).unwrap();
        trace_and_span(&event.headers)
    };
    let spans = [trace_and_span(&ordered.headers), event("traced:1:created")];

    assert!(spans.iter().all(|(trace, _)| trace == posted.0), "{spans:?}");
    assert!(spans[0].1 != posted.1 && spans[1].1 != spans[0].1, "{spans:?}");

    let (trace, span) = event("traced:1:cancelled");
    assert!(trace == cancelled.0 && span != cancelled.1, "{trace} {span}");
    assert_ne!(event("one:1:created").0, event("other:1:created").0);
    service.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn without_kafka_a_cancel_is_answered_by_503() {
    let mut own = OwnServers::start().await;
    let env = TestEnvironment::new(&own.servers()).await;
    let service = env.start(&[]).await;

    send_status(&env, "1", "created").await;
    env.wait_until_status_drained().await;
    own.local.kafka.as_mut().unwrap().stop().await.unwrap();

    assert_problem(post(&service, "/order/1/cancel", "").await, 503, "Kafka").await;
    assert_eq!(service.json("/order/1/status").await["status"], "created");

    own.local.postgres.as_mut().unwrap().kill().await.unwrap();
    assert_problem(service.get("/order/1/status").await, 503, "database").await;

    own.local.kafka.as_mut().unwrap().restart().await.unwrap();
    own.local.postgres.as_mut().unwrap().restart().await.unwrap();
    service.stop().await.unwrap();
    own.stop().await;
}
