//! The cache serves what the database holds: an event evicts at once, and a change without an event
//! is noticed within `CACHE_MAX_AGE`, also if versions go back.

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
    wait_until("an answer from memory", async || {
        service.get("/order/changed").await.headers()["x-cache"] == "memory"
    })
    .await;

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

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_was_deleted_and_sent_again_is_served_although_its_version_is_lower() {
    let env = TestEnvironment::new(shared()).await;
    // Longer than this test: only the commit replaces the order in memory.
    let service = env.start(&["--cache-max-age", "3600"]).await;

    for amount in [1, 2, 3] {
        env.send_all([record(&order("uid", amount))]).await;
        env.wait_until_drained().await;
    }
    assert_eq!(version_and_amount(&service, "uid").await, ("3".to_owned(), 3.into()));
    run_as_administrator(&env, "DELETE FROM orders.orders").await;
    env.send_all([record(&order("uid", 4))]).await;
    env.wait_until_drained().await;

    assert_eq!(version_and_amount(&service, "uid").await, ("1".to_owned(), 4.into()));
    service.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_went_back_is_noticed_within_max_age() {
    let env = TestEnvironment::new(shared()).await;
    let service = env.start(&["--cache-max-age", "1"]).await;

    for amount in [1, 2, 3] {
        env.send_all([record(&order("uid", amount))]).await;
        env.wait_until_drained().await;
    }
    assert_eq!(version_and_amount(&service, "uid").await, ("3".to_owned(), 3.into()));
    // As after a restore.
    run_as_administrator(&env, "UPDATE orders.orders SET version = 2, payment_amount = 2").await;

    wait_until("the earlier version", async || {
        version_and_amount(&service, "uid").await == ("2".to_owned(), 2.into())
    })
    .await;
    wait_until("an answer from memory", async || {
        let again = service.get("/order/uid").await;
        assert_eq!(again.headers()["x-order-version"], "2");
        again.headers()["x-cache"] == "memory"
    })
    .await;
    service.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_of_another_producer_does_not_keep_an_order_out_of_the_cache() {
    let env = TestEnvironment::new(shared()).await;
    let service = env.start(&["--cache-max-age", "3600"]).await;
    env.send_all([record(&order("hot", 1))]).await;
    env.wait_until_drained().await;
    let source = async || {
        let answer = service.get("/order/hot").await;
        assert_eq!(answer.headers()["x-order-version"], "1");
        answer.headers()["x-cache"].to_str().unwrap().to_owned()
    };
    assert_eq!(source().await, "memory");

    for (status, from) in [("cooking", None), ("updated", None), ("updated", Some("another/one"))] {
        let event = format!(r#"{{"order_id":"hot","status":"{status}","version":17}}"#);
        match from {
            None => drop(env.send_status(None, event.as_bytes()).await),
            Some(from) => {
                env.send_status_with_headers(event.as_bytes(), &[("ce_source", from)]).await;
            }
        }
        wait_until("the event to cause a query", async || source().await == "db").await;
        for _ in 0..3 {
            assert_eq!(source().await, "memory", "{status} from {from:?}");
        }
    }
    service.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_event_of_this_installation_evicts_whatever_its_spelling_of_the_source() {
    let env = TestEnvironment::new(shared()).await;
    let service = env.start(&["--cache-max-age", "3600"]).await;
    let uids = ["own", "former"];
    env.send_all(uids.map(|uid| record(&order(uid, 1)))).await;
    env.wait_until_drained().await;
    let own = format!("waybill/{}/orders", env.name);

    for (uid, from) in uids.into_iter().zip([own.as_str(), "waybill/orders"]) {
        let source = async || {
            let answer = service.get(&format!("/order/{uid}")).await;
            answer.headers()["x-cache"].to_str().unwrap().to_owned()
        };
        assert_eq!(source().await, "memory");
        let event = format!(r#"{{"order_id":"{uid}","status":"updated","version":2}}"#);
        env.send_status_with_headers(event.as_bytes(), &[("ce_source", from)]).await;
        wait_until("the event to evict the order", async || source().await == "db").await;
        // The announced version is not stored, so no lower one enters.
        assert_eq!(source().await, "db");
    }
    service.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_order_does_not_stop_the_confirmation_of_others() {
    let env = TestEnvironment::new(shared()).await;
    let service = env.start(&["--cache-max-age", "1"]).await;
    env.send_all(["good", "damaged"].map(|uid| record(&order(uid, 1)))).await;
    env.wait_until_drained().await;
    run_as_administrator(
        &env,
        "UPDATE orders.orders SET payment_amount = 2 WHERE order_uid = 'good'; \
         UPDATE orders.orders SET items = '[{}]' WHERE order_uid = 'damaged'",
    )
    .await;
    tokio::time::sleep(std::time::Duration::from_millis(1_100)).await;

    // Both are stale. The damaged one is served as it was, and the database counts as available.
    assert_eq!(version_and_amount(&service, "damaged").await.1, 1);
    assert_eq!(version_and_amount(&service, "good").await.1, 2);
    service.stop().await.unwrap();
}
