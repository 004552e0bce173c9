//! The search for an order, with the newest orders beside it.

use askama::Template;
use axum::{
    extract::State,
    response::{IntoResponse, Redirect, Response},
};
use chassis::{http::Parameters, web::Reader};
use http::StatusCode;
use serde::Deserialize;

use super::{Frame, PageState, render, words::Words};
use crate::http::order_path;

#[derive(Deserialize)]
pub(crate) struct SearchQuery {
    uid: Option<String>,
}

/// `GET /`: the search, or with `?uid=` the redirect to the order's page.
pub(crate) async fn get(
    State(state): State<PageState>,
    Parameters(query): Parameters<SearchQuery>,
    reader: Reader,
) -> Response {
    if let Some(uid) = query.uid.as_deref().map(str::trim).filter(|uid| !uid.is_empty()) {
        return Redirect::to(&order_path(uid)).into_response();
    }
    reader.send(StatusCode::OK, home(&Frame::load(&state, &reader).await))
}

pub(super) fn home(frame: &Frame<'_>) -> String {
    render(&HomeTemplate { frame, words: frame.words(), tab: "orders" })
}

#[derive(Template)]
#[template(path = "home.html")]
struct HomeTemplate<'a> {
    frame: &'a Frame<'a>,
    words: &'static Words,
    tab: &'static str,
}
