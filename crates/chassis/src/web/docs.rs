//! The API's documentation: the OpenAPI document, and what its page lists for readers without
//! JavaScript.

use axum::response::{IntoResponse, Response};
use http::header;
use serde_json::Value;

use crate::http::problem::ProblemKind;

/// The content of `templates/docs.html`. Each service has its own template struct for it, because
/// Askama resolves `frame.html` in the crate of the struct.
#[derive(Debug)]
pub struct Docs {
    pub calls: Vec<Call>,
    pub problems: Vec<ProblemKind>,
}

#[derive(Debug)]
pub struct Call {
    pub method: String,
    pub path: String,
    pub summary: String,
}

impl Docs {
    /// Returns the documentation of a service, given its OpenAPI document and its problem types.
    #[must_use]
    pub fn new(openapi: &str, problems: Vec<ProblemKind>) -> Self {
        Self { calls: calls(openapi), problems }
    }
}

/// Lists the calls of an OpenAPI document.
fn calls(openapi: &str) -> Vec<Call> {
    const METHODS: [&str; 5] = ["get", "head", "post", "put", "delete"];
    let document: Value = serde_json::from_str(openapi).expect("the document is JSON");
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

/// Returns the answer to `GET /openapi.json`.
#[must_use]
pub fn openapi(document: &'static str) -> Response {
    let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-cache")];
    (headers, document).into_response()
}
