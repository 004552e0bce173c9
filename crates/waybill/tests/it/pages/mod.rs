//! The pages of both services in a real browser: by keyboard and mouse, in both languages and
//! themes, with scripts and without.

mod accessibility;
mod board;
mod both_services;
mod errors;
mod escaping;
mod live;
mod rejected;
mod search;
mod status;

use serde_json::{Value, json};
use testkit::{
    Service, TestEnvironment,
    browser::{Page, Reader},
    order_json::SAMPLE,
};

use crate::support::order;

/// The id of the sample order.
const UID: &str = "b563feb7b2b84b6test";
/// What stands in the title of the page shown, and nowhere else.
const SHOWN: &str = "document.querySelector('h1')?.textContent";

/// A service that has the sample order.
async fn with_sample(env: &TestEnvironment) -> Service {
    let service = env.start(&[]).await;
    send(env, &service, &serde_json::from_str(SAMPLE).unwrap()).await;
    service
}

/// Sends an order and waits until the service has it.
async fn send(env: &TestEnvironment, service: &Service, order: &Value) {
    env.send(None, None, Some(order.to_string().as_bytes())).await;
    let path = format!("/order/{}?wait=30s", order["order_uid"].as_str().unwrap());
    assert_eq!(service.get(&path).await.status(), 200);
}

/// Waits until the page shows the order `uid`.
async fn arrives(page: &Page, uid: &str) {
    page.until(&format!("the order {uid} to be shown"), &format!("{SHOWN} === {}", json!(uid)))
        .await;
    assert_eq!(page.path().await, format!("/order/{uid}"));
}

fn russian() -> Reader {
    Reader { lang: "ru", ..Reader::default() }
}
