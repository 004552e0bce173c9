//! The fast path answers a cached order before the router, with the same headers as the router.

use std::collections::BTreeMap;

use testkit::{Service, TestEnvironment, shared, wait_until};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::support::{metric, order, record};

/// The way in which a request is answered.
#[derive(Clone, Copy)]
enum Way {
    Fast,
    Routed,
}

/// An answer without its times.
#[derive(Debug, PartialEq, Eq)]
struct Answer {
    status: String,
    headers: BTreeMap<String, Vec<String>>,
    body: Vec<u8>,
}

impl Answer {
    fn read(bytes: &[u8]) -> Self {
        let end = bytes
            .windows(4)
            .position(|four| four == b"\r\n\r\n")
            .expect("the head ends with an empty line");
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
        let mut lines = head.split("\r\n");
        let status = lines.next().unwrap().to_owned();
        let mut headers = BTreeMap::<String, Vec<String>>::new();
        for line in lines {
            let (name, value) = line.split_once(": ").unwrap();
            let value = match name {
                "date" => "now",
                "server-timing" => value.split_once("dur=").unwrap().0,
                _ => value,
            };
            headers.entry(name.to_owned()).or_default().push(value.to_owned());
        }
        Self { status, headers, body: bytes[end + 4..].to_vec() }
    }
}

/// Returns the head of a request. The fast path leaves an id with an escaped first byte to the
/// router.
fn request_head(method: &str, uid: &str, way: Way, headers: &str) -> String {
    let path = match way {
        Way::Routed => uid.bytes().take(1).map(|byte| format!("%{byte:02x}")).collect::<String>(),
        Way::Fast => uid[..1].to_owned(),
    };
    format!("{method} /order/{path}{} HTTP/1.1\r\nhost: localhost\r\n{headers}\r\n", &uid[1..])
}

/// Sends a request and reads until the service closes the connection.
async fn exchange(service: &Service, request: &str) -> Vec<u8> {
    let mut stream = TcpStream::connect(service.address()).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.unwrap();
    bytes
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fast_answer_has_the_same_headers_as_the_routers() {
    let env = TestEnvironment::new(shared()).await;
    let uids = ["plain", "semi;colon", "plus+sign", "at@home:8,'(1)*!", "under_~-.", "Zürich"];
    let service = env.start(&[]).await;

    env.send_all(uids.iter().map(|uid| record(&order(uid, 7)))).await;
    env.wait_until_drained().await;
    let etag = service.get("/order/plain").await.headers()["etag"].to_str().unwrap().to_owned();
    let close = "connection: close\r\n".to_owned();
    let with = |header: String| format!("{header}\r\n{close}");
    let kinds = [
        close.clone(),
        with("accept: application/json".into()),
        with("accept: */*".into()),
        with("accept: text/html".into()),
        with("accept: application/json, text/html;q=0.1".into()),
        with("accept: application/json;q=0.9, text/plain;q=0".into()),
        with("accept: text/plain\r\naccept: text/html".into()),
        with("accept-encoding: gzip, br".into()),
        with(format!("if-none-match: {etag}")),
        with(format!("if-none-match: W/{etag}")),
        with(format!("if-none-match: \"other\", {etag}")),
        with(format!("if-none-match: \"other\"\r\nif-none-match: {etag}")),
        with("if-none-match: *".into()),
        with("if-none-match: \"other\"".into()),
        with("range: bytes=0-9".into()),
        with("origin: http://other.example\r\nsec-fetch-site: cross-site".into()),
        with("content-length: 4".into()),
        with("host: evil.example".into()),
    ];

    for method in ["GET", "HEAD", "POST", "OPTIONS"] {
        for uid in uids {
            for kind in &kinds {
                let body = if kind.contains("content-length") { "body" } else { "" };
                let [fast, routed] =
                    [Way::Fast, Way::Routed].map(|way| request_head(method, uid, way, kind));
                let fast = Answer::read(&exchange(&service, &(fast + body)).await);
                let routed = Answer::read(&exchange(&service, &(routed + body)).await);
                let is_page =
                    fast.headers.get("content-type").is_some_and(|it| it[0].contains("html"));
                if is_page {
                    // A page shows the time that it took and the path of its request.
                    assert_eq!(fast.status, routed.status);
                    assert_eq!(
                        fast.headers.keys().collect::<Vec<_>>(),
                        routed.headers.keys().collect::<Vec<_>>()
                    );
                } else {
                    assert_eq!(fast, routed, "{method} {uid} {kind}");
                }
            }
        }
    }
    service.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn fast_answers_are_counted_and_stay_in_request_order() {
    let env = TestEnvironment::new(shared()).await;
    let service = env.start(&[]).await;

    env.send_all([record(&order("first", 1)), record(&order("second", 2))]).await;
    env.wait_until_drained().await;
    let counted = "http_server_request_duration_seconds_count{http_request_method=\"GET\",\
                   http_route=\"/order/{order_uid}\",http_response_status_code=\"200\"}";
    let hits = "waybill_cache_hits_total";
    let (requests_before, hits_before) =
        (metric(&service, counted).await, metric(&service, hits).await);
    let pipelined: String = [
        request_head("GET", "first", Way::Fast, ""),
        request_head("GET", "second", Way::Routed, ""),
        request_head("GET", "second", Way::Fast, ""),
        request_head("GET", "first", Way::Fast, "connection: close\r\n"),
    ]
    .concat();
    let answers = String::from_utf8(exchange(&service, &pipelined).await).unwrap();
    let uids: Vec<&str> = answers
        .split("{\"order_uid\":\"")
        .skip(1)
        .map(|rest| rest.split_once('"').unwrap().0)
        .collect();

    assert_eq!(uids, ["first", "second", "second", "first"]);

    wait_until("all four to be counted", async || {
        metric(&service, counted).await - requests_before == 4.0
    })
    .await;
    assert_eq!(metric(&service, hits).await - hits_before, 4.0);
    service.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn while_it_drains_half_a_request_is_closed_on_both_paths() {
    let env = TestEnvironment::new(shared()).await;
    let service = env.start(&[]).await;

    env.send_all([record(&order("kept", 7))]).await;
    env.wait_until_drained().await;
    assert_eq!(service.get("/order/kept").await.headers()["x-cache"], "memory");

    let mut requests = Vec::new();
    for way in [Way::Fast, Way::Routed] {
        let mut stream = TcpStream::connect(service.address()).await.unwrap();
        stream.write_all(request_head("GET", "kept", way, "").as_bytes()).await.unwrap();
        let mut first = vec![0; 8192];
        assert!(stream.read(&mut first).await.unwrap() > 0);
        // The service has half of a second request when it is stopped.
        let second = request_head("GET", "kept", way, "accept: */*\r\n");
        stream.write_all(&second.as_bytes()[..second.len() / 2]).await.unwrap();
        requests.push(stream);
    }

    let stopping = tokio::spawn(service.stop());
    for mut stream in requests {
        let mut bytes = Vec::new();
        // The end may be a reset, because half a request was not read.
        let _ = stream.read_to_end(&mut bytes).await;
        assert_eq!(String::from_utf8_lossy(&bytes), "");
    }

    stopping.await.unwrap().unwrap();
}
