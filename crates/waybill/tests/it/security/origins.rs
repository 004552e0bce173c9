//! Pages of other origins cannot change anything, in a real browser and behind a real proxy.

use std::net::{SocketAddr, TcpListener};

use serde_json::json;
use testkit::{
    Nginx, TestEnvironment,
    browser::{Page, Reader},
    order_json::SAMPLE,
    shared,
};

use super::exchange;
use crate::support::{metric, order};

/// Starts a server whose pages belong to someone else, on all addresses of this machine.
async fn foreign_server() -> Nginx {
    Nginx::start(|port, _| {
        format!(
            "server {{ listen {port}; default_type text/html; \
             location / {{ return 200 '<!doctype html><title>foreign</title><p>foreign'; }} }}"
        )
    })
    .await
}

/// Sends requests from a page to a service, as a page of another origin can: without asking first,
/// and without reading the answers.
async fn attack(page: &Page, service: &str, order_uid: &str) {
    const SEND: &str = "async (service, uid, order) => {
        const send = (path, body, type) => fetch(service + path, {
            method: 'POST', mode: 'no-cors', body, headers: type ? { 'content-type': type } : {},
        });
        await send(`/order/${uid}/cancel`);
        await send('/order', order, 'text/plain');
        await send('/order', order);
        navigator.sendBeacon(`${service}/order/${uid}/complete`);
        document.body.innerHTML =
            `<form method=post action='${service}/order/${uid}/cancel'><button>send</button></form>`;
    }";
    page.run::<()>(SEND, json!([service, order_uid, order("forged", 1).to_string()])).await;
    page.click_on("send").await;
    page.wait_for_text("another origin").await;
}

/// Asserts that nothing was sent to Kafka except `sent` orders.
async fn assert_nothing_was_sent(env: &TestEnvironment, sent: usize) {
    assert_eq!(env.read_all(&env.orders_topic()).await.len(), sent);
    for event in env.read_all(&env.status_topic()).await {
        let event = format!("{event:?}");
        assert!(!event.contains("cancelled") && !event.contains("completed"), "{event}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_other_origins_change_nothing() {
    let env = TestEnvironment::new(shared()).await;
    let service = env.start(&["--http-hosts", "waybill.lan"]).await;
    let foreign = foreign_server().await;
    env.send(None, None, Some(SAMPLE.as_bytes())).await;
    env.wait_until_drained().await;
    let uid = "b563feb7b2b84b6test";

    // The browser sends `Sec-Fetch-Site` to the first name of the service only.
    let mut attacks = 0.0;
    for name in ["127.0.0.1", "waybill.lan"] {
        let service = format!("http://{name}:{}", service.address().port());
        for page in ["127.0.0.1", "127.0.0.2", "localhost", "evil.lan"] {
            let page = format!("http://{page}:{}", foreign.address.port());
            let page = Page::open(Reader::default(), &page).await;
            attack(&page, &service, uid).await;
            attacks += 1.0;
        }
    }

    assert_nothing_was_sent(&env, 1).await;
    let refused = "http_server_request_duration_seconds_count{http_request_method=\"POST\",\
         http_route=\"/order/{order_uid}/cancel\",http_response_status_code=\"403\"}";
    assert_eq!(metric(&service, refused).await, 2.0 * attacks);

    // The pages of the service itself may.
    for (index, name) in ["127.0.0.1", "waybill.lan"].into_iter().enumerate() {
        for javascript in [true, false] {
            let uid = format!("own-{index}-{javascript}");
            cancel_on_its_page(
                &env,
                &format!("http://{name}:{}", service.address().port()),
                &uid,
                javascript,
            )
            .await;
        }
    }
    service.stop().await.unwrap();
}

/// Stores an order and cancels it with the button of its page.
async fn cancel_on_its_page(env: &TestEnvironment, service: &str, uid: &str, javascript: bool) {
    env.send(None, Some(uid.as_bytes()), Some(order(uid, 1).to_string().as_bytes())).await;
    env.wait_until_drained().await;
    let reader = Reader { javascript, ..Reader::default() };
    let page = Page::open(reader, &format!("{service}/order/{uid}")).await;
    page.click_on("Cancel order").await;
    testkit::wait_until("the order to be cancelled", async || {
        let events = env.read_all(&env.status_topic()).await;
        events.iter().any(|event| {
            let event = String::from_utf8_lossy(event.value.as_deref().unwrap_or_default());
            event.contains(uid) && event.contains("cancelled")
        })
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_changes_host_needs_the_own_url() {
    let env = TestEnvironment::new(shared()).await;
    let address = free_address();
    let proxy = Nginx::start(|port, _| {
        format!("server {{ listen {port}; location / {{ proxy_pass http://{address}; }} }}")
    })
    .await;
    let foreign = foreign_server().await;
    let at = |name: &str| format!("http://{name}:{}", proxy.address.port());

    let service = env.start_at(address, &["--orders-url", &at("waybill.lan")]).await;
    cancel_on_its_page(&env, &at("waybill.lan"), "by-name", true).await;
    cancel_on_its_page(&env, &at("waybill.lan"), "without-script", false).await;
    // On loopback, the browser says itself that the page is of the same origin.
    cancel_on_its_page(&env, &at("127.0.0.1"), "by-address", true).await;

    let page =
        Page::open(Reader::default(), &format!("http://evil.lan:{}", foreign.address.port())).await;
    attack(&page, &at("waybill.lan"), "none").await;
    assert_eq!(env.read_all(&env.orders_topic()).await.len(), 3);
    service.stop().await.unwrap();

    // Without its own URL, the service cannot know that the page of the proxy is its own.
    let service = env.start_at(address, &[]).await;
    let origin = format!("Host: {address}\r\nOrigin: {}\r\n", at("waybill.lan"));
    let answer = exchange(address, "POST /order/by-name/complete", &origin, "").await;
    assert_eq!(answer.status, 403);
    service.stop().await.unwrap();
}

fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_must_be_declared_as_json() {
    let env = TestEnvironment::new(shared()).await;
    let database = env.courier_database().await;
    let (orders, couriers) = env.start_both(&database).await;
    let anna = r#"{"name":"Anna","phone":"+70000000001","transport_type":"car"}"#;

    for (service, path, body, accepted) in
        [(&orders, "/order", SAMPLE, 202), (&couriers, "/courier", anna, 201)]
    {
        let post = async |kind: &str| {
            let lines = format!("Host: localhost\r\n{kind}");
            exchange(service.address(), &format!("POST {path}"), &lines, body).await
        };
        for kind in [
            "",
            "Content-Type: text/plain\r\n",
            "Content-Type: application/x-www-form-urlencoded\r\n",
            "Content-Type: text/plain; application/json\r\n",
            "Content-Type: application/jsonx\r\n",
            "Content-Type: application/json\r\nContent-Type: text/plain\r\n",
        ] {
            let answer = post(kind).await;
            assert_eq!(answer.status, 415, "{kind}");
            assert!(answer.body.contains("Content-Type"), "{}", answer.body);
        }
        let answer = post("Content-Type: Application/JSON; charset=utf-8\r\n").await;
        assert_eq!(answer.status, accepted, "{}", answer.body);
    }

    // A body without data needs no type, also if its length is not known at first.
    let chunked = |body: &str| {
        format!(
            "POST /order/nobody/cancel HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
             Content-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n{body}0\r\n\r\n"
        )
    };
    for (body, expected) in [("", "404"), ("1\r\nx\r\n", "415")] {
        let mut stream = super::connect(orders.address(), &chunked(body)).await;
        let answer = super::read_to_end(&mut stream).await;
        let answer = String::from_utf8(answer).unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {expected} ")), "{answer}");
    }
    orders.stop().await.unwrap();
    couriers.stop().await.unwrap();
}
