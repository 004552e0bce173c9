//! The middleware that counts each request and refuses forged ones. It does not log requests.
//!
//! The labels of the metrics have a bounded number of values, and no label is allocated for a
//! request.

use std::{
    fmt,
    hash::{Hash, Hasher},
    time::{Duration, Instant},
};

use axum::{
    extract::{MatchedPath, Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use http::{HeaderValue, Method, StatusCode, header};
use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder},
    metrics::{
        family::Family,
        histogram::{Histogram, exponential_buckets},
    },
};

use super::problems;

crate::metrics! {
    pub struct HttpMetrics {
        /// Seconds from the head of a request until the head of its answer is ready
        durations: Family<Served, Histogram> = "http_server_request_duration_seconds"
            from Family::new_with_constructor(|| {
                Histogram::new(exponential_buckets(0.000_02, 2.5, 15))
            }),
    }
}

/// The metric of one method, route and status. It is looked up once, and not for each request.
#[derive(Debug, Clone)]
pub struct Series(Histogram);

impl Series {
    pub fn count(&self, took: Duration) {
        self.0.observe(took.as_secs_f64());
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Served {
    http_request_method: &'static str,
    http_route: Route,
    http_response_status_code: u16,
}

#[derive(Debug, Clone)]
enum Route {
    Matched(MatchedPath),
    Named(&'static str),
}

impl HttpMetrics {
    /// Returns the metric of answers that do not go through the router.
    #[must_use]
    pub fn series(&self, method: &Method, route: &'static str, status: StatusCode) -> Series {
        let served = Served {
            http_request_method: method_label(method),
            http_route: Route::Named(route),
            http_response_status_code: status.as_u16(),
        };
        Series(self.durations.get_or_create_owned(&served))
    }

    fn count(&self, method: &'static str, route: Route, status: StatusCode, took: Duration) {
        let served = Served {
            http_request_method: method,
            http_route: route,
            http_response_status_code: status.as_u16(),
        };
        self.durations.get_or_create(&served).observe(took.as_secs_f64());
    }
}

pub(super) async fn observe(
    State(metrics): State<HttpMetrics>,
    request: Request,
    next: Next,
) -> Response {
    let started = Instant::now();
    let method = method_label(request.method());
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or(Route::Named("unmatched"), |path| Route::Matched(path.clone()));
    let mut response = if is_forged(&request) {
        problems::CROSS_ORIGIN.into_response()
    } else if is_compressed(&request) {
        problems::COMPRESSED_BODY.into_response()
    } else {
        next.run(request).await
    };
    let nosniff = HeaderValue::from_static("nosniff");
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, nosniff);
    metrics.count(method, route, response.status(), started.elapsed());
    response
}

/// Returns true if the browser says that a page of another site sends this unsafe request.
fn is_forged(request: &Request) -> bool {
    !request.method().is_safe()
        && request.headers().get("sec-fetch-site").is_some_and(|site| site == "cross-site")
}

/// Returns true if the body is compressed. No call reads such a body.
fn is_compressed(request: &Request) -> bool {
    let encoding = request.headers().get(header::CONTENT_ENCODING);
    encoding.is_some_and(|encoding| !encoding.as_bytes().eq_ignore_ascii_case(b"identity"))
}

fn method_label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "_OTHER",
    }
}

impl Route {
    fn as_str(&self) -> &str {
        match self {
            Self::Matched(path) => path.as_str(),
            Self::Named(name) => name,
        }
    }
}

impl PartialEq for Route {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Route {}

impl Hash for Route {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

impl EncodeLabelValue for Route {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        self.as_str().encode(encoder)
    }
}
