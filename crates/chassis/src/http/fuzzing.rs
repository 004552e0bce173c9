//! Properties of the readers of requests, for the fuzz targets: they hold for all texts that a client
//! may send.

use axum::response::Response;
use http::{HeaderMap, HeaderValue, Request, header};
use time::OffsetDateTime;

use super::{
    is_unchanged, paging,
    site::{Site, http_host},
};

/// Checks cursors of pages, and the link to the next page.
pub(crate) fn assert_cursor(text: &str) {
    // No id is empty or contains NUL, because PostgreSQL holds all of them.
    if !text.is_empty() && !text.contains('\0') {
        let written = paging::cursor(OffsetDateTime::UNIX_EPOCH, text);
        let (at, id) = paging::parse_cursor(&written).expect("a written cursor can be read");
        assert_eq!((at, id.as_str()), (OffsetDateTime::UNIX_EPOCH, text));
    }
    if let Ok((at, id)) = paging::parse_cursor(text) {
        let again = paging::parse_cursor(&paging::cursor(at, &id)).expect("it was written here");
        assert_eq!(again, (at, id));
    }
    let mut response = Response::default();
    paging::link_next(&mut response, "/orders", (50, text), &[("customer_id", Some(text))]);
    assert!(response.headers().contains_key(header::LINK));
}

/// Checks `If-None-Match`.
pub(crate) fn assert_entity_tags(text: &str) {
    const TAG: &str = "\"33a43527313619a5dd487b7fe99e16b3\"";
    if is_unchanged(&headers(text), TAG.as_bytes()) {
        assert!(text.contains(TAG) || text.contains('*'));
    }
}

/// Checks the names under which a service answers, and the origins that may change something.
pub(crate) fn assert_site(text: &str) {
    if let Ok(host) = http_host(text) {
        assert_eq!(http_host(&host).as_ref(), Ok(&host), "a host is read as itself");
    }
    let mut request = Request::new(());
    *request.headers_mut() = headers(text);
    let Some(host) = request.headers().get(header::HOST).and_then(|host| host.to_str().ok()) else {
        return;
    };
    let site = Site::default();
    // Without settings, a service answers under addresses and `localhost` only.
    if site.answers(&request) && !host.is_empty() {
        let is_name = host.to_ascii_lowercase().starts_with("localhost");
        assert!(is_name || host.contains(['.', ':']), "{host:?} is answered");
    }
    // The same text is no origin and host at once: only an origin has a scheme.
    assert!(site.is_forged(&request), "{host:?} is accepted as an origin");
}

/// Returns headers that all have this value; none if it is not the value of a header.
fn headers(text: &str) -> HeaderMap {
    let value = HeaderValue::from_str(text).ok();
    let names = [header::IF_NONE_MATCH, header::HOST, header::ORIGIN];
    value.into_iter().flat_map(|value| names.clone().map(|name| (name, value.clone()))).collect()
}
