//! The API's documentation: the OpenAPI document, and what its page lists for readers without
//! JavaScript.

use axum::response::{IntoResponse, Response};
use http::header;
use indexmap::IndexMap;
use serde_json::{Value, value::RawValue};

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

/// The paths and components that the OpenAPI documents of both services have.
const SHARED: &str = include_str!("openapi.json");

/// A JSON object that keeps the order of its keys, which is the order of the page.
type Object = IndexMap<String, Box<RawValue>>;

/// Returns the OpenAPI document of a service, given its own part. The shared calls come before its
/// own, and the shared components after them.
#[must_use]
pub fn with_shared_parts(own: &str) -> String {
    let (mut document, shared) = (object(own), object(SHARED));
    for (name, part) in &mut document {
        *part = match name.as_str() {
            "paths" => merge(&shared[name], part),
            "components" => merge(part, &shared[name]),
            _ => continue,
        };
    }
    serde_json::to_string(&document).expect("an object of JSON values is JSON")
}

/// Joins two objects. What both of them have must be an object, and is joined, too.
fn merge(first: &RawValue, second: &RawValue) -> Box<RawValue> {
    let mut merged = object(first.get());
    for (key, value) in object(second.get()) {
        let value = match merged.get(&key) {
            Some(first) => merge(first, &value),
            None => value,
        };
        merged.insert(key, value);
    }
    serde_json::value::to_raw_value(&merged).expect("an object of JSON values is JSON")
}

fn object(text: &str) -> Object {
    serde_json::from_str(text).expect("the documents are objects, and define each value once")
}

/// Returns the answer to `GET /openapi.json`.
#[must_use]
pub fn openapi(document: &'static str) -> Response {
    let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-cache")];
    (headers, document).into_response()
}
