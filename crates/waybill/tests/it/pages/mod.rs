//! The pages of both services in a real browser: by keyboard and mouse, in both languages and
//! themes, with scripts and without.

mod accessibility;
mod board;
mod both_services;
mod courier;
mod delivery;
mod dispatcher;
mod errors;
mod escaping;
mod flow;
mod live;
mod rejected;
mod rejected_many;
mod search;
mod status;

use serde_json::{Value, json};
use testkit::{
    Service, TestEnvironment,
    browser::{Page, Reader},
    order_json::{SAMPLE, SAMPLE_UID},
};

use crate::support::order;

const WIDE: (u32, u32) = (1280, 900);
const NARROW: (u32, u32) = (320, 640);

/// A JavaScript expression for the heading of the page, which is an order's id.
const HEADING: &str = "document.querySelector('h1')?.textContent";

/// Starts the order service, with the sample order in it.
async fn start_with_sample(env: &TestEnvironment) -> Service {
    let service = env.start(&[]).await;
    send_and_wait(env, &service, &serde_json::from_str(SAMPLE).unwrap()).await;
    service
}

/// Sends an order and waits until the service has it.
async fn send_and_wait(env: &TestEnvironment, service: &Service, order: &Value) {
    env.send(None, None, Some(order.to_string().as_bytes())).await;
    let path = format!("/order/{}?wait=30s", order["order_uid"].as_str().unwrap());
    assert_eq!(service.get(&path).await.status(), 200);
}

/// Waits until the page shows the order `uid`, and asserts that its address names it.
async fn assert_order_shown(page: &Page, uid: &str) {
    page.wait_for(
        &format!("the order {uid} to be shown"),
        &format!("{HEADING} === {}", json!(uid)),
    )
    .await;
    assert_eq!(page.path().await, format!("/order/{uid}"));
}

fn russian() -> Reader {
    Reader { lang: "ru", ..Reader::default() }
}
