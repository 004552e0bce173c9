//! Status events of all producers are recorded once each, in any order of arrival.

use serde_json::{Value, json};
use testkit::{
    OwnServers, Service, TestEnvironment,
    order_json::{SAMPLE, SAMPLE_UID},
    shared, wait_until,
};

use crate::support::{Program, metric, send_status, status_event};

async fn history(service: &Service, uid: &str) -> Value {
    service.json(&format!("/order/{uid}/history")).await
}

/// Returns the status of each event and why it was ignored, in the order of Kafka.
fn verdicts(history: &Value) -> Vec<(&str, Option<&str>)> {
    let events = history["events"].as_array().unwrap().iter();
    events
        .map(|event| (event["word"].as_str().unwrap(), event["ignored"]["reason"].as_str()))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_of_an_order_that_is_not_stored_is_recorded() {
    let env = TestEnvironment::new(shared()).await;
    let service = env.start(&[]).await;
    let text = "{\n    \"order_id\": \"123\",\n    \"status\": \"created\",\n    \"created_at\": \"2025-08-06T12:00:00Z\"\n  }";
    let (partition, offset) = env.send_status(None, text.as_bytes()).await;

    env.wait_until_status_drained().await;

    let status = service.json("/order/123/status").await;
    let id = format!("{}:{partition}:{offset}", env.status_topic());
    assert_eq!(status["status"], "created");
    assert_eq!((&status["record"], &status["version"]), (&json!(id), &Value::Null));
    assert_eq!(service.get("/order/123").await.status(), 404, "an event does not store an order");

    let history = history(&service, "123").await;
    let recorded = &history["events"][0];
    assert_eq!((&recorded["record"], &recorded["word"]), (&json!(id), &json!("created")));
    assert_eq!(recorded["created_at"], "2025-08-06T12:00:00Z");
    assert_eq!((&recorded["version"], &recorded["ignored"]), (&Value::Null, &Value::Null));
    assert_eq!(recorded["at"], status["since"]);
    assert_eq!(history["stored"], Value::Null);
    service.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_with_only_unknown_words_has_no_status_and_a_reason() {
    let env = TestEnvironment::new(shared()).await;
    let service = env.start(&[]).await;
    let couriers = env.start_couriers(&env.courier_database().await, &[]).await;

    env.send_status(None, &status_event("lost", "teleported")).await;
    env.send_status(None, &status_event("known", "cooking")).await;
    env.wait_until_status_drained().await;
    env.wait_until_couriers_drained().await;

    let status = service.json("/order/lost/status").await;
    assert_eq!((&status["status"], &status["since"]), (&Value::Null, &Value::Null));
    let reason = status["explanation"].as_str().unwrap();
    assert!(reason.contains("events about it give it no status"), "{reason}");

    let recorded = history(&service, "lost").await;
    assert_eq!(recorded["explanation"], reason);
    assert_eq!(verdicts(&recorded), [("teleported", Some("unknown_status"))]);
    assert_eq!(service.json("/order/known/status").await["explanation"], Value::Null);

    // The courier service records no such event, and does not claim that none has arrived.
    let answer = couriers.get("/delivery/lost").await;
    assert_eq!(answer.status(), 404);
    let detail = answer.json::<Value>().await.unwrap()["detail"].clone();
    assert!(detail.as_str().unwrap().contains("events with an unknown word"), "{detail}");

    let page = |path: &str| service.http.get(service.at(path)).header("accept", "text/html");
    for (uid, text) in [("lost", "none of them gives it a status"), ("known", "cooking")] {
        let page = page(&format!("/order/{uid}")).send().await.unwrap();
        assert_eq!(page.status(), 404, "the order is not stored");
        let page = page.text().await.unwrap();
        assert!(page.contains("Only events of this order are known"), "{page}");
        assert!(page.contains(text), "{page}");
    }
    couriers.stop().await.unwrap();
    service.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_history_shows_which_events_were_ignored_and_why() {
    let env = TestEnvironment::new(shared()).await;
    let service = env.start(&[]).await;
    let uid = SAMPLE_UID;

    env.send_status(Some(uid), &status_event(uid, "pending")).await;
    env.wait_until_status_drained().await;
    env.send(None, None, Some(SAMPLE.as_bytes())).await;
    env.wait_until_drained().await;
    env.wait_until_status_drained().await;
    for word in ["confirmed", "cooking", "lost", "cooking", "delivering", "updated", "delivered"] {
        env.send_status(Some(uid), &status_event(uid, word)).await;
    }
    for word in ["completed", " deleted ", "canceled", "cancelled", "delivered"] {
        env.send_status(Some(uid), &status_event(uid, word)).await;
    }
    env.wait_until_status_drained().await;

    let history = history(&service, uid).await;
    let (repeated, lower) = (Some("repeated"), Some("lower"));
    assert_eq!(
        verdicts(&history),
        [
            ("created", None),
            ("pending", None),
            ("confirmed", None),
            ("cooking", None),
            ("lost", Some("unknown_status")),
            ("cooking", repeated),
            ("delivering", None),
            ("updated", Some("no_rank")),
            ("delivered", None),
            ("completed", repeated),
            ("deleted", None),
            ("canceled", repeated),
            ("cancelled", repeated),
            ("delivered", lower),
        ]
    );
    assert_eq!(history["status"], "cancelled");
    assert_eq!(history["since"], history["events"][10]["at"]);
    assert_eq!(history["record"], history["events"][10]["record"]);
    assert_eq!(history["events"][10]["status"], "cancelled");
    assert_eq!((&history["version"], &history["next"]), (&json!(1), &Value::Null));

    let source = history["stored"]["record"].as_str().unwrap();
    assert!(source.starts_with(&env.orders_topic()), "{source}");

    // The pages of the history give the same entries.
    let mut paged = Vec::new();
    let mut path = format!("/order/{uid}/history?limit=5");
    loop {
        let page = service.json(&path).await;
        paged.extend(page["events"].as_array().unwrap().clone());
        let Some(next) = page["next"].as_str() else { break };
        path = format!("/order/{uid}/history?limit=5&after={next}");
    }

    assert_eq!(json!(paged), history["events"]);
    for (reason, count) in [("repeated", 4.0), ("lower", 1.0), ("unknown_status", 1.0)] {
        let name = format!("waybill_status_events_ignored_total{{reason=\"{reason}\"}}");
        assert_eq!(metric(&service, &name).await, count, "{reason}");
    }
    service.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn any_order_of_arrival_ends_in_the_same_status() {
    let env = TestEnvironment::new(shared()).await;
    let words = ["created", "cancelled", "completed"];
    let orders = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]]
        .map(|o| o.map(|i| words[i]));
    // Each batch has one record, and the partitions are read in parallel.
    let service = env.start(&["--batch-rows", "1"]).await;

    for order in orders {
        let uid = order.join("-");
        for word in order {
            send_status(&env, &uid, word).await;
            send_status(&env, &uid, word).await;
        }
    }
    env.wait_until_status_drained().await;
    for order in orders {
        let history = history(&service, &order.join("-")).await;
        assert_eq!(history["status"], "cancelled", "{history}");
        let events = history["events"].as_array().unwrap();
        assert_eq!(events.len(), 6, "{history}");
        let first = events.iter().find(|event| event["word"] == "cancelled").unwrap();
        assert_eq!(history["record"], first["record"], "the first event with this status");
        let moved = events.iter().filter(|event| event["ignored"].is_null());
        assert!((1..=3).contains(&moved.count()), "{history}");
    }
    service.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_status_and_the_event_that_caused_it_appear_together() {
    let env = TestEnvironment::new(shared()).await;
    let service = env.start(&[]).await;
    let words = ["created", "pending", "confirmed", "cooking", "delivering", "completed"];

    for uid in (0..20).map(|number| format!("order-{number}")) {
        env.send_status(Some(&uid), &status_event(&uid, words[0])).await;
        env.wait_until_status_drained().await;
        for word in &words[1..] {
            env.send_status(Some(&uid), &status_event(&uid, word)).await;
            wait_until("the event to be recorded", async || {
                let history = history(&service, &uid).await;
                let last = history["events"].as_array().unwrap().last().unwrap();
                assert_eq!(last["record"], history["record"], "{history}");
                last["word"] == *word
            })
            .await;
        }
    }
    service.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_event_is_counted_and_affects_no_other() {
    let env = TestEnvironment::new(shared()).await;
    let service = env.start(&[]).await;

    for bad in ["", "{", "[]", "{}", r#"{"order_id":"1"}"#, r#"{"order_id":"","status":"created"}"#]
    {
        env.send_status(Some("1"), bad.as_bytes()).await;
        env.send_status(Some("1"), &status_event("good", "created")).await;
    }
    env.wait_until_status_drained().await;
    assert_eq!(history(&service, "good").await["events"].as_array().unwrap().len(), 6);
    assert_eq!(env.count("orders.order_events").await, 6);
    assert_eq!(env.count("orders.rejected_records").await, 0, "the courier service keeps them");
    for (rule, count) in
        [("empty_record", 1.0), ("invalid_json", 1.0), ("not_an_object", 1.0), ("missing", 2.0)]
    {
        let name = format!("waybill_status_events_unreadable_total{{reason=\"{rule}\"}}");
        assert_eq!(metric(&service, &name).await, count, "{rule}");
    }
    assert_eq!(service.get("/order/1/history").await.status(), 404);
    service.stop().await.unwrap();
}

/// Kills a program that reads events of 40 orders, with repeats, at `point`, and asserts that the
/// next one records each event once.
async fn assert_events_survive_a_crash(point: &str) {
    let env = TestEnvironment::new(shared()).await;
    let mut sent = 0;
    for word in ["created", "cooking", "cooking", "cancelled"] {
        for number in 0..40 {
            let uid = format!("order-{number}");
            env.send_status(Some(&uid), &status_event(&uid, word)).await;
            sent += 1;
        }
    }
    Program::start(&env, Some(&format!("{point}=kill"))).assert_killed().await;
    let stored = env.count("orders.order_events").await;
    assert_eq!(stored > 0, point != "before-commit", "{stored} events");

    let again = Program::start(&env, None);
    env.wait_until_status_drained().await;
    assert!(again.terminate().await.success());
    assert_eq!(env.count("orders.order_events").await, sent);
    assert_eq!(env.count("orders.order_events WHERE ignored IS NULL").await, 3 * 40);
    assert_eq!(env.count("orders.order_events WHERE ignored = 'repeated'").await, 40);
    assert_eq!(env.count("orders.order_status WHERE rank = 6").await, 40);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_around_the_commit_records_each_event_once() {
    tokio::join!(
        assert_events_survive_a_crash("before-commit"),
        assert_events_survive_a_crash("after-commit"),
        assert_events_survive_a_crash("status-recorded")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn events_read_again_by_another_group_change_nothing() {
    let env = TestEnvironment::new(shared()).await;
    for word in ["cooking", "created", "lost", "delivered"] {
        env.send_status(Some("1"), &status_event("1", word)).await;
    }
    let service = env.start(&[]).await;
    env.wait_until_status_drained().await;
    let before = history(&service, "1").await;
    service.stop().await.unwrap();

    let again = env.in_another_group();
    let service = again.start(&[]).await;
    again.wait_until_status_drained().await;

    assert_eq!(history(&service, "1").await, before);
    service.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_lose_and_repeat_nothing_if_postgresql_crashes() {
    let mut own = OwnServers::start().await;
    let env = TestEnvironment::new(&own.servers()).await;
    let first = env.start(&["--batch-rows", "20"]).await;
    let second = env.start(&["--batch-rows", "20"]).await;
    let mut sent = 0;

    for (round, words) in [["delivering", "created"], ["cancelled", "delivered"]].iter().enumerate()
    {
        let before = env.count("orders.order_events").await;
        for word in words {
            for number in 0..600 {
                // Without a key, so that both replicas get events of each order.
                env.enqueue_status(None, &status_event(&format!("order-{number}"), word));
                sent += 1;
            }
        }
        wait_until("the first events to be recorded", async || {
            env.count("orders.order_events").await > before
        })
        .await;
        if round == 0 {
            own.local.postgres.as_mut().unwrap().kill().await.unwrap();
            own.local.postgres.as_mut().unwrap().restart().await.unwrap();
        }
        env.flush_queue();
        env.wait_until_status_drained().await;
    }
    assert_eq!(env.count("orders.order_events").await, sent);
    assert_eq!(env.count("orders.order_status WHERE rank = 6").await, 600);

    // In each order, only one event caused each status, whichever replica recorded it.
    let repeated = "(SELECT FROM orders.order_events WHERE ignored IS NULL \
                   GROUP BY order_uid, rank HAVING count(*) > 1) AS repeated";
    assert_eq!(env.count(repeated).await, 0);
    first.stop().await.unwrap();
    second.stop().await.unwrap();
    own.stop().await;
}
