//! The board's page, and what belongs to it.

use std::time::Duration;

use axum::{
    extract::State as Extract,
    response::{IntoResponse, Response},
};
use chassis::{
    http::{Id, Parameters, problems},
    web::Reader,
};
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use time::{OffsetDateTime, serde::rfc3339};

use super::{State, problems::all as all_problems};
use crate::pages::{self, ASSETS, Frame};

/// Rather than wait longer for the database, the page says that it is silent.
const PATIENCE: Duration = Duration::from_secs(5);

fn frame<'a>(state: &'a State, reader: &'a Reader) -> Frame<'a> {
    Frame { shared: reader.frame(&ASSETS), orders_url: &state.orders_url }
}

/// What to show.
#[derive(Deserialize)]
pub(super) struct Wanted {
    /// As it was then, or later: what `/live` has told of, which is at hand.
    #[serde(default, with = "rfc3339::option")]
    at: Option<OffsetDateTime>,
}

/// `GET /`
pub(super) async fn home(
    Extract(state): Extract<State>,
    Parameters(wanted): Parameters<Wanted>,
    reader: Reader,
) -> Response {
    let frame = frame(&state, &reader);
    match tokio::time::timeout(PATIENCE, state.board.show(&state.pool, wanted.at)).await {
        Ok(Ok(board)) => reader.send(StatusCode::OK, pages::board(frame, &board)),
        Ok(Err(error)) => {
            tracing::warn!("showing the board: {error}");
            reader.send(StatusCode::SERVICE_UNAVAILABLE, pages::trouble(frame))
        }
        Err(_) => reader.send(StatusCode::SERVICE_UNAVAILABLE, pages::trouble(frame)),
    }
}

/// `GET /docs`
pub(super) async fn docs(Extract(state): Extract<State>, reader: Reader) -> Response {
    reader.send(StatusCode::OK, pages::docs(frame(&state, &reader), &all_problems()))
}

/// `GET /openapi.json`
pub(super) async fn openapi() -> Response {
    chassis::web::docs::openapi(pages::OPENAPI)
}

/// `GET /assets/…`
pub(super) async fn asset(Id(name): Id, headers: HeaderMap) -> Response {
    ASSETS.answer(&name, &headers)
}

/// What is at no address.
pub(super) async fn nowhere(Extract(state): Extract<State>, reader: Reader) -> Response {
    if !reader.wants_page() {
        return problems::no_such_page().into_response();
    }
    reader.send(StatusCode::NOT_FOUND, pages::no_page(frame(&state, &reader)))
}
