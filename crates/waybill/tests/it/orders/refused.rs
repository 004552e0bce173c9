//! Records that only PostgreSQL refuses, and large records.

use serde_json::{Value, json};
use testkit::{TestEnvironment, shared};

use crate::support::{Sent, metric, order, post, record, run_as_administrator};

/// The length of the part of a large key or value that is stored.
const KEPT_BYTES: usize = 64 << 10;

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_the_database_refuses_is_rejected_alone() {
    let env = TestEnvironment::new(shared()).await;
    // Validation does not check this constraint; a later migration or an administrator may add one.
    let rule = "ALTER TABLE orders.orders ADD CHECK (payment_amount <> 666666)";

    run_as_administrator(&env, rule).await;
    let mut sent = Sent::default();
    let mut records = sent.mixed(0, 400);
    let refused = [order("refused-1", 666_666), order("refused-2", 666_666)];
    for (order, place) in refused.iter().zip([records.len() / 2, 3]) {
        records.insert(place, record(order));
    }
    // All on one partition, so that one batch holds them all.
    for (key, value) in &records {
        env.send(Some(0), Some(key), Some(value)).await;
    }
    let service = env.start(&["--batch-age-ms", "1000"]).await;
    env.wait_until_drained().await;

    assert!(metric(&service, "waybill_batch_splits_total").await >= 2.0);
    assert!(metric(&service, "db_client_operation_duration_seconds_count").await >= 3.0);
    for order in &refused {
        let uid = order["order_uid"].as_str().unwrap();
        let (reason, value): (String, Vec<u8>) =
            sqlx::query_as("SELECT reason, value FROM orders.rejected_records WHERE key = $1")
                .bind(uid.as_bytes())
                .fetch_one(&env.pool)
                .await
                .unwrap();
        assert_eq!(reason, "refused_by_database");
        assert_eq!(value, order.to_string().into_bytes());
        assert_eq!(service.get(&format!("/order/{uid}")).await.status(), 404);
    }

    sent.invalid += refused.len();
    sent.assert_settled_at(&env, &service).await;
    service.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_record_of_just_under_a_mebibyte_is_kept_whole() {
    let env = TestEnvironment::new(shared()).await;
    let mut large = order("large", 1);

    large["payment"]["currency"] = "XXY".into();
    let mut bytes = large.to_string().into_bytes();
    bytes.resize((1 << 20) - 1, b' ');
    env.send(Some(0), Some(b"large"), Some(&bytes)).await;
    env.send_all([record(&order("neighbour", 2))]).await;
    let service = env.start(&[]).await;
    env.wait_until_drained().await;

    let (reason, value): (String, Vec<u8>) =
        sqlx::query_as("SELECT reason, value FROM orders.rejected_records")
            .fetch_one(&env.pool)
            .await
            .unwrap();
    assert_eq!(reason, "unknown_currency");
    assert!(value == bytes, "the bytes are stored unchanged");

    let letters = env.read_all(&env.dead_letter_topic()).await;
    assert_eq!(letters.len(), 1);
    assert!(letters[0].value.as_deref() == Some(bytes.as_slice()), "the dead letter is whole");
    assert_eq!(service.json("/order/neighbour").await, order("neighbour", 2));
    assert!(service.get("/rejected").await.json::<Value>().await.unwrap()["items"].is_array());
    service.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_too_large_for_the_dlq_is_truncated_only_there() {
    let env = TestEnvironment::new(shared()).await;
    env.alter_topic(&env.dead_letter_topic(), &[("max.message.bytes", "20000")]).await;
    // Random bytes do not compress, so the broker gets their full size.
    let mut noise: Vec<u8> = (0..100_000).map(|_| rand::random()).collect();
    noise[0] = 0xff;
    let (partition, offset) = env.send(Some(6), Some(b"large"), Some(&noise)).await;
    let small = env.send(Some(6), Some(b"small"), Some(b"\xff")).await;
    let service = env.start(&[]).await;
    env.wait_until_drained().await;

    let mut letters = env.read_all(&env.dead_letter_topic()).await;
    letters.sort_by_key(|letter| letter.headers["__connect.errors.offset"].clone());
    let [large, beside] = &letters[..] else { panic!("two letters, not {}", letters.len()) };

    assert_eq!(
        (large.key.as_deref(), large.value.as_deref()),
        (Some(&b"large"[..]), Some(&b""[..]))
    );

    let headers = [
        ("waybill.truncated", "true"),
        ("waybill.error.reason", "invalid_utf8"),
        ("waybill.error.detail", " invalid_utf8: not valid UTF-8, starting at byte 0"),
        ("__connect.errors.topic", &env.orders_topic()),
        ("__connect.errors.partition", &partition.to_string()),
        ("__connect.errors.offset", &offset.to_string()),
        ("__connect.errors.exception.message", "invalid_utf8"),
    ];
    let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(large.headers, headers.into());
    assert_eq!(beside.headers["__connect.errors.offset"], small.1.to_string());
    assert_eq!(beside.value.as_deref(), Some(&b"\xff"[..]), "its neighbour is whole");
    assert!(!beside.headers.contains_key("waybill.truncated"));

    let kept = "SELECT value FROM orders.rejected_records WHERE \"offset\" = $1";
    let kept: Vec<u8> = sqlx::query_scalar(kept).bind(offset).fetch_one(&env.pool).await.unwrap();
    assert!(kept == noise, "the table has all of it");
    service.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_large_value_only_its_start_and_its_hash_are_stored() {
    let env = TestEnvironment::new(shared()).await;
    // One small compressed batch with a value of 80 MB.
    let large = vec![b'a'; 80_000_000];
    let (partition, offset) =
        env.send_compressed(&env.orders_topic(), "gzip", b"large", &large).await;
    env.send_all([record(&order("neighbour", 2))]).await;
    let service = env.start(&[]).await;
    env.wait_until_drained().await;

    let stored: Vec<u8> = sqlx::query_scalar("SELECT value FROM orders.rejected_records")
        .fetch_one(&env.pool)
        .await
        .unwrap();
    assert!(stored == large[..KEPT_BYTES], "{} bytes", stored.len());
    assert_eq!(service.json("/order/neighbour").await, order("neighbour", 2));

    let path = format!("/rejected/{}:{partition}:{offset}", env.orders_topic());
    let shown = service.json(&path).await;
    assert_eq!((&shown["reason"], &shown["key"]), (&json!("too_large"), &json!("large")));
    assert_eq!(shown["value"].as_str().unwrap().len(), KEPT_BYTES);
    // head -c 80000000 /dev/zero | tr '\0' a | sha256sum
    let sha256 = "2e4641fb7ef6d413fcce885520f69ff2250a6068e0d0d25d048ef5934801a3a9";
    assert_eq!(shown["value_cut"], json!({ "length": large.len(), "sha256": sha256 }));
    assert_eq!(shown["key_cut"], Value::Null);

    let letters = env.read_all(&env.dead_letter_topic()).await;
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0].key.as_deref(), Some(&b"large"[..]));
    assert_eq!(letters[0].value.as_deref(), Some(&b""[..]), "no part of a value is sent");
    assert_eq!(letters[0].headers["waybill.truncated"], "true");

    let page = service.http.get(service.at(&path)).header("accept", "text/html");
    let page = page.send().await.unwrap().text().await.unwrap();
    assert!(page.contains(sha256) && page.contains("65,536 bytes of 80,000,000"), "{page}");
    assert!(!page.contains("Replay unchanged"), "{page}");

    // As it is, it would be another record.
    let replay = format!("{path}/replay?wait=10s");
    let answer = post(&service, &replay, "").await;
    assert_eq!(answer.status(), 409);
    assert_eq!(answer.json::<Value>().await.unwrap()["type"], "/docs#record-cut");

    let answer = post(&service, &replay, &order("edited", 3).to_string()).await;
    assert_eq!(answer.status(), 202);
    assert_eq!(service.json("/order/edited?wait=30s").await, order("edited", 3));
    service.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_key_is_cut_and_its_dead_letter_has_the_position() {
    let env = TestEnvironment::new(shared()).await;
    let key = vec![b'k'; (1 << 20) + 1];
    let (partition, offset) = env.send(Some(2), Some(&key), Some(b"{")).await;
    let service = env.start(&[]).await;
    env.wait_until_drained().await;

    let id = format!("{}:{partition}:{offset}", env.orders_topic());
    let shown = service.json(&format!("/rejected/{id}")).await;
    assert_eq!(shown["key"].as_str().unwrap().len(), KEPT_BYTES);
    assert_eq!(shown["key_cut"]["length"], key.len());
    assert_eq!((&shown["value"], &shown["value_cut"]), (&json!("{"), &Value::Null));

    let letters = env.read_all(&env.dead_letter_topic()).await;
    assert_eq!(letters[0].key.as_deref(), Some(id.as_bytes()));

    let replay = format!("/rejected/{id}/replay");
    assert_eq!(post(&service, &replay, "").await.status(), 409);
    assert_eq!(post(&service, &replay, &order("edited", 3).to_string()).await.status(), 202);
    assert_eq!(service.json("/order/edited?wait=30s").await, order("edited", 3));
    service.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_has_the_own_headers_of_its_record() {
    let env = TestEnvironment::new(shared()).await;
    let own = [("ce_id", "7"), ("binary", "\0"), ("waybill.error.reason", "forged")];
    env.send_with_headers(Some(b"{"), &own).await;
    let service = env.start(&[]).await;
    env.wait_until_drained().await;

    let listed = service.json("/rejected").await;
    let id = listed["items"][0]["id"].as_str().unwrap();
    let shown = service.json(&format!("/rejected/{id}")).await;
    let expected = json!([
        { "name": "ce_id", "value": "7", "encoding": "utf-8" },
        { "name": "binary", "value": "\0", "encoding": "utf-8" },
    ]);
    assert_eq!((&shown["headers"], &shown["headers_left_out"]), (&expected, &Value::Null));

    let replay = format!("/rejected/{id}/replay?wait=10s");
    assert_eq!(post(&service, &replay, "").await.status(), 202);

    let replayed = env.read_all(&env.orders_topic()).await;
    let replayed = replayed.iter().find(|record| record.headers.contains_key("waybill.replay.of"));
    let headers = &replayed.unwrap().headers;
    assert_eq!((&*headers["ce_id"], &*headers["binary"]), ("7", "\0"));
    assert!(!headers.contains_key("waybill.error.reason"));
    service.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_above_a_mebibyte_are_left_out() {
    let env = TestEnvironment::new(shared()).await;
    let large = "h".repeat(1 << 20);
    env.send_with_headers(Some(b"{"), &[("large", &large), ("small", "1")]).await;
    let service = env.start(&[]).await;
    env.wait_until_drained().await;

    let listed = service.json("/rejected").await;
    let id = listed["items"][0]["id"].as_str().unwrap();
    let shown = service.json(&format!("/rejected/{id}")).await;
    assert_eq!(shown["headers"], Value::Null);
    assert_eq!(shown["headers_left_out"], json!({ "length": large.len() + 11 }));
    assert_eq!(post(&service, &format!("/rejected/{id}/replay"), "").await.status(), 409);

    let letters = env.read_all(&env.dead_letter_topic()).await;
    assert_eq!(letters[0].headers["waybill.truncated"], "true");
    assert!(!letters[0].headers.contains_key("small"));
    service.stop().await.unwrap();
}
