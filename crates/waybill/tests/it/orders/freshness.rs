//! The cache serves what the database holds: an event evicts at once, and a change without an event
//! is noticed within `CACHE_MAX_AGE`.

use reqwest::StatusCode;
use serde_json::Value;
use testkit::{Service, TestEnvironment, shared, wait_until};

use crate::support::{order, record, run_as_administrator};

/// Returns the version and the amount of an order as it is served.
async fn version_and_amount(service: &Service, uid: &str) -> (String, Value) {
    let answer = service.get(&format!("/order/{uid}")).await;
    assert_eq!(answer.status(), 200);
    let version = answer.headers()["x-order-version"].to_str().unwrap().to_owned();
    (version, answer.json::<Value>().await.unwrap()["payment"]["amount"].clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_evicts_in_all_replicas_and_is_never_undone() {
    let env = TestEnvironment::new(shared()).await;
    // Longer than this test: only the event can cause another query.
    let first = env.start(&["--cache-max-age", "3600"]).await;
    let second = env.start(&["--cache-max-age", "3600"]).await;
    let uids: Vec<String> = (0..16).map(|number| format!("uid-{number}")).collect();

    env.send_all(uids.iter().map(|uid| record(&order(uid, 1)))).await;
    env.wait_until_drained().await;
    for replica in [&first, &second] {
        for uid in &uids {
            assert_eq!(version_and_amount(replica, uid).await, ("1".to_owned(), 1.into()));
            let again = replica.get(&format!("/order/{uid}")).await;
            assert_eq!(again.headers()["x-cache"], "memory");
        }
    }

    env.send_all(uids.iter().map(|uid| record(&order(uid, 2)))).await;
    for replica in [&first, &second] {
        for uid in &uids {
            let mut newest = "1".to_owned();
            wait_until("the new version", async || {
                let (version, amount) = version_and_amount(replica, uid).await;
                assert_eq!(amount.to_string(), version, "each version has its own content");
                assert!(version >= newest, "{uid} went back from {newest} to {version}");
                newest = version;
                newest == "2"
            })
            .await;
        }
    }
    first.stop().await.unwrap();
    second.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_without_an_event_is_noticed_within_max_age() {
    let env = TestEnvironment::new(shared()).await;
    let service = env.start(&["--cache-max-age", "1"]).await;

    env.send_all(["changed", "deleted"].map(|uid| record(&order(uid, 1)))).await;
    env.wait_until_drained().await;
    for uid in ["changed", "deleted"] {
        assert_eq!(version_and_amount(&service, uid).await.1, 1);
    }

    run_as_administrator(
        &env,
        "UPDATE orders.orders SET payment_amount = 2 WHERE order_uid = 'changed'; \
         DELETE FROM orders.orders WHERE order_uid = 'deleted'",
    )
    .await;
    wait_until("the change to be noticed", async || {
        version_and_amount(&service, "changed").await.1 == 2
    })
    .await;
    // After it is revalidated, it is served from memory again.
    let again = service.get("/order/changed").await;

    assert_eq!(again.headers()["x-cache"], "memory");

    wait_until("the deletion to be noticed", async || {
        service.get("/order/deleted").await.status() == StatusCode::NOT_FOUND
    })
    .await;
    for _ in 0..3 {
        assert_eq!(
            service.get("/order/deleted").await.status(),
            404,
            "a deleted order is not served again"
        );
    }
    service.stop().await.unwrap();
}
