//! Both services at work on the same topics.

use std::net::SocketAddr;

use serde_json::Value;
use testkit::{
    CourierDatabase, Service, TestEnvironment,
    browser::{Page, Reader},
    order_json::SAMPLE,
    shared,
};

use crate::{
    couriers::api::{add, delivery, tell},
    support::waybill,
};

const UID: &str = "b563feb7b2b84b6test";

/// The order service and the courier service, which know each other's addresses.
async fn both(env: &TestEnvironment, database: &CourierDatabase) -> (Service, Service) {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let couriers = env.start_couriers(database, &["--orders-url", &format!("http://{free}")]).await;
    let orders = env.start_at(free, &["--couriers-url", &couriers.at("")]).await;
    (orders, couriers)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_page_shows_its_courier_by_whatever_name_this_machine_is_called() {
    let env = TestEnvironment::new(shared()).await;
    let database = env.courier_database().await;
    let (orders, couriers) = both(&env, &database).await;
    add(&couriers, "Анна К.", "scooter", "available").await;
    env.send(None, None, Some(SAMPLE.as_bytes())).await;
    delivery(&couriers, UID, "assigned").await;
    let SocketAddr::V4(address) = orders.address() else { panic!("loopback is IPv4") };
    for host in ["127.0.0.1", "localhost"] {
        let url = format!("http://{host}:{}/order/{UID}", address.port());
        let page = Page::open(Reader::default(), &url).await;
        page.shows("Анна К., by scooter, until").await;
        assert!(page.complaints().is_empty(), "{host}: {:?}", page.complaints());
    }
    orders.stop().await.unwrap();
    couriers.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn explain_tells_all_that_both_services_know_and_what_one_knows_if_the_other_is_silent() {
    let env = TestEnvironment::new(shared()).await;
    let database = env.courier_database().await;
    let (orders, couriers) = both(&env, &database).await;
    add(&couriers, "Anna", "car", "available").await;
    env.send(None, Some(UID.as_bytes()), Some(SAMPLE.as_bytes())).await;
    delivery(&couriers, UID, "assigned").await;
    tell(&env, UID, "lost").await;
    // Of these nothing is known but their keys.
    env.send(None, Some(UID.as_bytes()), Some(b"{")).await;
    env.send_status(Some(UID), b"[]").await;
    env.drained().await;
    env.status_drained().await;
    env.events_drained().await;

    let (at_orders, at_couriers) = (orders.at(""), couriers.at(""));
    let flags = ["explain", UID, "--orders-url", &at_orders, "--couriers-url", &at_couriers];
    let told = waybill(&flags, &[]).await;
    let text = String::from_utf8(told.stdout).unwrap();
    assert_eq!(told.status.code(), Some(0), "{text}");
    for part in [
        "order     version 1",
        "served    from memory",
        "status    created",
        "lost, ignored: nobody here knows this status",
        "delivery  assigned, courier 1 (Anna, car)",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    for (topic, reason) in
        [(env.orders_topic(), "invalid_json"), (env.status_topic(), "not_an_object")]
    {
        let is_told = text.lines().any(|line| {
            line.contains("rejected") && line.contains(&topic) && line.ends_with(reason)
        });
        assert!(is_told, "{topic}: {text}");
    }

    couriers.stop().await.unwrap();
    let told = waybill(&[&flags[..], &["--json"]].concat(), &[]).await;
    assert_eq!(told.status.code(), Some(69));
    assert!(String::from_utf8_lossy(&told.stderr).contains("the courier service does not answer"));
    let life: Value = serde_json::from_slice(&told.stdout).unwrap();
    assert_eq!(life["history"]["status"], "created");
    assert_eq!(
        (&life["silent"], &life["delivery"]),
        (&serde_json::json!(["courier"]), &Value::Null)
    );
    orders.stop().await.unwrap();

    let nothing = waybill(&flags, &[]).await;
    assert_eq!((nothing.status.code(), nothing.stdout.len()), (Some(69), 0));
}
