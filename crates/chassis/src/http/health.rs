//! Liveness, readiness and metrics. Readiness does not depend on PostgreSQL, Kafka or Redis once
//! the service is warm.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use axum::{
    Router,
    extract::State,
    response::{IntoResponse, Response},
    routing::get,
};
use http::{StatusCode, header};
use prometheus_client::registry::Registry;
use tokio_util::sync::CancellationToken;

use super::problems;
use crate::process::blocked::Blocked;

#[derive(Debug, Clone)]
pub struct Health {
    /// Set once, when the service is warm or its warm-up takes too long.
    pub ready: Arc<AtomicBool>,
    pub registry: Arc<Registry>,
    /// Shown by `/readyz`.
    pub blocked: Blocked,
    /// Cancelled when the shutdown begins.
    pub shutdown: CancellationToken,
}

impl Health {
    /// Returns the routes `/livez`, `/readyz` and `/metrics`.
    pub fn routes<S>(self) -> Router<S> {
        Router::new()
            .route("/livez", get(livez))
            .route("/readyz", get(readyz))
            .route("/metrics", get(metrics))
            .with_state(self)
    }
}

async fn livez() -> &'static str {
    "alive\n"
}

/// Answers 200 from the end of the warm-up until the shutdown begins. A replica stays ready while a
/// dependency is unreachable, because other replicas would not help: they use the same dependency.
/// The order service still serves cached orders. The text lists the reasons why parts of the
/// service are blocked.
async fn readyz(State(health): State<Health>) -> Response {
    // Checked first: from the shutdown on, a load balancer must send requests to other replicas.
    if health.shutdown.is_cancelled() {
        (StatusCode::SERVICE_UNAVAILABLE, "draining\n").into_response()
    } else if health.ready.load(Ordering::Acquire) {
        let mut text = "ready\n".to_owned();
        for reason in health.blocked.reasons() {
            text.push_str("blocked: ");
            text.push_str(&reason);
            text.push('\n');
        }
        text.into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "warming up\n").into_response()
    }
}

async fn metrics(State(health): State<Health>) -> Response {
    let mut text = String::new();
    if prometheus_client::encoding::text::encode(&mut text, &health.registry).is_err() {
        return problems::INTERNAL.into_response();
    }
    ([(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text)
        .into_response()
}
