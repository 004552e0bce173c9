//! What is compressed on its way to a browser, and what never is.

use reqwest::{Response, header};
use testkit::{Service, TestEnvironment, order_json::SAMPLE, shared};

/// Page, style, scripts and icon together, as they travel.
const MAX_PAGE_BYTES: usize = 60_000;

#[tokio::test(flavor = "multi_thread")]
async fn pages_are_compressed_and_light_orders_and_the_live_feed_are_as_they_are() {
    let env = TestEnvironment::new(shared()).await;
    env.send(None, None, Some(SAMPLE.as_bytes())).await;
    let service = env.start(&[]).await;
    env.drained().await;

    let page = ask(&service, "/order/b563feb7b2b84b6test", "text/html").await;
    assert!(is_compressed(&page));
    let mut weight = page.bytes().await.unwrap().len();
    let plain = service.http.get(service.at("/docs")).header(header::ACCEPT, "text/html");
    let plain = plain.send().await.unwrap().text().await.unwrap();
    let links = plain.split('"').filter(|text| text.starts_with("/assets/"));
    let links: std::collections::BTreeSet<&str> = links.collect();
    assert!(links.len() > 3, "{links:?}");
    for link in links {
        let asset = ask(&service, link, "*/*").await;
        assert_eq!(asset.status(), 200, "{link}");
        weight += asset.bytes().await.unwrap().len();
    }
    assert!(weight < MAX_PAGE_BYTES, "{weight} bytes");
    assert!(is_compressed(&ask(&service, "/openapi.json", "application/json").await));

    let order = ask(&service, "/order/b563feb7b2b84b6test", "application/json").await;
    assert!(!is_compressed(&order), "its ETag names these very bytes");
    assert!(order.headers()[header::ETAG].to_str().unwrap().starts_with('"'));
    assert!(!is_compressed(&ask(&service, "/live", "text/event-stream").await));
    assert!(!is_compressed(&ask(&service, "/livez", "*/*").await), "too small to gain");
    service.stop().await.unwrap();
}

async fn ask(service: &Service, path: &str, accept: &str) -> Response {
    let request = service.http.get(service.at(path)).header(header::ACCEPT, accept);
    request.header(header::ACCEPT_ENCODING, "gzip").send().await.unwrap()
}

fn is_compressed(response: &Response) -> bool {
    response.headers().get(header::CONTENT_ENCODING).is_some_and(|encoding| encoding == "gzip")
}
