//! The JSON API of the courier service: couriers, deliveries, the queue, statistics, the search,
//! rejected records and the live board.
//!
//! A handler parses its input, calls a function of `store` or `read`, and maps the result to a
//! response. A change that could make a match possible wakes dispatch. There is no SQL here; the
//! HTML is in [`pages`](crate::pages).

pub(crate) mod couriers;
pub(crate) mod deliveries;
mod form;
pub(crate) mod live;
pub(crate) mod live_board;
pub(crate) mod problems;
mod rejected;
pub(crate) mod search;
mod view;

use std::sync::{Arc, LazyLock};

use axum::{Json, response::Response};
use chassis::{
    flow::Flow,
    http::{Streams, actor},
    kafka::producer::Producer,
    web::docs,
};
use http::StatusCode;
use serde_json::{Value, json};
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

use self::live_board::LiveBoard;
use crate::{delivery::DeliveryTimes, dispatch::Wake};

/// The state of the API's handlers.
#[derive(Clone)]
pub(crate) struct ApiState {
    pub(crate) pool: PgPool,
    pub(crate) producer: Producer,
    pub(crate) status_topic: Arc<str>,
    pub(crate) times: DeliveryTimes,
    pub(crate) wake: Wake,
    pub(crate) board: LiveBoard,
    pub(crate) flow: Flow,
    pub(crate) streams: Streams,
    pub(crate) shutdown: CancellationToken,
}

/// The OpenAPI document of this service.
pub(crate) static OPENAPI: LazyLock<String> =
    LazyLock::new(|| docs::with_shared_parts(include_str!("openapi.json")));

/// `GET /openapi.json`
pub(crate) async fn openapi() -> Response {
    docs::openapi(&OPENAPI)
}

/// `GET /ping`
pub(crate) async fn ping() -> Json<Value> {
    Json(json!({ "message": "pong" }))
}

/// `HEAD /healthcheck`
pub(crate) async fn healthcheck() -> StatusCode {
    StatusCode::NO_CONTENT
}
