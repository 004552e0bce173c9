//! The order service over HTTP. It reads from the cache and the database, and writes only to Kafka.

mod couriers;
mod fast_path;
mod live;
mod order;
mod orders;
mod page;
mod problems;
mod rejected;
mod status;

use std::sync::Arc;

use axum::{
    Router, middleware,
    routing::{get, post},
};
use chassis::{
    http::{Metrics, health::Health},
    kafka::producer::Producer,
};
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

pub(crate) use self::{couriers::Couriers, fast_path::Quick};
use crate::{
    ingest::publish::Topics,
    lookup::{Lookup, live_feed::Feed},
};

/// What the handlers need.
#[derive(Clone)]
pub(crate) struct State {
    pub(crate) lookup: Arc<Lookup>,
    pub(crate) pool: PgPool,
    pub(crate) producer: Producer,
    pub(crate) topics: Arc<Topics>,
    pub(crate) feed: Arc<Feed>,
    /// The courier service, if there is one to ask.
    pub(crate) couriers: Option<Couriers>,
    pub(crate) shutdown: CancellationToken,
}

/// All routes.
pub(crate) fn router(state: State, health: Health, metrics: Metrics) -> Router {
    let routes = Router::new()
        .route("/", get(page::home))
        .route("/docs", get(page::docs))
        .route("/openapi.json", get(page::openapi))
        .route("/assets/{name}", get(page::asset))
        .route("/order/{order_uid}", get(order::get))
        .route("/order/{order_uid}/status", get(status::status))
        .route("/order/{order_uid}/history", get(status::history))
        .route("/order/{order_uid}/cancel", post(status::cancel))
        .route("/order/{order_uid}/complete", post(status::complete))
        .route("/order", post(order::post))
        .route("/orders", get(orders::list))
        .route("/rejected", get(rejected::list))
        .route("/rejected/{id}", get(rejected::get))
        .route("/rejected/{id}/replay", post(rejected::replay))
        .route("/live", get(live::live))
        .merge(health.routes())
        .fallback(page::nowhere);
    let routes = match state.couriers.clone() {
        Some(couriers) => routes.layer(middleware::map_response(move |response| {
            std::future::ready(couriers.allow(response))
        })),
        None => routes,
    };
    chassis::http::finish(routes, metrics).with_state(state)
}
