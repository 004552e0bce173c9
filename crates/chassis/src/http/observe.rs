//! The middleware that counts each request, refuses forged ones, and completes the headers of the
//! answers. It does not log requests.
//!
//! The labels of the metrics have a bounded number of values, and no label is allocated for a
//! request.

use std::{
    fmt,
    hash::{Hash, Hasher},
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    extract::{MatchedPath, Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use hyper::body::Body as _;
use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder},
    metrics::{
        counter::Counter,
        family::Family,
        histogram::{Histogram, exponential_buckets},
    },
};

use super::{
    problem::Problem,
    problems,
    site::{Site, is_answered_under_any_name},
};

crate::metrics! {
    pub struct HttpMetrics {
        /// Seconds from the head of a request until the head of its answer is ready
        durations: Family<Served, Histogram> = "http_server_request_duration_seconds"
            from Family::new_with_constructor(|| {
                Histogram::new(exponential_buckets(0.000_02, 2.5, 15))
            }),
        /// Connections without a request that were closed near the limit of connections
        closed: Counter = "waybill_http_connections_closed",
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

/// Refuses requests before and in the router, and counts all of them.
#[derive(Debug, Clone)]
pub struct Guard {
    site: Arc<Site>,
    metrics: HttpMetrics,
}

impl Guard {
    #[must_use]
    pub fn new(site: Site, metrics: HttpMetrics) -> Self {
        Self { site: Arc::new(site), metrics }
    }

    pub(super) fn closed_connections(&self) -> Counter {
        self.metrics.closed.clone()
    }

    /// Returns the refusal of a request that is addressed to another host, or that came over a
    /// connection beyond the limit. Health and metrics are never refused.
    pub(super) fn refuse<B>(
        &self,
        request: &http::Request<B>,
        is_reserved: bool,
    ) -> Option<Response> {
        let problem = if !self.site.answers(request) {
            problems::UNKNOWN_HOST
        } else if is_reserved && !is_answered_under_any_name(request.uri().path()) {
            problems::TOO_MANY_CONNECTIONS
        } else {
            return None;
        };
        let mut response = problem.into_response();
        complete(response.headers_mut());
        let method = method_label(request.method());
        self.metrics.count(method, Route::Named("refused"), response.status(), Duration::ZERO);
        Some(response)
    }
}

pub(super) async fn observe(
    State(guard): State<Guard>,
    mut request: Request,
    next: Next,
) -> Response {
    let started = Instant::now();
    let method = method_label(request.method());
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or(Route::Named("unmatched"), |path| Route::Matched(path.clone()));
    accept_identity(request.headers_mut());
    let checked = if request.method().is_safe() {
        Ok(request)
    } else if guard.site.is_forged(&request) {
        Err(problems::CROSS_ORIGIN.problem())
    } else {
        with_readable_body(request).await
    };
    let mut response = match checked {
        Ok(request) => next.run(request).await,
        Err(problem) => problem.into_response(),
    };
    complete(response.headers_mut());
    guard.metrics.count(method, route, response.status(), started.elapsed());
    response
}

/// Makes an answer without compression acceptable, with the lowest weight. The compression would
/// otherwise answer 406 to `*;q=0`, after the call has been carried out.
fn accept_identity(headers: &mut HeaderMap) {
    let accepted: Vec<_> = headers.get_all(header::ACCEPT_ENCODING).iter().cloned().collect();
    if !accepted.is_empty() {
        // First, because the first mention of an encoding counts.
        let identity = HeaderValue::from_static("identity;q=0.001");
        headers.insert(header::ACCEPT_ENCODING, identity);
        for accepted in accepted {
            headers.append(header::ACCEPT_ENCODING, accepted);
        }
    }
}

/// Refuses a body that is compressed, or that is not empty and not declared as JSON. A page of
/// another origin may send only other types without asking first.
async fn with_readable_body(request: Request) -> Result<Request, Problem> {
    let encoding = request.headers().get(header::CONTENT_ENCODING);
    if encoding.is_some_and(|encoding| !encoding.as_bytes().eq_ignore_ascii_case(b"identity")) {
        return Err(problems::COMPRESSED_BODY.problem());
    }
    if request.body().is_end_stream() || is_json(request.headers()) {
        return Ok(request);
    }
    let (parts, body) = request.into_parts();
    // Only the body itself shows whether one of unknown length is empty.
    let is_empty = body.size_hint().lower() == 0 && axum::body::to_bytes(body, 0).await.is_ok();
    if is_empty {
        Ok(Request::from_parts(parts, axum::body::Body::empty()))
    } else {
        Err(problems::NOT_JSON.problem())
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let mut types = headers.get_all(header::CONTENT_TYPE).iter().map(|value| {
        let essence = value.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default();
        essence.trim_ascii().eq_ignore_ascii_case(b"application/json")
    });
    types.next() == Some(true) && types.all(|is_json| is_json)
}

/// Completes the headers of an answer. Answers contain personal data, so no cache may store one
/// without a `Cache-Control` of its own. JSON gets `Vary`, because the same address may answer with
/// a page to another `Accept`.
fn complete(headers: &mut HeaderMap) {
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    let no_store = HeaderValue::from_static("no-store");
    headers.entry(header::CACHE_CONTROL).or_insert(no_store);
    let kind = headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
    let is_json = kind.is_some_and(|kind| {
        kind.starts_with(b"application/json") || kind.starts_with(b"application/problem+json")
    });
    let varies = |value: &HeaderValue| {
        let mut names = value.as_bytes().split(|byte| *byte == b',');
        names.any(|name| name.trim_ascii().eq_ignore_ascii_case(b"accept"))
    };
    if is_json && !headers.get_all(header::VARY).iter().any(varies) {
        headers.append(header::VARY, HeaderValue::from_static("Accept"));
    }
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
