//! The API's documentation.

use std::sync::LazyLock;

use askama::Template;
use axum::{extract::State, response::Response};
use chassis::web::{Reader, docs::Docs};
use http::StatusCode;

use super::{Frame, PageState, render, words::Words};
use crate::http::{OPENAPI, problems};

static DOCS: LazyLock<Docs> = LazyLock::new(|| Docs::new(&OPENAPI, problems::kinds()));

/// `GET /docs`
pub(crate) async fn get(State(state): State<PageState>, reader: Reader) -> Response {
    reader.send(StatusCode::OK, docs(&Frame::load(&state, &reader).await))
}

pub(super) fn docs(frame: &Frame<'_>) -> String {
    render(&DocsTemplate { frame, words: frame.words(), tab: "docs", docs: &DOCS })
}

#[derive(Template)]
#[template(path = "docs.html")]
struct DocsTemplate<'a> {
    frame: &'a Frame<'a>,
    words: &'static Words,
    tab: &'static str,
    docs: &'static Docs,
}
