//! HTTP, for all services: serving, limits, metrics, refusals, health, and the problems that any
//! call may answer with. The calls are in the services.
//!
//! ```text
//! connection ─▶ connections, limits ─▶ serve: site ─▶ fast path of the service
//!                                              └────▶ router: observe, origin ─▶ a call
//! ```

pub mod actor;
mod config;
mod connections;
mod etag;
mod event_stream;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
mod head;
pub mod health;
pub mod limits;
mod lists;
mod observe;
mod origin;
pub mod paging;
mod parameters;
pub mod problem;
pub mod problems;
pub mod serve;
mod site;
mod wait;

use axum::{Router, middleware, response::IntoResponse};
use http::{Extensions, HeaderMap, StatusCode, Version, header};
use tower_http::{
    catch_panic::CatchPanicLayer,
    compression::{
        CompressionLayer,
        predicate::{NotForContentType, Predicate, SizeAbove},
    },
};

pub use self::{
    config::HttpConfig,
    connections::{StreamPlace, Streams},
    etag::is_unchanged,
    event_stream::event_stream,
    lists::{Lists, limit_lists},
    observe::{Guard, HttpMetrics, Series},
    origin::{readable_from, web_address},
    parameters::{BodyWithin, Id, Parameters},
    site::Site,
    wait::WaitQuery,
};

/// The smallest answer that is compressed: a smaller one fits into one packet anyway.
const MIN_COMPRESSED_BYTES: u64 = 1_024;

/// Adds metrics, refusals and compression to all routes of a service. Must be called after
/// the last route is added.
pub fn finish<S: Clone + Send + Sync + 'static>(router: Router<S>, guard: Guard) -> Router<S> {
    // A layer wraps the layers before it. The panic layer is outermost, so that it also catches a
    // panic of the others.
    router
        .method_not_allowed_fallback(problems::NO_SUCH_METHOD)
        .layer(
            CompressionLayer::new().gzip(true).compress_when(
                SizeAbove::new(MIN_COMPRESSED_BYTES)
                    .and(NotForContentType::SSE)
                    .and(has_no_strong_etag),
            ),
        )
        .layer(middleware::from_fn_with_state(guard, observe::observe))
        .layer(CatchPanicLayer::custom(|_| problems::INTERNAL.into_response()))
}

/// Returns true if the answer may be compressed: a strong ETag identifies the exact bytes of an
/// answer.
fn has_no_strong_etag(_: StatusCode, _: Version, headers: &HeaderMap, _: &Extensions) -> bool {
    headers.get(header::ETAG).is_none_or(|tag| tag.as_bytes().starts_with(b"W/"))
}

/// Escapes a text as one segment of a path or as one value of a query.
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
