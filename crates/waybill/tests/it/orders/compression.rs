//! Compression of answers: pages are compressed, orders and the live feed are not.

use reqwest::{Response, header};
use testkit::{Service, TestEnvironment, order_json::SAMPLE, shared};

/// The limit for a page with its style, scripts and icon, compressed.
const MAX_PAGE_BYTES: usize = 60_000;

#[tokio::test(flavor = "multi_thread")]
async fn pages_are_compressed_but_orders_and_the_live_feed_are_not() {
    let env = TestEnvironment::new(shared()).await;
    env.send(None, None, Some(SAMPLE.as_bytes())).await;
    let service = env.start(&[]).await;
    env.wait_until_drained().await;

    let page = get_accepting(&service, "/order/b563feb7b2b84b6test", "text/html").await;
    assert!(is_compressed(&page));

    let mut bytes = page.bytes().await.unwrap().len();
    let plain = service.http.get(service.at("/docs")).header(header::ACCEPT, "text/html");
    let plain = plain.send().await.unwrap().text().await.unwrap();
    let links = plain.split('"').filter(|text| text.starts_with("/assets/"));
    let links: std::collections::BTreeSet<&str> = links.collect();
    assert!(links.len() > 3, "{links:?}");

    for link in links {
        let asset = get_accepting(&service, link, "*/*").await;
        assert_eq!(asset.status(), 200, "{link}");
        bytes += asset.bytes().await.unwrap().len();
    }
    assert!(bytes < MAX_PAGE_BYTES, "{bytes} bytes");
    assert!(is_compressed(&get_accepting(&service, "/openapi.json", "application/json").await));

    let order = get_accepting(&service, "/order/b563feb7b2b84b6test", "application/json").await;
    assert!(!is_compressed(&order), "its strong ETag is valid only for these bytes");
    assert!(order.headers()[header::ETAG].to_str().unwrap().starts_with('"'));
    assert!(!is_compressed(&get_accepting(&service, "/live", "text/event-stream").await));
    assert!(
        !is_compressed(&get_accepting(&service, "/livez", "*/*").await),
        "too small to compress"
    );
    service.stop().await.unwrap();
}

async fn get_accepting(service: &Service, path: &str, accept: &str) -> Response {
    let request = service.http.get(service.at(path)).header(header::ACCEPT, accept);
    request.header(header::ACCEPT_ENCODING, "gzip").send().await.unwrap()
}

fn is_compressed(response: &Response) -> bool {
    response.headers().get(header::CONTENT_ENCODING).is_some_and(|encoding| encoding == "gzip")
}
