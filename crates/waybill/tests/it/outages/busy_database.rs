//! Many or large requests: they use only their own connections to PostgreSQL, do not wait long for
//! one, and read only what they answer.

use std::time::{Duration, Instant};

use serde_json::Value;
use testkit::{TestEnvironment, shared, wait_until};

use crate::support::{assert_served, insert_large_copies, metric, order, record, run_sql};

/// Sends one order, and waits until it is stored.
async fn store(env: &TestEnvironment, uid: &str) {
    env.send_all([record(&order(uid, 1))]).await;
    wait_until("the order to be stored", async || {
        env.count(&format!("orders.orders WHERE order_uid = '{uid}'")).await == 1
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_do_not_wait_for_other_requests_connections() {
    let env = TestEnvironment::new(shared()).await;
    let service = env.start(&["--postgres-connections", "3"]).await;
    store(&env, "before").await;
    let mut administrator = env.administrator().await;
    run_sql(&mut administrator, "BEGIN; LOCK TABLE orders.rejected_records").await;
    let slow = tokio::spawn(service.http.get(service.at("/rejected")).send());
    wait_until("the only connection for requests to wait", async || {
        env.count(
            "pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'",
        )
        .await
            == 1
    })
    .await;

    let since = Instant::now();
    let refused = service.get("/order/unknown/status").await;
    let took = since.elapsed();
    store(&env, "behind").await;

    assert_eq!(refused.status(), 503);
    assert_eq!(refused.headers()["retry-after"], "1");
    // The read by key itself may take two seconds.
    assert!(took < Duration::from_millis(1_500), "{took:?}");
    run_sql(&mut administrator, "COMMIT").await;
    assert_eq!(slow.await.unwrap().unwrap().status(), 200);
    service.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn one_connection_is_enough_for_everything() {
    let env = TestEnvironment::new(shared()).await;
    let service = env.start(&["--postgres-connections", "1"]).await;

    for uid in ["first", "second"] {
        store(&env, uid).await;
        assert_served(&service, &order(uid, 1)).await;
    }

    wait_until("the list to have both orders", async || {
        let answer = service.get("/orders").await;
        answer.status() == 200
            && answer.json::<Value>().await.unwrap()["items"].as_array().unwrap().len() == 2
    })
    .await;
    service.stop().await.unwrap();
}

/// A backlog of large records, while PostgreSQL does not answer: the records that wait in the lanes
/// are limited together, not by the lane.
#[tokio::test(flavor = "multi_thread")]
async fn the_lanes_hold_a_bounded_number_of_bytes_together() {
    const BATCH_BYTES: f64 = 100_000.0;
    const CONSUMED: &str = "messaging_client_consumed_bytes_total";
    let env = TestEnvironment::new(shared()).await;
    let service = env.start(&["--batch-bytes", "100000"]).await;
    store(&env, "before").await;
    let before = metric(&service, CONSUMED).await;
    let mut administrator = env.administrator().await;
    run_sql(&mut administrator, "BEGIN; LOCK TABLE orders.orders IN SHARE MODE").await;

    let large = (0..200).map(|number| {
        let mut large = order(&format!("large-{number}"), 1);
        large["items"] = vec![large["items"][0].clone(); 50].into();
        record(&large)
    });
    env.send_all(large).await;
    let consumed = async || metric(&service, CONSUMED).await - before;
    wait_until("the limit to be reached", async || consumed().await >= 4.0 * BATCH_BYTES).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let held = consumed().await;
    run_sql(&mut administrator, "COMMIT").await;

    // Each of the four lanes may pass the limit by one record. Without the limit, each of them has a
    // full batch, and before it the batch that waits for the table.
    assert!(held < 4.5 * BATCH_BYTES, "{held} bytes");
    wait_until("all to be stored", async || env.count("orders.orders").await == 201).await;
    service.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_of_large_orders_ends_at_a_number_of_bytes() {
    let env = TestEnvironment::new(shared()).await;
    let service = env.start(&[]).await;
    store(&env, "original").await;
    // 14 further orders of 900 KB.
    insert_large_copies(&env, 14, 100).await;

    let mut uids = Vec::new();
    let mut path = Some("/orders?limit=500".to_owned());
    while let Some(page) = path {
        let answer = service.get(&page).await;
        assert_eq!(answer.status(), 200);
        path = answer.headers().get("link").map(|link| {
            let link = link.to_str().unwrap();
            link.trim_start_matches('<').split_once('>').unwrap().0.to_owned()
        });
        let body = answer.bytes().await.unwrap();
        assert!(body.len() < 6_000_000, "{} bytes", body.len());
        let body: Value = serde_json::from_slice(&body).unwrap();
        let items = body["items"].as_array().unwrap();
        uids.extend(items.iter().map(|order| order["order_uid"].as_str().unwrap().to_owned()));
    }

    let copies = (1..=14).map(|number| format!("copy-{number}"));
    let expected: Vec<_> = std::iter::once("original".to_owned()).chain(copies).collect();
    assert_eq!(uids, expected);
    service.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_keeps_a_bounded_number_of_replays() {
    let env = TestEnvironment::new(shared()).await;
    let service = env.start(&[]).await;
    let (partition, offset) = env.send(Some(0), Some(b"bad"), Some(b"{}")).await;
    let id = format!("{}:{partition}:{offset}", env.orders_topic());
    let headers = [("waybill.replay.of", id.as_str())];
    env.wait_until_drained().await;

    for _ in 0..110 {
        env.send_with_headers(Some(b"{}"), &headers).await;
    }
    env.wait_until_drained().await;

    let record = service.json(&format!("/rejected/{id}")).await;
    assert_eq!(record["replays"].as_array().unwrap().len(), 100);
    // All of them are stored as rejected records of their own.
    assert_eq!(env.count("orders.rejected_records").await, 111);
    let since = Instant::now();
    let replayed =
        service.http.post(service.at(&format!("/rejected/{id}/replay?wait=30s"))).send().await;
    assert_eq!(replayed.unwrap().status(), 202);
    assert!(since.elapsed() < Duration::from_secs(20), "a wait for a replay that is not recorded");
    service.stop().await.unwrap();
}
