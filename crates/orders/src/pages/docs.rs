//! The API's documentation.

use std::sync::LazyLock;

use askama::Template;
use axum::{extract::State, response::Response};
use chassis::{
    http::problem::ProblemKind,
    web::{
        Reader,
        docs::{Call, calls},
    },
};
use http::StatusCode;

use super::{Frame, PageState, render, words::Words};
use crate::http::{OPENAPI, problems};

static CALLS: LazyLock<Vec<Call>> = LazyLock::new(|| calls(OPENAPI));

/// `GET /docs`
pub(crate) async fn get(State(state): State<PageState>, reader: Reader) -> Response {
    reader.send(StatusCode::OK, docs(&Frame::load(&state, &reader).await))
}

pub(super) fn docs(frame: &Frame<'_>) -> String {
    let problems = problems::kinds();
    render(&DocsTemplate { f: frame, w: frame.words(), tab: "docs", calls: &CALLS, problems })
}

#[derive(Template)]
#[template(path = "docs.html")]
struct DocsTemplate<'a> {
    f: &'a Frame<'a>,
    w: &'static Words,
    tab: &'static str,
    calls: &'static [Call],
    problems: Vec<ProblemKind>,
}
