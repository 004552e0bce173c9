//! Valid records from Kafka are served over HTTP; invalid ones are kept, explained and replayed.

use serde_json::{Value, json};
use testkit::{
    Received, TestEnvironment, bad_records::bad_records, eventually, order_json::SAMPLE, shared,
};

#[tokio::test(flavor = "multi_thread")]
async fn an_order_from_kafka_is_served_over_http() {
    let env = TestEnvironment::new(shared()).await;
    let service = env.start(&[]).await;

    env.send(None, None, Some(SAMPLE.as_bytes())).await;

    let answer = service.get("/order/b563feb7b2b84b6test?wait=30s").await;
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["x-order-version"], "1");

    let etag = answer.headers()["etag"].clone();
    let sample: Value = serde_json::from_str(SAMPLE).unwrap();
    assert_eq!(answer.json::<Value>().await.unwrap(), sample);

    let again =
        service.http.get(service.at("/order/b563feb7b2b84b6test")).header("if-none-match", &etag);
    let again = again.send().await.unwrap();
    assert_eq!(again.status(), 304);
    assert_eq!(again.headers()["x-cache"], "memory");

    // The order is served as soon as it is committed; its event follows.
    env.wait_until_drained().await;
    let events = env.read_all(&env.status_topic()).await;
    assert_eq!(events.len(), 1);
    assert_eq!(events[0].key.as_deref(), Some(b"b563feb7b2b84b6test".as_slice()));
    assert_eq!(events[0].headers["ce_id"], "b563feb7b2b84b6test:1:created");

    let event: Value = serde_json::from_slice(events[0].value.as_deref().unwrap()).unwrap();
    assert_eq!(
        (&event["order_id"], &event["status"]),
        (&json!("b563feb7b2b84b6test"), &json!("created"))
    );
    service.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn every_bad_record_is_kept_explained_and_dead_lettered() {
    let env = TestEnvironment::new(shared()).await;
    let mut sample: Value = serde_json::from_str(SAMPLE).unwrap();
    let mut wanted = Vec::new();

    for (number, bad) in bad_records().into_iter().enumerate() {
        let key = format!("key-{number}").into_bytes();
        let place = env.send(Some(0), Some(&key), bad.bytes.as_deref()).await;
        wanted.push((place, key, bad));
        sample["order_uid"] = json!(format!("good-{number}"));
        env.send(Some(0), None, Some(sample.to_string().as_bytes())).await;
    }
    assert!(wanted.len() >= 60, "{} classes", wanted.len());

    let service = env.start(&[]).await;
    env.wait_until_drained().await;

    assert_eq!(
        env.count("orders.orders").await,
        wanted.len() as i64,
        "every good neighbour is stored"
    );
    assert_eq!(env.count("orders.rejected_records").await, wanted.len() as i64);

    let letters = env.read_all(&env.dead_letter_topic()).await;
    for ((partition, offset), key, bad) in &wanted {
        let row: (String, Value, Option<Vec<u8>>) = sqlx::query_as(
            "SELECT reason, violations, value FROM orders.rejected_records WHERE \"partition\" = $1 AND \"offset\" = $2",
        )
        .bind(partition)
        .bind(offset)
        .fetch_one(&env.pool)
        .await
        .unwrap();
        assert_eq!(row.0, bad.reason, "{}", bad.name);
        assert!(!row.1.as_array().unwrap().is_empty(), "{}", bad.name);
        // Of a value above 1 MiB only the first 64 KiB are stored, and none are sent.
        let is_cut = bad.bytes.as_ref().is_some_and(|bytes| bytes.len() > 1 << 20);
        let kept =
            bad.bytes.as_deref().map(|bytes| if is_cut { &bytes[..64 << 10] } else { bytes });
        assert_eq!(row.2.as_deref(), kept, "{}", bad.name);
        let letter = letters
            .iter()
            .find(|letter| letter.headers["__connect.errors.offset"] == offset.to_string())
            .unwrap_or_else(|| panic!("{} has no dead letter", bad.name));
        assert_eq!(letter.key.as_ref(), Some(key), "{}", bad.name);
        let detail = row.1.as_array().unwrap().iter().take(10).map(|violation| {
            let part = |name: &str| violation[name].as_str().unwrap();
            format!("{} {}: {}", part("pointer"), part("code"), part("message"))
        });
        let headers = [
            ("waybill.error.reason", bad.reason.to_owned()),
            ("waybill.error.detail", detail.collect::<Vec<_>>().join("\n")),
            ("__connect.errors.topic", env.orders_topic()),
            ("__connect.errors.partition", partition.to_string()),
            ("__connect.errors.offset", offset.to_string()),
            ("__connect.errors.exception.message", bad.reason.to_owned()),
        ];
        for (name, value) in headers {
            assert_eq!(letter.headers[name], value, "{}: {name}", bad.name);
        }
        assert!(!is_cut || letter.headers["waybill.truncated"] == "true", "{}", bad.name);
        if !letter.headers.contains_key("waybill.truncated") {
            assert_eq!(letter.value, bad.bytes, "{}", bad.name);
        }
    }
    service.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rejected_record_is_replayed_unchanged_and_edited() {
    let env = TestEnvironment::new(shared()).await;
    let service = env.start(&[]).await;
    let mut order: Value = serde_json::from_str(SAMPLE).unwrap();

    order["payment"]["currency"] = json!("XXY");
    let (partition, offset) = env.send(Some(3), None, Some(order.to_string().as_bytes())).await;
    let id = format!("{}:{partition}:{offset}", env.orders_topic());
    let shown = eventually("the rejection", async || {
        let answer = service.get(&format!("/rejected/{id}")).await;
        if answer.status() == 200 { Some(answer.json::<Value>().await.unwrap()) } else { None }
    })
    .await;

    assert_eq!(shown["violations"][0]["pointer"], "/payment/currency");
    assert_eq!(shown["value"], order.to_string());

    let replay = |body: String| {
        service
            .http
            .post(service.at(&format!("/rejected/{id}/replay")))
            .header("content-type", "application/json")
            .body(body)
            .send()
    };
    assert_eq!(replay(String::new()).await.unwrap().status(), 202);

    order["payment"]["currency"] = json!("USD");
    assert_eq!(replay(order.to_string()).await.unwrap().status(), 202);

    let stored = service.json("/order/b563feb7b2b84b6test?wait=30s").await;
    assert_eq!(stored, order);

    env.wait_until_drained().await;
    let shown = service.json(&format!("/rejected/{id}")).await;
    let edited: Vec<_> =
        shown["replays"].as_array().unwrap().iter().map(|replay| &replay["edited"]).collect();

    assert_eq!(edited, [false, true]);
    assert_eq!(
        env.count("orders.rejected_records").await,
        2,
        "the replay as it was is rejected again"
    );

    let records = env.read_all(&env.orders_topic()).await;
    let replayed = |edited| {
        let is_one = |record: &&Received| {
            record.headers.get("waybill.replay.of") == Some(&id)
                && record.headers.contains_key("waybill.replay.edited") == edited
        };
        records.iter().filter(is_one).map(|record| record.value.clone()).collect::<Vec<_>>()
    };
    assert_eq!(replayed(false), [shown["value"].as_str().map(|text| text.as_bytes().to_vec())]);
    assert_eq!(replayed(true), [Some(order.to_string().into_bytes())]);
    service.stop().await.unwrap();
}

/// After a topic was re-created, two records have the same position: a replay belongs to one.
#[tokio::test(flavor = "multi_thread")]
async fn a_replay_is_noted_at_the_record_that_it_belongs_to() {
    let env = TestEnvironment::new(shared()).await;
    let service = env.start(&[]).await;
    let (partition, offset) = env.send(None, None, Some(b"{")).await;

    env.wait_until_drained().await;
    let older = "INSERT INTO orders.rejected_records \
         (topic, \"partition\", \"offset\", record_timestamp, reason, violations) \
         SELECT topic, \"partition\", \"offset\", record_timestamp - interval '1 day', reason, \
             violations FROM orders.rejected_records";
    sqlx::query(older).execute(&env.pool).await.unwrap();
    let id = format!("{}:{partition}:{offset}", env.orders_topic());
    let answer = service.http.post(service.at(&format!("/rejected/{id}/replay"))).send().await;

    assert_eq!(answer.unwrap().status(), 202);

    // A replay without a timestamp, as another tool may send it.
    let headers = [("waybill.replay.of", id.as_str())];
    env.send_with_headers(Some(b"{"), &headers).await;
    env.wait_until_drained().await;
    let noted = "SELECT jsonb_array_length(replays) FROM orders.rejected_records \
         WHERE \"partition\" = $1 AND \"offset\" = $2 ORDER BY record_timestamp";
    let noted: Vec<i32> =
        sqlx::query_scalar(noted).bind(partition).bind(offset).fetch_all(&env.pool).await.unwrap();

    assert_eq!(noted, [0, 2]);

    let replay = &env.read_all(&env.orders_topic()).await;
    let timed = replay.iter().filter(|one| one.headers.contains_key("waybill.replay.of.timestamp"));
    assert_eq!(timed.count(), 1);
    service.stop().await.unwrap();
}
