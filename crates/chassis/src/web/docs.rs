//! The API's documentation: the OpenAPI document, and the list of its calls for readers without
//! JavaScript.

use axum::response::{IntoResponse, Response};
use http::header;
use serde_json::Value;

#[derive(Debug)]
pub struct Call {
    pub method: String,
    pub path: String,
    pub summary: String,
}

/// Lists the calls of an OpenAPI document.
#[must_use]
pub fn calls(openapi: &str) -> Vec<Call> {
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

/// The answer to `GET /openapi.json`.
#[must_use]
pub fn openapi(document: &'static str) -> Response {
    let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-cache")];
    (headers, document).into_response()
}
