//! The board's page, and what belongs to it.

use std::time::Duration;

use axum::{
    extract::{Path, State as Extract},
    response::{IntoResponse, Response},
};
use chassis::{http::problems, web::Reader};
use http::{HeaderMap, StatusCode};

use super::{State, problems::all as all_problems};
use crate::{
    statistics::board,
    web::{self, ASSETS, Frame},
};

/// The most couriers, and the most queued orders, on the board.
const ROWS: i64 = 200;
/// Rather than wait longer for the database, the page says that it is silent.
const PATIENCE: Duration = Duration::from_secs(5);

fn frame<'a>(state: &'a State, reader: &'a Reader) -> Frame<'a> {
    Frame { shared: reader.frame(&ASSETS), orders_url: &state.orders_url }
}

/// `GET /`
pub(super) async fn home(Extract(state): Extract<State>, reader: Reader) -> Response {
    let frame = frame(&state, &reader);
    match tokio::time::timeout(PATIENCE, board(&state.pool, ROWS, ROWS)).await {
        Ok(Ok(board)) => reader.send(StatusCode::OK, web::board(frame, &board)),
        Ok(Err(error)) => {
            tracing::warn!("showing the board: {error}");
            reader.send(StatusCode::SERVICE_UNAVAILABLE, web::trouble(frame))
        }
        Err(_) => reader.send(StatusCode::SERVICE_UNAVAILABLE, web::trouble(frame)),
    }
}

/// `GET /docs`
pub(super) async fn docs(Extract(state): Extract<State>, reader: Reader) -> Response {
    reader.send(StatusCode::OK, web::docs(frame(&state, &reader), &all_problems()))
}

/// `GET /openapi.json`
pub(super) async fn openapi() -> Response {
    chassis::web::docs::openapi(web::OPENAPI)
}

/// `GET /assets/…`
pub(super) async fn asset(Path(name): Path<String>, headers: HeaderMap) -> Response {
    ASSETS.answer(&name, &headers)
}

/// What is at no address.
pub(super) async fn nowhere(Extract(state): Extract<State>, reader: Reader) -> Response {
    if !reader.wants_page() {
        return problems::no_such_page().into_response();
    }
    reader.send(StatusCode::NOT_FOUND, web::no_page(frame(&state, &reader)))
}
