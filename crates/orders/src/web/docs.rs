//! The API's documentation: the OpenAPI document, and the page that a browser renders from it.

use std::sync::LazyLock;

use askama::Template;
use serde_json::Value;

use super::{Frame, render, words::Words};

/// `/openapi.json`, as it is sent.
pub(crate) const OPENAPI: &str = include_str!("openapi.json");

/// What a browser without JavaScript is shown.
struct Call {
    method: String,
    path: String,
    summary: String,
}

static CALLS: LazyLock<Vec<Call>> = LazyLock::new(calls);

/// `/docs`.
pub(crate) fn docs(frame: Frame<'_>) -> String {
    render(&DocsTemplate { w: frame.words(), f: &frame, tab: "docs", calls: &CALLS })
}

#[derive(Template)]
#[template(path = "docs.html")]
struct DocsTemplate<'a> {
    f: &'a Frame<'a>,
    w: &'static Words,
    tab: &'static str,
    calls: &'static [Call],
}

fn calls() -> Vec<Call> {
    const METHODS: [&str; 5] = ["get", "head", "post", "put", "delete"];
    let document: Value = serde_json::from_str(OPENAPI).expect("the document is JSON");
    let paths = document["paths"].as_object().expect("the document has paths");
    let mut calls = Vec::new();
    for (path, operations) in paths {
        for method in METHODS {
            if let Some(summary) = operations[method]["summary"].as_str() {
                let (method, path, summary) =
                    (method.to_uppercase(), path.clone(), summary.to_owned());
                calls.push(Call { method, path, summary });
            }
        }
    }
    calls
}
