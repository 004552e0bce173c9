//! A cached order is answered before the router: with the router's answer, header for header.

use std::collections::BTreeMap;

use testkit::{Service, TestEnvironment, shared, wait_until};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::support::{metric, order, record};

const ROUTED: &str = "route";

/// An answer without what differs from one moment to the next.
#[derive(Debug, PartialEq, Eq)]
struct Answer {
    status: String,
    headers: BTreeMap<String, Vec<String>>,
    body: Vec<u8>,
}

impl Answer {
    fn read(bytes: &[u8]) -> Self {
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").expect("a head ends");
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

/// A request's head. The id stands in the path as it is, or with its first byte escaped, which the
/// quick answer leaves to the router.
fn head(method: &str, uid: &str, how: &str, headers: &str) -> String {
    let path = match how {
        ROUTED => uid.bytes().take(1).map(|byte| format!("%{byte:02x}")).collect::<String>(),
        _ => uid[..1].to_owned(),
    };
    format!("{method} /order/{path}{} HTTP/1.1\r\nhost: test\r\n{headers}\r\n", &uid[1..])
}

async fn ask(service: &Service, request: &str) -> Vec<u8> {
    let mut stream = TcpStream::connect(service.address()).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.unwrap();
    bytes
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quick_answer_is_the_routers_header_for_header() {
    let env = TestEnvironment::new(shared()).await;
    let uids = ["plain", "semi;colon", "plus+sign", "at@home:8,'(1)*!", "under_~-.", "Zürich"];
    let service = env.start(&[]).await;
    env.send_all(uids.iter().map(|uid| record(&order(uid, 7)))).await;
    env.drained().await;
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
        with("origin: http://elsewhere.example\r\nsec-fetch-site: cross-site".into()),
        with("content-length: 4".into()),
    ];
    for method in ["GET", "HEAD", "POST", "OPTIONS"] {
        for uid in uids {
            for kind in &kinds {
                let body = if kind.contains("content-length") { "body" } else { "" };
                let [quick, routed] = ["plain", ROUTED].map(|how| head(method, uid, how, kind));
                let quick = Answer::read(&ask(&service, &(quick + body)).await);
                let routed = Answer::read(&ask(&service, &(routed + body)).await);
                let is_page =
                    quick.headers.get("content-type").is_some_and(|it| it[0].contains("html"));
                if is_page {
                    // A page tells how long it took, and the path it was asked by.
                    assert_eq!(quick.status, routed.status);
                    assert_eq!(
                        quick.headers.keys().collect::<Vec<_>>(),
                        routed.headers.keys().collect::<Vec<_>>()
                    );
                } else {
                    assert_eq!(quick, routed, "{method} {uid} {kind}");
                }
            }
        }
    }
    service.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn quick_answers_are_counted_like_the_routers_and_come_in_the_order_of_their_questions() {
    let env = TestEnvironment::new(shared()).await;
    let service = env.start(&[]).await;
    env.send_all([record(&order("first", 1)), record(&order("second", 2))]).await;
    env.drained().await;
    let counted = "http_server_request_duration_seconds_count{http_request_method=\"GET\",\
                   http_route=\"/order/{order_uid}\",http_response_status_code=\"200\"}";
    let hits = "waybill_cache_hits_total";
    let (requests_before, hits_before) =
        (metric(&service, counted).await, metric(&service, hits).await);
    let pipelined: String = [
        head("GET", "first", "plain", ""),
        head("GET", "second", ROUTED, ""),
        head("GET", "second", "plain", ""),
        head("GET", "first", "plain", "connection: close\r\n"),
    ]
    .concat();
    let answers = String::from_utf8(ask(&service, &pipelined).await).unwrap();
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
async fn what_is_asked_while_the_service_drains_is_answered_alike() {
    let env = TestEnvironment::new(shared()).await;
    let service = env.start(&[]).await;
    env.send_all([record(&order("kept", 7))]).await;
    env.drained().await;
    assert_eq!(service.get("/order/kept").await.headers()["x-cache"], "memory");
    let mut asking = Vec::new();
    for how in ["plain", ROUTED] {
        let mut stream = TcpStream::connect(service.address()).await.unwrap();
        stream.write_all(head("GET", "kept", how, "").as_bytes()).await.unwrap();
        let mut first = vec![0; 8192];
        assert!(stream.read(&mut first).await.unwrap() > 0);
        // Of a second question the service has a half when the end comes.
        let second = head("GET", "kept", how, "accept: */*\r\n");
        let (half, rest) = second.split_at(second.len() / 2);
        stream.write_all(half.as_bytes()).await.unwrap();
        asking.push((stream, rest.to_owned()));
    }
    let stopping = tokio::spawn(service.stop());
    let mut answers = Vec::new();
    for (mut stream, rest) in asking {
        // Whether it still listens is for both the same.
        let _ = stream.write_all(rest.as_bytes()).await;
        let mut bytes = Vec::new();
        let _ = stream.read_to_end(&mut bytes).await;
        answers.push((!bytes.is_empty()).then(|| Answer::read(&bytes)));
    }
    assert_eq!(answers[0], answers[1]);
    stopping.await.unwrap().unwrap();
}
