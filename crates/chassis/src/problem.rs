//! Errors as RFC 9457 `application/problem+json`. The cause goes to the log, never to the client.

use axum::response::{IntoResponse, Response};
use http::{StatusCode, header};
use serde::Serialize;

/// What a client is told when a call fails.
#[derive(Debug, Clone, Serialize)]
pub struct Problem {
    /// A stable URI reference that names the kind of problem.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// The kind in words, always the same.
    pub title: &'static str,
    /// The HTTP status.
    pub status: u16,
    /// What happened this time, and what to do.
    pub detail: String,
    /// The same text as `detail`, for simple clients.
    pub error: String,
    /// Each single violation.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<Violation>,
}

/// One violation.
#[derive(Debug, Clone, Serialize)]
pub struct Violation {
    /// Where, as a JSON pointer.
    pub pointer: String,
    /// Which rule.
    pub code: String,
    /// The rule in words.
    pub message: String,
}

impl Problem {
    /// A problem without single violations.
    #[must_use]
    pub fn new(
        status: StatusCode,
        kind: &'static str,
        title: &'static str,
        detail: impl Into<String>,
    ) -> Self {
        let detail = detail.into();
        Self {
            kind,
            title,
            status: status.as_u16(),
            error: detail.clone(),
            detail,
            errors: Vec::new(),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_vec(&self).unwrap_or_else(|_| b"{}".to_vec());
        (
            status,
            [
                (header::CONTENT_TYPE, "application/problem+json"),
                (header::CACHE_CONTROL, "no-store"),
            ],
            body,
        )
            .into_response()
    }
}
