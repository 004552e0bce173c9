//! The courier service over HTTP: couriers, deliveries, the queue, figures, and the live board.
//!
//! A handler reads, calls one function of `store` or `statistics`, and maps the answer; whatever
//! could make a match wakes dispatch.

mod couriers;
mod deliveries;
mod form;
mod live;
pub(crate) mod live_board;
mod page;
mod problems;
mod rejected;
mod view;

use std::sync::Arc;

use axum::{
    Json, Router,
    routing::{get, head, post},
};
use chassis::{
    http::{Metrics, health::Health},
    kafka::producer::Producer,
};
use http::StatusCode;
use serde_json::{Value, json};
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

pub(crate) use self::view::FiguresView;
use crate::{delivery::DeliveryTimes, dispatch::Wake, http::live_board::LiveBoard};

/// What the handlers need.
#[derive(Clone)]
pub(crate) struct State {
    pub(crate) pool: PgPool,
    pub(crate) producer: Producer,
    pub(crate) status_topic: Arc<str>,
    pub(crate) times: DeliveryTimes,
    pub(crate) wake: Wake,
    pub(crate) board: LiveBoard,
    /// Where the order service's pages are, without a slash at the end.
    pub(crate) orders_url: Arc<str>,
    pub(crate) shutdown: CancellationToken,
}

/// All routes.
pub(crate) fn router(state: State, health: Health, metrics: Metrics) -> Router {
    let routes = Router::new()
        .route("/", get(page::home))
        .route("/docs", get(page::docs))
        .route("/openapi.json", get(page::openapi))
        .route("/assets/{name}", get(page::asset))
        .route("/couriers", get(couriers::list))
        .route("/courier", post(couriers::add).put(couriers::change))
        .route("/courier/{id}", get(couriers::get))
        .route("/courier/{id}/statistics", get(couriers::statistics))
        .route("/delivery/assign", post(deliveries::assign))
        .route("/delivery/unassign", post(deliveries::unassign))
        .route("/delivery/{order_id}", get(deliveries::get))
        .route("/queue", get(deliveries::queue))
        .route("/statistics", get(deliveries::statistics))
        .route("/rejected", get(rejected::list))
        .route("/rejected/{id}", get(rejected::get))
        .route("/rejected/{id}/replay", post(rejected::replay))
        .route("/live", get(live::live))
        .route("/ping", get(ping))
        .route("/healthcheck", head(healthcheck))
        .merge(health.routes())
        .fallback(page::nowhere);
    chassis::http::finish(routes, metrics).with_state(state)
}

/// `GET /ping`
async fn ping() -> Json<Value> {
    Json(json!({ "message": "pong" }))
}

/// `HEAD /healthcheck`
async fn healthcheck() -> StatusCode {
    StatusCode::NO_CONTENT
}
