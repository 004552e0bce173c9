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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_call_of_the_service_is_documented() {
        let mut calls: Vec<_> =
            CALLS.iter().map(|call| format!("{} {}", call.method, call.path)).collect();
        calls.sort();
        assert_eq!(
            calls,
            [
                "GET /live",
                "GET /livez",
                "GET /metrics",
                "GET /order/{order_uid}",
                "GET /orders",
                "GET /readyz",
                "GET /rejected",
                "GET /rejected/{id}",
                "HEAD /order/{order_uid}",
                "POST /order",
                "POST /rejected/{id}/replay",
            ]
        );
    }

    #[test]
    fn every_reference_leads_somewhere() {
        fn check(value: &Value, document: &Value, seen: &mut usize) {
            match value {
                Value::Object(all) => {
                    if let Some(reference) = all.get("$ref").and_then(Value::as_str) {
                        let pointer = reference.strip_prefix('#').unwrap();
                        assert!(document.pointer(pointer).is_some(), "{reference}");
                        *seen += 1;
                    }
                    all.values().for_each(|value| check(value, document, seen));
                }
                Value::Array(all) => all.iter().for_each(|value| check(value, document, seen)),
                _ => {}
            }
        }
        let document: Value = serde_json::from_str(OPENAPI).unwrap();
        let mut seen = 0;
        check(&document, &document, &mut seen);
        assert!(seen > 30, "{seen}");
    }
}
