//! The order service over HTTP. It reads from the cache and the database, and writes only to Kafka.

mod health;
mod live;
mod order;
mod orders;
mod page;
mod problems;
mod rejected;

use std::{
    sync::{Arc, atomic::AtomicBool},
    time::{Duration, Instant},
};

use ::http::{HeaderValue, header};
use axum::{
    Router,
    extract::{DefaultBodyLimit, MatchedPath, Request},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use chassis::producer::Producer;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{
        family::Family,
        histogram::{Histogram, exponential_buckets},
    },
    registry::Registry,
};
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;
use tower_http::{catch_panic::CatchPanicLayer, timeout::RequestBodyTimeoutLayer};

use crate::{feed::Feed, lookup::Lookup, publish::Topics};

/// The largest request: an array of orders.
const MAX_BODY_BYTES: usize = 16 << 20;
/// The longest pause within a request's body.
const BODY_TIMEOUT: Duration = Duration::from_secs(20);

/// What the handlers need.
#[derive(Clone)]
pub(crate) struct State {
    pub(crate) lookup: Arc<Lookup>,
    pub(crate) pool: PgPool,
    pub(crate) producer: Producer,
    pub(crate) topics: Arc<Topics>,
    pub(crate) feed: Arc<Feed>,
    pub(crate) ready: Arc<AtomicBool>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) metrics: Metrics,
    pub(crate) shutdown: CancellationToken,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Served {
    http_request_method: String,
    http_route: String,
    http_response_status_code: u16,
}

/// What the HTTP layer counts.
#[derive(Debug, Clone)]
pub(crate) struct Metrics {
    durations: Family<Served, Histogram>,
}

impl Metrics {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let durations = Family::<Served, Histogram>::new_with_constructor(|| {
            Histogram::new(exponential_buckets(0.000_02, 2.5, 15))
        });
        registry.register(
            "http_server_request_duration_seconds",
            "From a request's head to its answer's, seconds",
            durations.clone(),
        );
        Self { durations }
    }
}

/// All routes.
pub(crate) fn router(state: State) -> Router {
    let metrics = state.metrics.clone();
    Router::new()
        .route("/", get(page::home))
        .route("/docs", get(page::docs))
        .route("/openapi.json", get(page::openapi))
        .route("/assets/{name}", get(page::asset))
        .route("/order/{order_uid}", get(order::get))
        .route("/order", post(order::post))
        .route("/orders", get(orders::list))
        .route("/rejected", get(rejected::list))
        .route("/rejected/{id}", get(rejected::get))
        .route("/rejected/{id}/replay", post(rejected::replay))
        .route("/live", get(live::live))
        .route("/livez", get(health::livez))
        .route("/readyz", get(health::readyz))
        .route("/metrics", get(health::metrics))
        .fallback(page::nowhere)
        .method_not_allowed_fallback(problems::no_such_method)
        .with_state(state)
        .layer(middleware::from_fn(move |request, next| observe(metrics.clone(), request, next)))
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .layer(RequestBodyTimeoutLayer::new(BODY_TIMEOUT))
        .layer(CatchPanicLayer::custom(|_| problems::internal().into_response()))
}

async fn observe(metrics: Metrics, request: Request, next: Next) -> Response {
    let started = Instant::now();
    let method = request.method().as_str().to_owned();
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or("unmatched", MatchedPath::as_str)
        .to_owned();
    let mut response = if is_forged(&request) {
        problems::from_elsewhere().into_response()
    } else {
        next.run(request).await
    };
    response
        .headers_mut()
        .insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    let served = Served {
        http_request_method: method,
        http_route: route,
        http_response_status_code: response.status().as_u16(),
    };
    metrics.durations.get_or_create(&served).observe(started.elapsed().as_secs_f64());
    response
}

/// A browser says when a page of another site has it send something: no such page has business here.
fn is_forged(request: &Request) -> bool {
    !request.method().is_safe()
        && request.headers().get("sec-fetch-site").is_some_and(|site| site == "cross-site")
}
