//! The pages of the order service: an order, the newest orders, rejected records, the charts of the
//! flow, and the API's documentation.
//!
//! A handler gathers the data of its page, through the same functions as `http` where that has the
//! same call; a function without I/O makes the HTML of it. Everything works without JavaScript:
//! the modules in `assets/` fetch these same pages and put parts of them in place; `app.js` starts
//! them. Templates escape all values.
//!
//! ```text
//! handler ─▶ http, lookup, status ─▶ Frame and values ─▶ templates/*.html ─▶ HTML
//! ```

mod barcode;
mod courier_service;
mod delivery;
mod delivery_words;
pub(crate) mod docs;
pub(crate) mod flow;
mod flow_words;
mod frame;
mod history;
pub(crate) mod home;
mod live_words;
mod messages;
pub(crate) mod order;
pub(crate) mod rejected;
pub(crate) mod rejection;
pub(crate) mod status;
mod status_words;
mod sums;
#[cfg(test)]
mod tests;
mod violation_words;
mod words;

use std::sync::LazyLock;

use askama::Template;
use axum::{
    extract::{FromRef, State},
    response::Response,
};
use chassis::{
    asset_files,
    flow::Flow,
    http::Id,
    web::{Assets, Reader},
};
use http::{HeaderMap, StatusCode};

pub(crate) use self::courier_service::CourierService;
use self::frame::Frame;
use crate::http::ApiState;

/// State of the pages' handlers.
#[derive(Clone)]
pub(crate) struct PageState {
    pub(crate) api: ApiState,
    pub(crate) courier_service: Option<CourierService>,
}

impl FromRef<PageState> for ApiState {
    fn from_ref(state: &PageState) -> Self {
        state.api.clone()
    }
}

impl FromRef<PageState> for Flow {
    fn from_ref(state: &PageState) -> Self {
        state.api.flow.clone()
    }
}

static ASSETS: LazyLock<Assets> = LazyLock::new(|| {
    Assets::with(asset_files![
        "answer.js",
        "app.js",
        "courier.js",
        "feed.js",
        "newest.js",
        "orders.css",
        "page.js",
        "paths.js",
        "rejected.js",
        "search.js",
        "status.js",
        "times.js",
    ])
});

/// `GET /assets/…`
pub(crate) async fn asset(Id(name): Id, headers: HeaderMap) -> Response {
    ASSETS.answer(&name, &headers)
}

/// Any address without a route.
pub(crate) async fn no_such_page(State(state): State<PageState>, reader: Reader) -> Response {
    let frame = Frame::load(&state, &reader).await;
    reader.send(StatusCode::NOT_FOUND, messages::no_such_page(&frame))
}

/// The place of a record on Kafka, such as `orders/3 @ 18204`.
fn position(topic: &str, partition: i32, offset: i64) -> String {
    format!("{topic}/{partition} @ {offset}")
}

fn render(page: &impl Template) -> String {
    page.render().expect("a template fails only if one of its values cannot be displayed")
}
