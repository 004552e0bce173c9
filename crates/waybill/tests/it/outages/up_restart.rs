//! `waybill up` after a kill, and with servers that it does not start itself.

use std::{collections::BTreeSet, time::Duration};

use rustix::process::Signal;
use serde_json::Value;
use testkit::{TestEnvironment, eventually, shared, wait_until};

use crate::support::{Scratch, Up, order, record, status_event, up_command};

/// Sends SIGINT and asserts that it ends cleanly, so that nothing of it outlives its folder.
async fn assert_stops(mut up: Up) {
    up.signal(Signal::INT);
    let ended = tokio::time::timeout(Duration::from_secs(30), up.child.wait()).await;
    assert_eq!(ended.expect("it ends").unwrap().code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_start_after_a_kill_has_the_orders() {
    let folder = Scratch::new();
    let mut killed = Up::start(&folder, &["--rate", "0"], &[]).await;
    let kept = order("kept", 7);
    let post = reqwest::Client::new().post(format!("{}/order", killed.banner_line("orders")));

    assert_eq!(post.json(&kept).send().await.unwrap().status(), 202);

    let (status, text) = killed.get("/order/kept?wait=30s", "application/json").await;
    assert_eq!((status, serde_json::from_str::<Value>(&text).unwrap()), (200, kept.clone()));

    let listed = |text: &str| -> Vec<String> {
        let list: Value = serde_json::from_str(text).unwrap();
        let items = list["items"].as_array().unwrap().iter();
        items.map(|order| order["order_uid"].as_str().unwrap().to_owned()).collect()
    };
    let (_, text) = killed.get("/orders", "application/json").await;
    assert_eq!(listed(&text), ["kept"], "nothing is sent at a rate of 0");
    assert!(killed.banner.contains("No orders are sent"), "{}", killed.banner);

    // It is started immediately, while the servers of the killed program are still ending.
    killed.child.kill().await.unwrap();
    let next = Up::start(&folder, &["--rate", "20"], &[]).await;
    assert!(next.took < Duration::from_secs(10), "the banner took {:?}", next.took);
    assert!(next.banner.contains("20 orders a second are sent"), "{}", next.banner);

    let (status, text) = next.get("/order/kept?wait=30s", "application/json").await;
    assert_eq!((status, serde_json::from_str::<Value>(&text).unwrap()), (200, kept));

    let newest = eventually("orders that were sent", async || {
        let (_, text) = next.get("/orders", "application/json").await;
        let listed = listed(&text);
        (listed.len() > 5).then(|| listed[0].clone())
    })
    .await;
    let (status, page) = next.get(&format!("/order/{newest}"), "text/html").await;
    assert!(status == 200 && page.contains(&newest), "{page}");

    let (_, page) = next.get("/", "text/html").await;
    assert!(page.contains("href=\"/order/"), "the newest orders are on the page: {page}");

    // A second one at the same address ends with advice and does not affect the first.
    let address = next.banner_line("orders").trim_start_matches("http://");
    let other = Scratch::new();
    let output = up_command(&other, &["--orders-http-addr", address]).output().await.unwrap();
    let error = String::from_utf8_lossy(&output.stderr);

    assert!(error.contains("set another address with --orders-http-addr"), "{error}");
    assert_eq!((output.status.code(), output.stdout.len()), (Some(78), 0));
    assert_eq!(next.get("/livez", "*/*").await.0, 200);
    assert_stops(next).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_given_postgresql_and_kafka_it_starts_neither() {
    let env = TestEnvironment::new(shared()).await;
    let couriers = env.courier_database().await;
    let folder = Scratch::new();
    let mut flags = env.flags();

    flags.extend(["--couriers-database-url", &couriers.url].map(str::to_owned));
    flags.extend(["--rate", "0", "--couriers", "1"].map(str::to_owned));
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let up = Up::start(&folder, &flags, &[]).await;

    assert!(!up.banner.contains("psql"), "{}", up.banner);
    assert!(up.banner_line("Kafka").contains(&env.servers.kafka), "{}", up.banner);

    env.send_all([record(&order("given", 7))]).await;
    assert_eq!(up.get("/order/given?wait=30s", "application/json").await.0, 200);
    assert_eq!(env.count("orders.orders").await, 1, "it is in the database that was given");
    assert!(!folder.0.join("data").join("postgres").exists());
    assert!(!folder.0.join("data").join("kafka").exists());
    assert_stops(up).await;
}

/// Returns the orders that have a status event with this status.
async fn orders_with_status(env: &TestEnvironment, status: &str) -> BTreeSet<String> {
    let events = env.read_all(&env.status_topic()).await.into_iter();
    let events =
        events.map(|event| serde_json::from_slice::<Value>(&event.value.unwrap()).unwrap());
    events
        .filter(|event| event["status"] == status)
        .map(|event| event["order_id"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn only_its_own_orders_get_statuses_and_the_next_start_continues_them() {
    let env = TestEnvironment::new(shared()).await;
    let couriers = env.courier_database().await;
    let folder = Scratch::new();
    let mut flags = env.flags();

    flags.extend(["--couriers-database-url", &couriers.url, "--rate", "5"].map(str::to_owned));
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let others = BTreeSet::from(["before", "during", "sample"].map(str::to_owned));
    env.send_status(Some("before"), &status_event("before", "created")).await;

    let first = Up::start(&folder, &flags, &[]).await;
    env.send_status(Some("during"), &status_event("during", "created")).await;
    env.send_all([record(&order("sample", 7))]).await;
    wait_until("statuses of generated orders", async || {
        orders_with_status(&env, "pending").await.len() > 5
    })
    .await;
    assert_stops(first).await;
    let created = orders_with_status(&env, "created").await;
    assert!(others.is_subset(&created), "{created:?}");

    let next = Up::start(&folder, &flags, &[]).await;
    wait_until("the orders of the first start to be delivered", async || {
        let mut ended = BTreeSet::new();
        for status in ["completed", "delivered", "cancelled", "canceled", "deleted"] {
            ended.append(&mut orders_with_status(&env, status).await);
        }
        created.difference(&others).all(|order| ended.contains(order))
    })
    .await;
    assert_stops(next).await;

    for status in ["pending", "confirmed", "cooking", "delivering", "completed"] {
        let changed = orders_with_status(&env, status).await;
        assert!(others.is_disjoint(&changed), "{status}: {changed:?}");
    }
}
