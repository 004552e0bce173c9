//! The headers of an order are equal for GET, HEAD and 304, except those of the body.

use std::collections::BTreeMap;

use reqwest::{Method, Response};
use testkit::{TestEnvironment, order_json::SAMPLE, shared};

const ORDER: &str = "/order/b563feb7b2b84b6test";

/// Returns all headers except `Date` and the figure in `Server-Timing`.
fn stable_headers(answer: &Response) -> BTreeMap<String, String> {
    let mut headers: BTreeMap<String, String> = answer
        .headers()
        .iter()
        .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
        .collect();
    assert!(headers.remove("date").is_some(), "{headers:?}");
    let timing = headers.get_mut("server-timing").expect("the answer contains its duration");
    let (source, took) = timing.split_once(";dur=").unwrap();
    assert!(took.parse::<f64>().unwrap() >= 0.0, "{took} is a number of milliseconds");
    *timing = source.to_owned();
    headers
}

#[tokio::test(flavor = "multi_thread")]
async fn get_head_and_304_have_the_same_headers() {
    let env = TestEnvironment::new(shared()).await;
    let service = env.start(&[]).await;

    env.send(None, None, Some(SAMPLE.as_bytes())).await;
    env.wait_until_drained().await;
    let ask = |method: Method, tag: Option<&str>| {
        let request = service.http.request(method, service.at(ORDER));
        let request = request.header("accept", "application/json");
        match tag {
            Some(tag) => request.header("if-none-match", tag),
            None => request,
        }
        .send()
    };

    let whole = ask(Method::GET, None).await.unwrap();
    assert_eq!(whole.status(), 200);

    let whole_headers = stable_headers(&whole);
    let body = whole.bytes().await.unwrap();
    let tag = whole_headers["etag"].clone();
    // The tag depends on the bytes alone, so replicas agree on it.
    let hash = twox_hash::XxHash3_128::oneshot(&body);

    assert_eq!(tag, format!("\"{hash:032x}\""));

    let length = body.len().to_string();
    let mut wanted: BTreeMap<String, String> = [
        ("cache-control", "private, no-cache"),
        ("content-length", &length),
        ("content-type", "application/json"),
        ("etag", &tag),
        ("server-timing", "cache;desc=\"memory\""),
        ("vary", "Accept"),
        ("x-cache", "memory"),
        ("x-content-type-options", "nosniff"),
        ("x-order-version", "1"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into();
    assert_eq!(whole_headers, wanted);

    let head = ask(Method::HEAD, None).await.unwrap();
    assert_eq!((head.status().as_u16(), stable_headers(&head)), (200, wanted.clone()));
    assert!(head.bytes().await.unwrap().is_empty());

    // With one of several tags, a weak tag or any tag, an unchanged order is not sent again.
    wanted.remove("content-length");
    wanted.remove("content-type");
    let (several, weak) = (format!("\"other\", {tag}"), format!("W/{tag}"));

    for (method, tag) in [
        (Method::GET, &*tag),
        (Method::GET, &several),
        (Method::GET, &weak),
        (Method::GET, "*"),
        (Method::HEAD, &tag),
    ] {
        let unchanged = ask(method, Some(tag)).await.unwrap();
        let mut headers = stable_headers(&unchanged);
        // The length of a body that is not sent is optional.
        headers.remove("content-length");
        assert_eq!((unchanged.status().as_u16(), headers), (304, wanted.clone()));
        assert!(unchanged.bytes().await.unwrap().is_empty());
    }

    let other = ask(Method::GET, Some("\"other\"")).await.unwrap();
    assert_eq!((other.status().as_u16(), other.bytes().await.unwrap()), (200, body));
    service.stop().await.unwrap();
}
