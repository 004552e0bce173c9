//! Requests that break the grammar of HTTP/1.1, that two parsers could read differently (request
//! smuggling), or that are too large.

use std::net::SocketAddr;

use futures_util::future::join_all;
use testkit::{Service, TestEnvironment, order_json::SAMPLE, shared};

use super::{Exchange, exchange};

/// The limit on a head.
const MAX_HEAD_BYTES: usize = 64 << 10;
/// Follows an ambiguous request: if it is read as a request of its own, there is a second answer.
const HIDDEN: &str = "GET /hidden HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// A request, and the statuses of its answers: one of them for each answer, at most one answer.
struct Case {
    name: String,
    bytes: Vec<u8>,
    statuses: &'static [u16],
}

fn case(name: impl Into<String>, bytes: impl Into<Vec<u8>>, statuses: &'static [u16]) -> Case {
    Case { name: name.into(), bytes: bytes.into(), statuses }
}

/// A call of a service that takes a JSON body.
#[derive(Clone, Copy)]
struct Target {
    post: &'static str,
    get: &'static str,
}

impl Target {
    /// Returns a request with a body, with these lines in its head.
    fn with_body(self, lines: &str, body: &str) -> String {
        let path = self.post;
        format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n{lines}\
             \r\n{body}"
        )
    }

    fn with_lines(self, lines: &str) -> String {
        format!("GET {} HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n", self.get)
    }
}

/// Lengths of a body that are ambiguous or wrong. None of them may reveal the hidden request.
fn lengths(target: Target) -> Vec<Case> {
    let length = HIDDEN.len();
    let mut cases = Vec::new();
    let chunked = "0\r\n\r\n";
    for (name, lines) in [
        ("both lengths", format!("Content-Length: {length}\r\nTransfer-Encoding: chunked\r\n")),
        (
            "both, chunked first",
            format!("Transfer-Encoding: chunked\r\nContent-Length: {length}\r\n"),
        ),
        ("both, length of the chunk", "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n".into()),
        ("both, without a body", "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n".into()),
    ] {
        let body = format!("{chunked}{HIDDEN}");
        cases.push(case(name, target.with_body(&lines, &body), &[400, 415, 422]));
    }
    for encoding in [
        "xchunked",
        "identity",
        "chunked, identity",
        "chunked\r\nTransfer-Encoding: identity",
        "chunked;q=1",
        "\"chunked\"",
        "chunked, x",
        "x\r\nTransfer-Encoding: y",
        "\x0bchunked",
        "chunked\x00",
        "",
    ] {
        let lines = format!("Transfer-Encoding: {encoding}\r\n");
        let body = format!("{chunked}{HIDDEN}");
        cases.push(case(
            format!("transfer encoding {encoding:?}"),
            target.with_body(&lines, &body),
            &[400],
        ));
    }
    for name in
        ["Transfer-Encoding ", " Transfer-Encoding", "Transfer\x0cEncoding", "Transfer-Encoding\t"]
    {
        let lines = format!("{name}: chunked\r\n");
        cases.push(case(format!("the name {name:?}"), target.with_body(&lines, chunked), &[400]));
    }
    for text in [
        "5\r\nContent-Length: 6",
        "5, 6",
        "5,5",
        "+5",
        "-1",
        "0x5",
        "5 5",
        "5;",
        "1e1",
        "٥",
        "18446744073709551616",
        "",
    ] {
        let lines = format!("Content-Length: {text}\r\n");
        let body = format!("{{\"a\":{HIDDEN}");
        cases.push(case(format!("the length {text:?}"), target.with_body(&lines, &body), &[400]));
    }
    let twice = "Content-Length: 2\r\nContent-Length: 2\r\nConnection: close\r\n";
    cases.push(case("one length twice", target.with_body(twice, "{}"), &[400, 422]));
    let old = target
        .with_body("Transfer-Encoding: chunked\r\n", &format!("{chunked}{HIDDEN}"))
        .replacen("HTTP/1.1", "HTTP/1.0", 1);
    cases.push(case("chunked in HTTP/1.0", old, &[400]));
    let with_length = format!("Content-Length: {length}\r\n");
    cases.push(case("GET with a body", target.with_lines(&with_length) + HIDDEN, &[200]));
    cases
}

/// Chunks of a body that are malformed.
fn chunks(target: Target) -> Vec<Case> {
    let long_extension = format!("2;{}\r\n{{}}\r\n0\r\n\r\n", "x".repeat(100_000));
    let many_extensions = "1;a=b\r\n \r\n".repeat(60_000) + "0\r\n\r\n";
    let long_trailer = format!("0\r\nX: {}\r\n\r\n", "x".repeat(100_000));
    [
        ("a huge chunk", "FFFFFFFFFFFFFFFFF\r\n"),
        ("the largest chunk", "FFFFFFFFFFFFFFFF\r\n{}"),
        ("a negative chunk", "-1\r\n{}\r\n0\r\n\r\n"),
        ("a chunk without a size", "\r\n{}\r\n0\r\n\r\n"),
        ("a chunk with a prefix", "0x2\r\n{}\r\n0\r\n\r\n"),
        ("a chunk with a bare LF", "2\n{}\n0\n\n"),
        ("a chunk with a bare CR", "2\r{}\r0\r\r"),
        ("a chunk that is longer than its size", "2\r\n{}{}\r\n0\r\n\r\n"),
        ("an extension with a line break", "2;a\nb\r\n{}\r\n0\r\n\r\n"),
        ("an extension with a NUL", "2;\0\r\n{}\r\n0\r\n\r\n"),
        ("a chunk that never ends", "2\r\n{"),
        ("a body that never ends", "2\r\n{}\r\n"),
        ("a trailer that never ends", "2\r\n{}\r\n0\r\nX: y\r\n"),
        ("a trailer that sets the length", "2\r\n{}\r\n0\r\nContent-Length: 99\r\n\r\n"),
        ("a trailer with a host", "2\r\n{}\r\n0\r\nHost: evil.example\r\n\r\n"),
        ("a long extension", long_extension.as_str()),
        ("many extensions", many_extensions.as_str()),
        ("a long trailer", long_trailer.as_str()),
    ]
    .into_iter()
    .map(|(name, body)| {
        let lines = "Transfer-Encoding: chunked\r\nConnection: close\r\n";
        case(name, target.with_body(lines, body), &[400, 408, 413, 422])
    })
    .collect()
}

/// Heads that break the grammar.
fn heads(target: Target) -> Vec<Case> {
    let get = target.get;
    let mut cases = Vec::new();
    for (name, lines) in [
        ("a folded line", "X-A: b\r\n c\r\n"),
        ("a folded length", "Content-Length:\r\n 5\r\n"),
        ("a folded first line", " X-A: b\r\n"),
        ("a bare CR in a value", "X-A: b\rc\r\n"),
        ("a bare CR before a name", "\rX-A: b\r\n"),
        ("a NUL in a value", "X-A: b\0c\r\n"),
        ("a NUL in a name", "X\0A: b\r\n"),
        ("a name with a space", "X A: b\r\n"),
        ("an empty name", ": b\r\n"),
        ("a line without a colon", "X-A\r\n"),
        ("a name that is not ASCII", "Ж: b\r\n"),
    ] {
        cases.push(case(name, target.with_lines(lines), &[400]));
    }
    for (name, line) in [
        ("no version", format!("GET {get}")),
        ("a wrong version", format!("GET {get} HTTP/9.9")),
        ("version 2", format!("GET {get} HTTP/2.0")),
        ("no HTTP", format!("GET {get} ICAP/1.0")),
        ("two spaces", format!("GET  {get} HTTP/1.1")),
        ("a tab", format!("GET\t{get} HTTP/1.1")),
        ("text after the version", format!("GET {get} HTTP/1.1 x")),
        ("a NUL in the target", format!("GET {get}\0 HTTP/1.1")),
        ("a control character in the target", format!("GET {get}\x01 HTTP/1.1")),
        ("a DEL in the target", format!("GET {get}\x7f HTTP/1.1")),
        ("a method that is no token", format!("G@T[] {get} HTTP/1.1")),
        ("an empty method", format!(" {get} HTTP/1.1")),
    ] {
        cases.push(case(name, format!("{line}\r\nHost: localhost\r\n\r\n"), &[400]));
    }
    let tls = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".repeat(20);
    cases.push(case("the start of TLS", tls, &[400]));
    cases.push(case("the start of HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &[]));
    cases.push(case("random bytes", (0_u8..=255).rev().collect::<Vec<_>>(), &[400]));
    cases.push(case("only line breaks", "\r\n".repeat(1_000), &[]));
    cases.push(case("half a head", format!("GET {get} HTTP/1.1\r\nHost: loc"), &[]));
    cases.push(case("nothing", "", &[]));
    // Allowed: one LF may end a line (RFC 9112, 2.2), and an empty line may come first.
    let bare = target.with_lines("Connection: close\r\n").replace("\r\n", "\n");
    cases.push(case("lines that end with LF", bare, &[200, 400]));
    let after = format!("\r\n\r\n{}", target.with_lines("Connection: close\r\n"));
    cases.push(case("line breaks before the head", after, &[200, 400]));
    cases
}

/// Targets and hosts in unusual forms.
fn targets(target: Target) -> Vec<Case> {
    let get = target.get;
    let close = "Connection: close\r\n\r\n";
    [
        ("no host", format!("GET {get} HTTP/1.1\r\n{close}"), &[200, 400][..]),
        ("two hosts", format!("GET {get} HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n{close}"), &[400, 421]),
        ("a host with a user", format!("GET {get} HTTP/1.1\r\nHost: localhost@evil.example\r\n{close}"), &[400, 421]),
        ("a host with a path", format!("GET {get} HTTP/1.1\r\nHost: localhost/evil\r\n{close}"), &[400, 421]),
        ("another host in the target", format!("GET http://evil.example{get} HTTP/1.1\r\nHost: localhost\r\n{close}"), &[421]),
        ("a port that is too large", format!("GET http://localhost:99999{get} HTTP/1.1\r\nHost: localhost\r\n{close}"), &[200, 400, 421]),
        ("another scheme", format!("GET file:///etc/passwd HTTP/1.1\r\nHost: localhost\r\n{close}"), &[400, 404, 421]),
        ("an asterisk", format!("OPTIONS * HTTP/1.1\r\nHost: localhost\r\n{close}"), &[200, 400, 404, 405]),
        ("an asterisk with GET", format!("GET * HTTP/1.1\r\nHost: localhost\r\n{close}"), &[400, 404]),
        ("a tunnel", format!("CONNECT evil.example:443 HTTP/1.1\r\nHost: evil.example:443\r\n{close}"), &[400, 404, 405, 421]),
        ("a tunnel to this host", format!("CONNECT localhost:22 HTTP/1.1\r\nHost: localhost:22\r\n{close}"), &[400, 404, 405]),
        ("an upgrade", format!("GET {get} HTTP/1.1\r\nHost: localhost\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\nConnection: Upgrade, HTTP2-Settings, close\r\n\r\n"), &[200, 400]),
        ("a range", format!("GET {get} HTTP/1.1\r\nHost: localhost\r\nRange: bytes=0-,0-,0-,0-\r\n{close}"), &[200]),
        ("an unknown expectation", format!("GET {get} HTTP/1.1\r\nHost: localhost\r\nExpect: 200-maybe\r\n{close}"), &[200, 417]),
        ("an unknown method", format!("EVIL {get} HTTP/1.1\r\nHost: localhost\r\n{close}"), &[405]),
        ("TRACE", format!("TRACE {get} HTTP/1.1\r\nHost: localhost\r\n{close}"), &[405]),
        ("another method by a header", format!("GET {get} HTTP/1.1\r\nHost: localhost\r\nX-HTTP-Method-Override: DELETE\r\n{close}"), &[200]),
    ]
    .into_iter()
    .map(|(name, request, statuses)| case(name, request, statuses))
    .collect()
}

/// Requests with parts that are too large.
fn sizes(target: Target) -> Vec<Case> {
    let long = "x".repeat(100_000);
    let lines: String = (0..200).map(|number| format!("X-{number}: a\r\n")).collect();
    let large = "x".repeat(17 << 20);
    vec![
        case(
            "a long target",
            format!("GET /{long} HTTP/1.1\r\nHost: localhost\r\n\r\n"),
            &[414, 431],
        ),
        case(
            "a long query",
            format!("GET {}?a={long} HTTP/1.1\r\nHost: localhost\r\n\r\n", target.get),
            &[414, 431],
        ),
        case(
            "a long method",
            format!("{long} / HTTP/1.1\r\nHost: localhost\r\n\r\n"),
            &[400, 414, 431],
        ),
        case("a long value", target.with_lines(&format!("X-A: {long}\r\n")), &[431]),
        case("a long name", target.with_lines(&format!("{long}: a\r\n")), &[431]),
        case("a long host", format!("GET / HTTP/1.1\r\nHost: {long}\r\n\r\n"), &[431]),
        case("many lines", target.with_lines(&lines), &[431]),
        case("an endless line", format!("GET / HTTP/1.1\r\nX: {}", long.repeat(10)), &[431]),
        case(
            "a long body",
            target.with_body(&format!("Content-Length: {}\r\n", large.len()), &large),
            &[413],
        ),
        case(
            "a long chunked body",
            target.with_body(
                "Transfer-Encoding: chunked\r\n",
                &format!("{:x}\r\n{large}\r\n0\r\n\r\n", large.len()),
            ),
            &[413],
        ),
        case(
            "a long body that was announced",
            target.with_body(
                "Content-Length: 1000000000000\r\nExpect: 100-continue\r\nConnection: close\r\n",
                "",
            ),
            &[413],
        ),
        case("a body that never comes", target.with_body("Content-Length: 1000\r\n", "{"), &[408]),
        case(
            "an announced body that never comes",
            target.with_body("Content-Length: 1000\r\nExpect: 100-continue\r\n", ""),
            &[100, 408],
        ),
    ]
}

/// Sends all cases at the same time, and returns what is wrong with the answers.
async fn faults(address: SocketAddr, cases: Vec<Case>) -> Vec<String> {
    let checks = cases.into_iter().map(async |Case { name, bytes, statuses }| {
        let mut faults = Vec::new();
        // Once as a client that waits for more answers, once as one that has sent everything.
        for is_half_closed in [false, true] {
            let answer = exchange(address, &bytes, is_half_closed).await;
            let ends = || answer.statuses.iter().filter(|status| **status != 100);
            let is_one = ends().count() == 1;
            // A client that ends in the middle of its request may get no answer; nor may one that
            // still sends when the service closes the connection.
            let may_be_none = statuses.is_empty() || is_half_closed || bytes.len() > MAX_HEAD_BYTES;
            let is_in_time = answer.is_closed || is_one;
            if !is_in_time
                || ends().count() > 1
                || !(is_one || may_be_none)
                || !ends().all(|status| statuses.contains(status))
            {
                let start: String = answer.text.chars().take(300).collect();
                let Exchange { statuses, is_closed, .. } = answer;
                faults.push(format!(
                    "{name} (half closed: {is_half_closed}): {statuses:?}, closed: {is_closed}, \
                     {start:?}"
                ));
            }
        }
        faults
    });
    join_all(checks).await.concat()
}

async fn assert_refused(service: &Service, target: Target) {
    let cases = [lengths, chunks, heads, targets, sizes].iter().flat_map(|cases| cases(target));
    let wrong = faults(service.address(), cases.collect()).await;
    assert!(wrong.is_empty(), "{} faults:\n{}", wrong.len(), wrong.join("\n"));
    assert_eq!(service.get(target.get).await.status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_order_service_refuses_malformed_requests() {
    let env = TestEnvironment::new(shared()).await;
    env.send(None, None, Some(SAMPLE.as_bytes())).await;
    let service = env.start(&[]).await;
    env.wait_until_drained().await;

    // The fast path answers the first one, the router the second one.
    for get in ["/order/b563feb7b2b84b6test", "/orders?limit=1"] {
        assert_refused(&service, Target { post: "/order", get }).await;
    }

    service.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_courier_service_refuses_malformed_requests() {
    let env = TestEnvironment::new(shared()).await;
    let service = env.start_couriers(&env.courier_database().await, &[]).await;

    assert_refused(&service, Target { post: "/courier", get: "/couriers" }).await;

    service.stop().await.unwrap();
}
