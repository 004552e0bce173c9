//! A service answers only under its own names, so that a page cannot reach it through a name that
//! its author has pointed at the service's address (DNS rebinding).

use std::net::SocketAddr;

use testkit::{
    TestEnvironment,
    browser::{Page, Reader},
    order_json::SAMPLE,
    shared,
};

use super::exchange;
use crate::support::waybill;

const ORDER: &str = "/order/b563feb7b2b84b6test";

/// Returns the status for a path, asked for under a name.
async fn status(address: SocketAddr, path: &str, host: &str) -> u16 {
    exchange(address, &format!("GET {path}"), &format!("Host: {host}\r\n"), "").await.status
}

async fn assert_refused(address: SocketAddr, target: &str, lines: &str) {
    let answer = exchange(address, target, lines, "").await;
    assert_eq!(answer.status, 421, "{target} {lines}");
    assert_eq!(answer.header("content-type"), "application/problem+json");
    assert_eq!(answer.header("x-content-type-options"), "nosniff");
    assert!(answer.body.contains("HTTP_HOSTS"), "{}", answer.body);
    assert!(!answer.body.contains("evil"), "{}", answer.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_known_hosts_are_answered_by_both_services() {
    let env = TestEnvironment::new(shared()).await;
    let database = env.courier_database().await;
    let (orders, couriers) = env.start_both(&database).await;
    env.send(None, None, Some(SAMPLE.as_bytes())).await;
    env.wait_until_drained().await;
    assert_eq!(orders.get(ORDER).await.headers()["x-cache"], "memory");

    // The first one is answered by the fast path, its escaped form by the router.
    let escaped = ORDER.replace("/b", "/%62");
    for (service, path) in [
        (&orders, ORDER),
        (&orders, escaped.as_str()),
        (&orders, "/orders"),
        (&orders, "/no/such/page"),
        (&couriers, "/couriers"),
        (&couriers, "/"),
    ] {
        let (address, missing) = (service.address(), path == "/no/such/page");
        for host in ["localhost", "LocalHost:99", "127.0.0.1", "10.1.2.3:8081", "[::1]:8081", ""] {
            let expected = if missing { 404 } else { 200 };
            assert_eq!(status(address, path, host).await, expected, "{path} {host}");
        }
        for host in ["evil.example", "evil.example:8081", "127.0.0.1.evil.example", "evil"] {
            assert_refused(address, &format!("GET {path}"), &format!("Host: {host}\r\n")).await;
        }
        let target = format!("GET http://evil.example{path}");
        assert_refused(address, &target, "Host: localhost\r\n").await;
        let target = format!("GET http://localhost{path}");
        let answer = exchange(address, &target, "Host: evil.example\r\n", "").await;
        assert_ne!(answer.status, 421, "the authority of the target counts");
        assert_refused(address, "OPTIONS /couriers", "Host: evil.example\r\n").await;
    }
    for service in [&orders, &couriers] {
        for path in ["/livez", "/readyz", "/metrics"] {
            assert_eq!(status(service.address(), path, "evil.example").await, 200, "{path}");
        }
    }
    assert_eq!(status(couriers.address(), "/ping", "evil.example").await, 200);
    let head = exchange(couriers.address(), "HEAD /healthcheck", "Host: evil.example\r\n", "");
    assert_eq!(head.await.status, 204);
    // HTTP/1.0 needs no Host.
    let old = "GET /couriers HTTP/1.0\r\n\r\n";
    let bytes = super::read_to_end(&mut super::connect(couriers.address(), old).await).await;
    assert!(bytes.starts_with(b"HTTP/1.0 200"));
    orders.stop().await.unwrap();
    couriers.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_own_url_and_http_hosts_add_names() {
    let env = TestEnvironment::new(shared()).await;
    let database = env.courier_database().await;
    let orders = [
        "--orders-url",
        "https://Orders.example:8443/base",
        "--http-hosts",
        "orders, waybill.internal",
    ];
    let orders = env.start(&orders).await;
    let couriers = ["--couriers-url", "http://couriers.example", "--http-hosts", "*"];
    let couriers = env.start_couriers(&database, &couriers).await;

    for (host, expected) in [
        ("orders.example", 200),
        ("orders.example:80", 200),
        ("orders:8081", 200),
        ("WAYBILL.internal.", 200),
        ("couriers.example", 421),
        ("internal", 421),
    ] {
        assert_eq!(status(orders.address(), "/orders", host).await, expected, "{host}");
    }
    assert_eq!(status(couriers.address(), "/couriers", "any.example").await, 200);
    orders.stop().await.unwrap();
    couriers.stop().await.unwrap();

    for role in ["orders", "couriers"] {
        for wrong in ["http://orders", "orders:8081", "*.example"] {
            let given = [("HTTP_HOSTS", wrong)];
            let output = waybill(&[role], &given).await;
            assert_eq!(output.status.code(), Some(78), "{role} {wrong}");
            let output = String::from_utf8(output.stderr).unwrap();
            assert!(output.contains("HTTP_HOSTS"), "{output}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_under_a_foreign_name_reads_nothing() {
    let env = TestEnvironment::new(shared()).await;
    let service = env.start(&["--http-hosts", "waybill.lan"]).await;
    let at = |name: &str| format!("http://{name}:{}/orders", service.address().port());

    // The browser resolves both names to the service.
    let known = Page::open(Reader::default(), &at("waybill.lan")).await;
    known.wait_for_text("\"items\":[]").await;

    let foreign = Page::open(Reader::default(), &at("evil.lan")).await;
    foreign.wait_for_text("HTTP_HOSTS").await;

    let status: u16 =
        foreign.run("async () => (await fetch('/orders')).status", serde_json::json!([])).await;
    assert_eq!(status, 421);
    service.stop().await.unwrap();
}
