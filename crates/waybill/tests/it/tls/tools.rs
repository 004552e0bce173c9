//! The tools over https:// behind a proxy, and a proxy of the environment, which they do not use.

use std::{io::ErrorKind, net::TcpListener, process::Output};

use serde_json::Value;
use testkit::{TestEnvironment, shared, wait_until};

use super::{
    assert_ended,
    certificates::{Certificates, WRONG},
    start_proxy,
};
use crate::support::{Scratch, Up, order, record, waybill};

fn assert_success(output: &Output) {
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), &*error), (Some(0), ""));
}

#[tokio::test(flavor = "multi_thread")]
async fn tools_reach_services_over_https() {
    let env = TestEnvironment::new(shared()).await;
    let database = env.courier_database().await;
    let (orders, couriers) = env.start_both(&database).await;
    let certificates = Certificates::new();
    let orders_proxy = start_proxy(&certificates, "right", &orders, "").await;
    let couriers_proxy = start_proxy(&certificates, "right", &couriers, "").await;
    let orders_url = format!("https://localhost:{}", orders_proxy.address.port());
    let couriers_url = format!("https://localhost:{}", couriers_proxy.address.port());
    let (ready, ca) = (format!("{orders_url}/readyz"), certificates.ca());
    env.send_all([record(&order("uid", 7))]).await;
    env.wait_until_drained().await;

    let (topic, brokers) = (env.orders_topic(), &*env.servers.kafka);
    let load = ["load", "--count", "1", "--couriers", "3", "--quiet", "--kafka-brokers", brokers];
    let load =
        [&load[..], &["--kafka-orders-topic", &topic, "--couriers-url", &couriers_url]].concat();
    let tools = [
        &["rejected", "list", "--orders-url", &orders_url][..],
        &["explain", "uid", "--orders-url", &orders_url, "--couriers-url", &couriers_url],
        &["probe", &ready],
        &load,
    ];
    for tool in tools {
        assert_success(&waybill(&[tool, &["--ca-file", &ca]].concat(), &[]).await);
    }
    assert_eq!(couriers.json("/couriers").await["items"].as_array().unwrap().len(), 3);

    // Without the file, only the authorities of the operating system are trusted.
    for tool in tools {
        let output = waybill(tool, &[]).await;
        let (code, words) = match tool[0] {
            "probe" => (1, vec!["certificate verify failed"]),
            "explain" => (78, vec!["the order service", "the courier service", "is not trusted"]),
            _ => (78, vec!["is not trusted", "--ca-file"]),
        };
        assert_ended(&output, code, &words);
    }
    // The authority is for https alone.
    let plain = ["rejected", "list", "--orders-url", &orders.url, "--ca-file", &ca];
    assert_ended(&waybill(&plain, &[]).await, 2, &["--ca-file has no effect"]);
    orders.stop().await.unwrap();
    couriers.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn tools_refuse_a_certificate_that_is_not_right() {
    let env = TestEnvironment::new(shared()).await;
    let service = env.start(&[]).await;
    let certificates = Certificates::new();
    let ca = certificates.ca();

    for (kind, reason) in WRONG.iter().zip(["issuer", "expired", "mismatch"]) {
        let proxy = start_proxy(&certificates, kind, &service, "").await;
        let url = format!("https://localhost:{}", proxy.address.port());
        let list = ["rejected", "list", "--orders-url", &url, "--ca-file", &ca];
        let words = ["the certificate of the service", "is not trusted", reason, &url];
        assert_ended(&waybill(&list, &[]).await, 78, &words);
    }
    service.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_and_headers_are_sent_and_never_shown() {
    let env = TestEnvironment::new(shared()).await;
    let service = env.start(&[]).await;
    let certificates = Certificates::new();
    let ca = certificates.ca();
    let check = "if ($http_authorization != 'Bearer secret-token') { return 401; } \
                 if ($http_x_key != 'secret-key') { return 401; }";
    let proxy = start_proxy(&certificates, "right", &service, check).await;
    let url = format!("https://localhost:{}", proxy.address.port());
    let list = ["rejected", "list", "--orders-url", &url, "--ca-file", &ca];
    let token = certificates.write("token", "secret-token\n");
    let wrong_token = certificates.write("wrong-token", "secret-wrong\n");
    let key = format!("@{}", certificates.write("headers", "X-Key: secret-key\n"));
    let run = async |more: &[&str]| {
        let log = [("RUST_LOG", "trace")];
        waybill(&[&list[..], more].concat(), &log).await
    };

    let output = run(&["--token-file", &token, "--header", &key]).await;
    let log = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{log}");
    assert!(!log.contains("secret"), "{log}");
    let both = ["--header", "Authorization: Bearer secret-token", "--header", "x-key:secret-key"];
    assert_eq!(run(&both).await.status.code(), Some(0));

    let words = ["requires other credentials", "--token-file", "--header"];
    assert_ended(&run(&["--header", &key]).await, 78, &words);
    assert_ended(&run(&["--header", &key, "--token-file", &wrong_token]).await, 78, &words);
    assert_ended(&run(&["--header", "secret"]).await, 2, &["`Name: value`"]);
    service.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_to_another_server_is_not_followed() {
    let env = TestEnvironment::new(shared()).await;
    let service = env.start(&[]).await;
    let certificates = Certificates::new();
    let other_server = TcpListener::bind("127.0.0.1:0").unwrap();
    other_server.set_nonblocking(true).unwrap();
    let redirect = format!("return 302 http://{}$request_uri;", other_server.local_addr().unwrap());
    let proxy = start_proxy(&certificates, "right", &service, &redirect).await;
    let url = format!("https://localhost:{}", proxy.address.port());
    let (ca, ready) = (certificates.ca(), format!("{url}/readyz"));
    let with = ["--ca-file", &ca, "--header", "X-Key: secret-key"];

    for (tool, code) in
        [(&["rejected", "list", "--orders-url", &url][..], 1), (&["probe", &ready], 1)]
    {
        assert_ended(&waybill(&[tool, &with].concat(), &[]).await, code, &["302"]);
    }

    let accepted = other_server.accept();
    assert_eq!(accepted.unwrap_err().kind(), ErrorKind::WouldBlock, "no header left the server");
    service.stop().await.unwrap();
}

/// The variables that name a proxy for other programs.
const PROXY_VARIABLES: [&str; 6] =
    ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"];

/// A proxy of the environment, which must not be used.
struct Proxy {
    listener: TcpListener,
    url: String,
}

impl Proxy {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        Self { listener, url }
    }

    fn variables(&self) -> Vec<(&str, &str)> {
        PROXY_VARIABLES.iter().map(|name| (*name, &*self.url)).collect()
    }

    fn assert_unused(&self) {
        assert_eq!(self.listener.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tools_use_no_proxy_of_the_environment() {
    let env = TestEnvironment::new(shared()).await;
    let database = env.courier_database().await;
    let (orders, couriers) = env.start_both(&database).await;
    let certificates = Certificates::new();
    let https = start_proxy(&certificates, "right", &orders, "").await;
    let (https, ca) = (format!("https://localhost:{}", https.address.port()), certificates.ca());
    let proxy = Proxy::start();
    env.send_all([record(&order("uid", 7))]).await;
    env.wait_until_drained().await;

    let localhost = orders.url.replace("127.0.0.1", "localhost");
    let (topic, brokers) = (env.orders_topic(), &*env.servers.kafka);
    let load = ["load", "--count", "1", "--couriers", "3", "--quiet", "--kafka-brokers", brokers];
    for tool in [
        &["rejected", "list", "--orders-url", &localhost][..],
        &["rejected", "list", "--orders-url", &https, "--ca-file", &ca],
        &["explain", "uid", "--orders-url", &orders.url, "--couriers-url", &couriers.url],
        &["probe", &orders.at("/readyz")],
        &[&load[..], &["--kafka-orders-topic", &topic, "--couriers-url", &couriers.url]].concat(),
    ] {
        assert_success(&waybill(tool, &proxy.variables()).await);
    }

    // A name that only the proxy could resolve is an error, and the proxy is not asked.
    let remote = ["probe", "http://orders.invalid/readyz"];
    assert_eq!(waybill(&remote, &proxy.variables()).await.status.code(), Some(1));
    proxy.assert_unused();
    orders.stop().await.unwrap();
    couriers.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn up_sends_orders_with_a_proxy_in_the_environment() {
    let (folder, proxy) = (Scratch::new(), Proxy::start());

    let up = Up::start(&folder, &["--rate", "20"], &proxy.variables()).await;

    wait_until("an order to have a courier", async || {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let url = format!("{}/statistics", up.banner_line("couriers"));
        let statistics = client.get(url).send().await.unwrap().json::<Value>().await.unwrap();
        statistics["deliveries"].as_u64().is_some_and(|deliveries| deliveries > 0)
    })
    .await;
    proxy.assert_unused();
    up.interrupt().await;
}
