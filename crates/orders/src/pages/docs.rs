//! The page of the API's documentation.

use std::sync::LazyLock;

use askama::Template;
use chassis::{
    http::problem::Problem,
    web::docs::{Call, calls},
};

use super::{Frame, render, words::Words};

/// `/openapi.json`, as it is sent.
pub(crate) const OPENAPI: &str = include_str!("../http/openapi.json");

static CALLS: LazyLock<Vec<Call>> = LazyLock::new(|| calls(OPENAPI));

/// `/docs`.
pub(crate) fn docs(frame: Frame<'_>, problems: &[Problem]) -> String {
    render(&DocsTemplate { w: frame.words(), f: &frame, tab: "docs", calls: &CALLS, problems })
}

#[derive(Template)]
#[template(path = "docs.html")]
struct DocsTemplate<'a> {
    f: &'a Frame<'a>,
    w: &'static Words,
    tab: &'static str,
    calls: &'static [Call],
    problems: &'a [Problem],
}
