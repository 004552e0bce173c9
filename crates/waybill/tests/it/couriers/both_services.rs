//! Both services on the same topics: the order page, and `waybill explain`.

use std::net::SocketAddr;

use serde_json::Value;
use testkit::{
    TestEnvironment,
    browser::{Page, Reader},
    order_json::{SAMPLE, SAMPLE_UID},
    shared,
};

use crate::support::{add_courier, send_status, wait_for_delivery, waybill};

#[tokio::test(flavor = "multi_thread")]
async fn an_order_page_shows_its_courier_under_any_local_host_name() {
    let env = TestEnvironment::new(shared()).await;
    let database = env.courier_database().await;
    let (orders, couriers) = env.start_both(&database).await;

    add_courier(&couriers, "Анна К.", "scooter", "available").await;
    env.send(None, None, Some(SAMPLE.as_bytes())).await;
    wait_for_delivery(&couriers, SAMPLE_UID, "assigned").await;
    let SocketAddr::V4(address) = orders.address() else { panic!("loopback is IPv4") };

    for host in ["127.0.0.1", "localhost"] {
        let url = format!("http://{host}:{}/order/{SAMPLE_UID}", address.port());
        let page = Page::open(Reader::default(), &url).await;
        page.wait_for_text("Анна К., by scooter, deadline").await;
        assert!(page.errors().is_empty(), "{host}: {:?}", page.errors());
    }
    orders.stop().await.unwrap();
    couriers.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn explain_shows_both_services_or_the_one_that_answers() {
    let env = TestEnvironment::new(shared()).await;
    let database = env.courier_database().await;
    let (orders, couriers) = env.start_both(&database).await;

    add_courier(&couriers, "Anna", "car", "available").await;
    env.send(None, Some(SAMPLE_UID.as_bytes()), Some(SAMPLE.as_bytes())).await;
    wait_for_delivery(&couriers, SAMPLE_UID, "assigned").await;
    send_status(&env, SAMPLE_UID, "lost").await;
    // These two can only be found by their keys.
    env.send(None, Some(SAMPLE_UID.as_bytes()), Some(b"{")).await;
    env.send_status(Some(SAMPLE_UID), b"[]").await;
    env.wait_until_drained().await;
    env.wait_until_status_drained().await;
    env.wait_until_couriers_drained().await;

    let (at_orders, at_couriers) = (orders.at(""), couriers.at(""));
    let flags = ["explain", SAMPLE_UID, "--orders-url", &at_orders, "--couriers-url", &at_couriers];
    let output = waybill(&flags, &[]).await;
    let text = String::from_utf8(output.stdout).unwrap();

    assert_eq!(output.status.code(), Some(0), "{text}");
    for part in [
        "order     version 1",
        "served    from memory",
        "status    created",
        "lost, ignored: this status is not known",
        "delivery  assigned, courier 1 (Anna, car)",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    for (topic, reason) in
        [(env.orders_topic(), "invalid_json"), (env.status_topic(), "not_an_object")]
    {
        let is_shown = text.lines().any(|line| {
            line.contains("rejected") && line.contains(&topic) && line.ends_with(reason)
        });
        assert!(is_shown, "{topic}: {text}");
    }

    couriers.stop().await.unwrap();
    let output = waybill(&[&flags[..], &["--json"]].concat(), &[]).await;
    assert_eq!(output.status.code(), Some(69));
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(error.contains("the courier service at http://"), "{error}");
    assert!(error.contains("did not answer for 10 seconds"), "{error}");

    let explained: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(explained["history"]["status"], "created");
    assert_eq!(
        (&explained["unreachable"], &explained["delivery"]),
        (&serde_json::json!(["courier"]), &Value::Null)
    );
    orders.stop().await.unwrap();

    let nothing = waybill(&flags, &[]).await;
    assert_eq!((nothing.status.code(), nothing.stdout.len()), (Some(69), 0));
}
