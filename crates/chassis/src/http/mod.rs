//! The HTTP of every service: metrics, refusals, limits, health, and the problems that any call may
//! meet. The calls are in the services.

pub mod health;
pub mod limits;
mod observe;
mod origin;
pub mod paging;
mod parameters;
pub mod problem;
pub mod problems;
pub mod serve;

use axum::{Router, extract::DefaultBodyLimit, middleware, response::IntoResponse};
use http::{Extensions, HeaderMap, StatusCode, Version, header};
use tower_http::{
    catch_panic::CatchPanicLayer,
    compression::{
        CompressionLayer,
        predicate::{NotForContentType, Predicate, SizeAbove},
    },
};

pub use self::{
    observe::{HttpMetrics, Series},
    origin::{readable_from, web_address},
    parameters::{Id, Parameters},
};

/// The largest request, in MiB.
const MAX_BODY_MIB: usize = 16;
/// Smaller answers fit into one packet anyway.
const COMPRESSED_FROM_BYTES: u64 = 1_024;

/// Adds to all routes of a service: metrics, refusals, limits and compression. To be called after
/// the last route is added.
pub fn finish<S: Clone + Send + Sync + 'static>(
    router: Router<S>,
    metrics: HttpMetrics,
) -> Router<S> {
    router
        .method_not_allowed_fallback(problems::NO_SUCH_METHOD)
        .layer(
            CompressionLayer::new().gzip(true).compress_when(
                SizeAbove::new(COMPRESSED_FROM_BYTES)
                    .and(NotForContentType::SSE)
                    .and(has_no_strong_etag),
            ),
        )
        .layer(middleware::from_fn_with_state(metrics, observe::observe))
        .layer(DefaultBodyLimit::max(MAX_BODY_MIB << 20))
        .layer(CatchPanicLayer::custom(|_| problems::INTERNAL.into_response()))
}

/// A strong ETag stands for exactly these bytes, so they are not compressed.
fn has_no_strong_etag(_: StatusCode, _: Version, headers: &HeaderMap, _: &Extensions) -> bool {
    headers.get(header::ETAG).is_none_or(|tag| tag.as_bytes().starts_with(b"W/"))
}

/// Escapes any text as one segment of a path, or as one value of a query.
#[must_use]
pub fn path_segment(text: &str) -> String {
    use std::fmt::Write;

    let mut path = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~:".contains(&byte) {
            path.push(char::from(byte));
        } else {
            write!(path, "%{byte:02X}").expect("writing to a String does not fail");
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_text_becomes_one_segment_of_a_path() {
        assert_eq!(path_segment("b563feb7b2b84b6test"), "b563feb7b2b84b6test");
        assert_eq!(path_segment("a/b?c#d%e \"'<&"), "a%2Fb%3Fc%23d%25e%20%22%27%3C%26");
        assert_eq!(path_segment("ж"), "%D0%B6");
        assert_eq!(path_segment("orders:3:18204"), "orders:3:18204");
    }
}
