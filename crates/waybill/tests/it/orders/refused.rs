//! Records that only PostgreSQL refuses, and large records.

use serde_json::Value;
use testkit::{TestEnvironment, shared};

use crate::support::{Sent, metric, order, record, run_as_administrator};

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
