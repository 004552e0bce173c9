//! Health and metrics.

use std::sync::atomic::Ordering;

use axum::{
    extract::State as Extract,
    response::{IntoResponse, Response},
};
use http::{StatusCode, header};

use super::{State, problems};

/// Alive: the process answers.
pub(super) async fn livez() -> &'static str {
    "alive\n"
}

/// Ready once warm, until it drains. An outage of a dependency does not take a replica out of
/// service that still serves from its cache.
pub(super) async fn readyz(Extract(state): Extract<State>) -> Response {
    if state.shutdown.is_cancelled() {
        (StatusCode::SERVICE_UNAVAILABLE, "draining\n").into_response()
    } else if state.ready.load(Ordering::Acquire) {
        "ready\n".into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "warming up\n").into_response()
    }
}

/// Prometheus.
pub(super) async fn metrics(Extract(state): Extract<State>) -> Response {
    state.lookup.cache().size();
    let mut text = String::new();
    if prometheus_client::encoding::text::encode(&mut text, &state.registry).is_err() {
        return problems::internal().into_response();
    }
    ([(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text)
        .into_response()
}
