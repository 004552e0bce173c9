//! Paths and queries with traversal, encoded slashes, NUL, control characters and broken escapes.

use futures_util::{StreamExt as _, stream};
use testkit::{Service, TestEnvironment, order_json::SAMPLE, shared};

use super::exchange;

/// Texts in the place of an id, of a name, or of the value of a parameter.
const TEXTS: &[&str] = &[
    "",
    ".",
    "..",
    "%2e%2e",
    "../../etc/passwd",
    "..%2f..%2fetc%2fpasswd",
    "..%5c..%5cwindows",
    "..%252f..%252fetc%252fpasswd",
    "%c0%ae%c0%ae%c0%afetc",
    "/",
    "%2F",
    "a%2Fb",
    "%2e%2e%2fmetrics",
    "%00",
    "a%00b",
    "%0d%0aX-Evil:%201",
    "%01%1f%7f",
    "%ff%fe",
    "%ed%a0%80",
    "%",
    "%z",
    "%u0000",
    "a\\b",
    ";a=b",
    "a;b",
    "'--",
    "'%20OR%201=1--",
    "%22%3E%3Cscript%3E",
    "$%7Bjndi:ldap://x%7D",
    "%F0%9F%98%80",
    "99999999999999999999",
    "-1",
    "1e9",
    "NaN",
    "null",
    "a%20b+c",
    "orders:0:%00",
    "orders:0:99999999999999999999",
    "1.%00",
    "1.x:0:0",
    "999999999999999999.x",
];

/// Places for a text: `{}` is replaced by it.
const ORDERS: &[&str] = &[
    "/{}",
    "/order/{}",
    "/order/{}/status",
    "/order/{}/history",
    "/order/{}/cancel",
    "/order/b563feb7b2b84b6test/{}",
    "/order/b563feb7b2b84b6test?{}",
    "/order/b563feb7b2b84b6test?format={}",
    "/order/b563feb7b2b84b6test?lang={}",
    "/order/nobody?wait={}",
    "/order/b563feb7b2b84b6test/history?after={}",
    "/orders?customer_id={}",
    "/orders?track_number={}",
    "/orders?limit={}",
    "/orders?after={}",
    "/rejected?reason={}",
    "/rejected?key={}",
    "/rejected?after={}",
    "/rejected/{}",
    "/rejected/{}/replay",
    "/rejected?q={}",
    "/rejected?field=/{}",
    "/rejected/count?from={}",
    "/rejected/replay?q={}",
    "/rejected/{}/check",
    "/rejected/{}/settle",
    "/assets/{}",
    "/?uid={}",
];
const COURIERS: &[&str] = &[
    "/{}",
    "/courier/{}",
    "/courier/{}/statistics",
    "/couriers?limit={}",
    "/couriers?after={}",
    "/delivery/{}",
    "/queue?limit={}",
    "/rejected?reason={}",
    "/rejected?key={}",
    "/rejected?after={}",
    "/rejected/{}",
    "/rejected/{}/replay",
    "/rejected?q={}",
    "/rejected?field=/{}",
    "/rejected/count?from={}",
    "/rejected/replay?q={}",
    "/rejected/{}/check",
    "/rejected/{}/settle",
    "/assets/{}",
    "/?at={}",
];

async fn assert_no_text_is_a_fault(service: &Service, places: &[&str]) {
    let mut wrong = Vec::new();
    for place in places {
        let requests = TEXTS.iter().flat_map(|text| {
            let path = place.replacen("{}", text, 1);
            let path = &path;
            let lines = ["GET", "HEAD", "POST", "DELETE"].iter().flat_map(|method| {
                ["application/json", "text/html"].map(|accept| {
                    format!(
                        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nAccept: {accept}\r\n\
                         Content-Length: 0\r\nConnection: close\r\n\r\n"
                    )
                })
            });
            lines.collect::<Vec<_>>()
        });
        let answers = requests.map(async |request| {
            let answer = exchange(service.address(), request.as_bytes(), false).await;
            let is_fault = match answer.statuses.as_slice() {
                [status] => *status >= 500,
                _ => true,
            };
            // A page shows the id, so only the head is searched for an injected line.
            let head = answer.text.split("\r\n\r\n").next().unwrap_or_default();
            let leaks = answer.text.contains("root:") || head.contains("\nX-Evil");
            (is_fault || leaks || !answer.is_closed).then(|| {
                let start: String = answer.text.chars().take(300).collect();
                format!("{:?}: {start:?}", request.lines().next().unwrap())
            })
        });
        // Few at the same time: a flood is answered with 503.
        let faults: Vec<_> = stream::iter(answers).buffer_unordered(8).collect().await;
        wrong.extend(faults.into_iter().flatten());
    }
    assert!(wrong.is_empty(), "{} faults:\n{}", wrong.len(), wrong.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn no_path_or_query_is_a_fault_of_the_order_service() {
    let env = TestEnvironment::new(shared()).await;
    env.send(None, None, Some(SAMPLE.as_bytes())).await;
    let service = env.start(&[]).await;
    env.wait_until_drained().await;

    assert_no_text_is_a_fault(&service, ORDERS).await;

    service.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn no_path_or_query_is_a_fault_of_the_courier_service() {
    let env = TestEnvironment::new(shared()).await;
    let service = env.start_couriers(&env.courier_database().await, &[]).await;

    assert_no_text_is_a_fault(&service, COURIERS).await;

    service.stop().await.unwrap();
}
