//! The calls about rejected records: filters, check, settling, and the bounded replay of many.

use serde_json::{Value, json};
use sqlx::PgPool;
use testkit::{Service, TestEnvironment, shared};

use crate::support::{order, post};

/// Inserts a rejected record as a previous version has stored it, at an offset that Kafka does not
/// have. The newest has the greatest number.
async fn insert(pool: &PgPool, topic: &str, number: i64, value: &[u8], reason: &str) -> String {
    let violation =
        json!([{ "pointer": "/payment/amount", "code": reason, "message": "is wrong" }]);
    sqlx::query(
        "INSERT INTO orders.rejected_records (topic, \"partition\", \"offset\", record_timestamp, \
             key, value, reason, violations, rejected_at) \
         VALUES ($1, 7, $2, date_trunc('milliseconds', now()), 'key', $3, $4, $5, \
             '2026-03-01T12:00:00Z'::timestamptz + $2 * interval '1 minute')",
    )
    .bind(topic)
    .bind(number)
    .bind(value)
    .bind(reason)
    .bind(violation)
    .execute(pool)
    .await
    .unwrap();
    format!("{topic}:7:{number}")
}

async fn ids(service: &Service, query: &str) -> Vec<String> {
    let (mut ids, mut after) = (Vec::new(), String::new());
    loop {
        let page = service.json(&format!("/rejected?limit=100&{query}{after}")).await;
        let items = page["items"].as_array().unwrap_or_else(|| panic!("{query}: {page}"));
        ids.extend(items.iter().map(|item| item["id"].as_str().unwrap().to_owned()));
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => return ids,
        }
    }
}

async fn post_as(service: &Service, actor: &str, path: &str, body: &str) -> reqwest::Response {
    let request = service.http.post(service.at(path)).header("x-actor", actor);
    let request = request.header("content-type", "application/json").body(body.to_owned());
    request.send().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn records_are_found_by_field_text_time_and_state() {
    let env = TestEnvironment::new(shared()).await;
    let service = env.start(&[]).await;
    let topic = env.orders_topic();
    let mut all = Vec::new();
    // More than two steps of a search.
    for number in 0..450 {
        let value = format!("{{\"number\": \"n{number}.\", \"ж\": \"\\u0436\"}}");
        all.push(insert(&env.pool, &topic, number, value.as_bytes(), "negative").await);
    }
    all.push(insert(&env.pool, &topic, 450, b"\xff\xfe n7. \xff", "invalid_utf8").await);
    let newest =
        |from: usize, to: usize| -> Vec<String> { all[from..=to].iter().rev().cloned().collect() };

    for (query, expected) in [
        ("", newest(0, 450)),
        ("q=n7.", vec![all[450].clone(), all[7].clone()]),
        ("q=N7.", vec![]),
        ("q=%D0%B6%22", newest(0, 449)),
        ("q=invalid_utf8", newest(450, 450)),
        ("q=is+wrong&reason=invalid_utf8", newest(450, 450)),
        (&format!("q={}", all[412]), newest(412, 412)),
        ("q=key&key=key", newest(0, 450)),
        ("field=/pay&reason=negative", newest(0, 449)),
        ("field=/payment/amount/x", vec![]),
        ("from=2026-03-01T15:20:00Z", newest(200, 450)),
        ("from=2026-03-01T15:20&to=2026-03-01T12:22:00-03:00", newest(200, 201)),
        ("to=2026-03-01T12:00:00Z", vec![]),
        ("settled=true", vec![]),
        ("settled=any&to=2026-03-01T12:01:00Z", newest(0, 0)),
        ("reason=&q=&field=&key=&from=&to=&settled=any", newest(0, 450)),
    ] {
        assert_eq!(ids(&service, query).await, expected, "{query}");
        let count = service.json(&format!("/rejected/count?{query}")).await;
        assert_eq!(count, json!({ "count": expected.len(), "exact": true }), "{query}");
    }
    let link = service.get("/rejected?q=n7.&limit=1").await.headers()["link"].clone();
    assert!(link.to_str().unwrap().contains("&q=n7."), "{link:?}");

    for (query, name) in [
        ("field=delivery", "field"),
        ("from=yesterday", "from"),
        ("to=2026-13-01T12:00", "to"),
        ("settled=yes", "settled"),
        (&format!("q={}", "x".repeat(201)), "q"),
    ] {
        for path in ["/rejected", "/rejected/count"] {
            let answer = service.get(&format!("{path}?{query}")).await;
            assert_eq!(answer.status(), 400, "{query}");
            let detail = answer.json::<Value>().await.unwrap()["detail"].clone();
            assert!(detail.as_str().unwrap().starts_with(&format!("the parameter {name} ")));
        }
    }
    service.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_settled_record_leaves_the_list_until_it_is_reopened() {
    let env = TestEnvironment::new(shared()).await;
    let service = env.start(&[]).await;
    let (partition, offset) = env.send(None, None, Some(b"{")).await;
    env.wait_until_drained().await;
    let id = format!("{}:{partition}:{offset}", env.orders_topic());
    let path = format!("/rejected/{id}");

    let answer = post_as(&service, "Анна", &format!("{path}/settle"), r#"{"note":"a test"}"#).await;
    assert_eq!(answer.status(), 200);
    let settled = answer.json::<Value>().await.unwrap()["settled"].clone();
    assert_eq!(
        (&settled["by"], &settled["note"], &settled["replayed"]),
        (&json!("Анна"), &json!("a test"), &json!(false))
    );
    assert_eq!(ids(&service, "").await, [""; 0]);
    assert_eq!(ids(&service, "settled=true").await, [id.as_str()]);
    assert_eq!(service.json("/rejected/count").await["count"], 0);

    // The note of the first operator stays.
    let second = post_as(&service, "bob", &format!("{path}/settle"), "").await;
    assert_eq!(second.status(), 200);
    assert_eq!(second.json::<Value>().await.unwrap()["settled"], settled);
    assert_eq!(service.json(&path).await["settled"], settled);

    for _ in 0..2 {
        let answer = post(&service, &format!("{path}/reopen"), "").await;
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.json::<Value>().await.unwrap()["settled"], Value::Null);
    }
    assert_eq!(ids(&service, "").await, [id.as_str()]);

    for (actor, path, body, status, part) in [
        ("a", format!("{path}/settle"), r#"{"note":7}"#, 422, "/note"),
        ("a", format!("{path}/settle"), r#"{"reason":""}"#, 422, "/reason"),
        ("a", format!("{path}/settle"), "{", 422, "JSON"),
        (" ", format!("{path}/settle"), "", 400, "X-Actor"),
        (" ", format!("{path}/replay"), "", 400, "X-Actor"),
        (" ", "/rejected/replay".to_owned(), "", 400, "X-Actor"),
        ("a", "/rejected/orders:0:99/settle".to_owned(), "", 404, "no rejected record"),
        ("a", "/rejected/orders:0:99/reopen".to_owned(), "", 404, "no rejected record"),
        ("a", "/rejected/orders/settle".to_owned(), "", 400, "looks like"),
    ] {
        let answer = post_as(&service, actor, &path, body).await;
        assert_eq!(answer.status(), status, "{path} {body}");
        let problem: Value = answer.json().await.unwrap();
        assert!(problem["detail"].as_str().unwrap().contains(part), "{problem}");
    }
    assert_eq!(ids(&service, "").await, [id], "nothing was changed");
    service.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn many_records_are_replayed_in_bounded_calls() {
    let env = TestEnvironment::new(shared()).await;
    let service = env.start(&[]).await;
    let topic = env.orders_topic();
    let valid = |uid: &str| order(uid, 5).to_string().into_bytes();
    let oldest = insert(&env.pool, &topic, 1, &valid("one"), "negative").await;
    let other = insert(&env.pool, &topic, 2, &valid("other"), "missing").await;
    let invalid = insert(&env.pool, &topic, 3, b"{", "negative").await;
    let cut = insert(&env.pool, &topic, 4, b"{\"order_uid\"", "negative").await;
    let newest = insert(&env.pool, &topic, 5, &valid("two"), "negative").await;
    sqlx::query(
        "UPDATE orders.rejected_records SET value_length = 5000000, value_sha256 = '\\x00' \
         WHERE \"offset\" = 4",
    )
    .execute(&env.pool)
    .await
    .unwrap();
    let replay = async |query: &str| -> Value {
        let answer = post_as(&service, "Анна", &format!("/rejected/replay?{query}"), "").await;
        assert_eq!(answer.status(), 200);
        answer.json().await.unwrap()
    };

    let first = replay("reason=negative&limit=2").await;
    let [one, two] = first["results"].as_array().unwrap().as_slice() else { panic!("{first}") };
    assert_eq!((&one["id"], &one["result"]), (&json!(newest), &json!("accepted")));
    assert_eq!((&two["id"], &two["result"]), (&json!(cut), &json!("not_sent")));
    assert!(two["detail"].as_str().unwrap().contains("too large"), "{two}");

    let next = first["next"].as_str().unwrap();
    let second = replay(&format!("reason=negative&limit=100&after={next}")).await;
    let [three, four] = second["results"].as_array().unwrap().as_slice() else {
        panic!("{second}")
    };
    assert_eq!((&three["id"], &three["result"]), (&json!(invalid), &json!("rejected")));
    assert_eq!((&four["id"], &four["result"]), (&json!(oldest), &json!("accepted")));
    assert_eq!(second["next"], Value::Null, "the record that was rejected again is not part of it");

    for uid in ["one", "two"] {
        assert_eq!(service.get(&format!("/order/{uid}")).await.status(), 200);
    }
    let again = three["rejected_as"].as_str().unwrap().to_owned();
    assert_eq!(service.json(&format!("/rejected/{again}")).await["value"], "{");
    // A replay settles its record; the one that was rejected again is left in its place.
    assert_eq!(ids(&service, "").await, [again.clone(), cut, other]);
    let shown = service.json(&format!("/rejected/{invalid}")).await;
    assert_eq!(
        (&shown["replays"][0]["by"], &shown["replays"][0]["outcome"]),
        (&json!("Анна"), &json!("rejected"))
    );
    assert_eq!(
        (&shown["settled"]["by"], &shown["settled"]["replayed"]),
        (&json!("Анна"), &json!(true))
    );
    let records = env.read_all(&topic).await;
    let by = records.iter().filter_map(|record| record.headers.get("waybill.replay.by"));
    assert_eq!(by.collect::<Vec<_>>(), ["Анна"; 3]);

    // Once more: what was accepted changes nothing.
    let repeated = replay("settled=any&q=two&limit=1").await;
    assert_eq!(repeated["results"][0]["result"], "accepted");
    let two = service.get("/order/two").await;
    assert_eq!(two.headers()["x-order-version"], "1");

    for query in ["limit=101", "limit=0", "field=x", "after=x"] {
        let answer = post(&service, &format!("/rejected/replay?{query}"), "").await;
        assert_eq!(answer.status(), 400, "{query}");
    }
    service.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn two_operators_may_replay_the_same_records() {
    let env = TestEnvironment::new(shared()).await;
    let service = env.start(&[]).await;
    for number in 0..20 {
        let value = order(&format!("order-{number}"), 5).to_string();
        insert(&env.pool, &env.orders_topic(), number, value.as_bytes(), "negative").await;
    }
    let replay = async |actor: &str| -> Value {
        post_as(&service, actor, "/rejected/replay?limit=100", "").await.json().await.unwrap()
    };

    let (first, second) = tokio::join!(replay("ada"), replay("bob"));

    for answer in [&first, &second] {
        assert_eq!(answer["next"], Value::Null);
        let results = answer["results"].as_array().unwrap();
        assert!(results.iter().all(|one| one["result"] == "accepted"), "{answer}");
    }
    env.wait_until_drained().await;
    assert_eq!(ids(&service, "").await, [""; 0]);
    assert_eq!(ids(&service, "settled=true").await.len(), 20);
    for number in 0..20 {
        let stored = service.get(&format!("/order/order-{number}")).await;
        assert_eq!(stored.headers()["x-order-version"], "1");
    }
    service.stop().await.unwrap();
}

/// A previous version records a replay without its outcome, and settles nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_redelivered_replay_neither_repeats_nor_settles() {
    let env = TestEnvironment::new(shared()).await;
    let service = env.start(&[]).await;
    let (partition, offset) = env.send(Some(0), None, Some(b"{")).await;
    env.wait_until_drained().await;
    let path = format!("/rejected/{}:{partition}:{offset}", env.orders_topic());
    let replayed = post(&service, &format!("{path}/replay?wait=30s"), "").await;
    assert_eq!(replayed.status(), 202);
    let replayed_as = service.json(&path).await["replays"][0].clone();
    assert_eq!(replayed_as["outcome"], "rejected");

    sqlx::query(
        "UPDATE orders.rejected_records SET settled_at = NULL, settled_by = NULL, \
             replays = jsonb_build_array((replays -> 0) - 'by' - 'outcome') \
         WHERE replays <> '[]'",
    )
    .execute(&env.pool)
    .await
    .unwrap();
    let shown = service.json(&path).await;
    assert_eq!((&shown["replays"][0]["outcome"], &shown["settled"]), (&Value::Null, &Value::Null));
    service.stop().await.unwrap();

    let partition = i32::try_from(replayed_as["partition"].as_i64().unwrap()).unwrap();
    env.commit(partition, 0).await;
    let service = env.start(&[]).await;
    env.wait_until_drained().await;

    assert_eq!(service.json(&path).await, shown);
    service.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_names_lines_and_sends_nothing() {
    let env = TestEnvironment::new(shared()).await;
    let service = env.start(&[]).await;
    let (partition, offset) = env.send(Some(0), None, Some(b"{\"order_uid\": 7,\n]")).await;
    env.wait_until_drained().await;
    let path = format!("/rejected/{}:{partition}:{offset}", env.orders_topic());
    let check = async |body: &str| -> Value {
        let answer = post(&service, &format!("{path}/check"), body).await;
        assert_eq!(answer.status(), 200);
        answer.json().await.unwrap()
    };

    let stored = check("").await;
    assert_eq!(stored["valid"], false);
    let first = &stored["violations"][0];
    assert_eq!((&first["code"], &first["line"]), (&json!("invalid_json"), &json!(2)));

    let mut edited = order("edited", -5);
    edited["delivery"].as_object_mut().unwrap().remove("city");
    let text = format!("{edited:#}");
    let checked = check(&text).await;
    let line = |part: &str| text.lines().position(|line| line.contains(part)).unwrap() + 1;
    for (pointer, part) in [("/payment/amount", "\"amount\""), ("/delivery/city", "\"delivery\"")] {
        let violations = checked["violations"].as_array().unwrap();
        let one = violations.iter().find(|one| one["pointer"] == pointer).unwrap();
        assert_eq!(one["line"], line(part), "{pointer}");
    }
    assert_eq!(
        check(&order("edited", 5).to_string()).await,
        json!({ "valid": true, "violations": [] })
    );

    assert_eq!(post(&service, "/rejected/orders:0:99/check", "{}").await.status(), 404);
    assert_eq!(env.read_all(&env.orders_topic()).await.len(), 1, "nothing was sent");
    assert_eq!(service.get("/order/edited").await.status(), 404);
    service.stop().await.unwrap();
}
