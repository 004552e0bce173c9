//! Errors as RFC 9457 `application/problem+json`. The cause goes to the log, never to the client.

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde::{Deserialize, Serialize};

/// Seconds after which to ask again what could not be answered now.
const RETRY_AFTER: u16 = 1;

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
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Violation {
    /// Where, as a JSON pointer (RFC 6901); `""` is the whole.
    pub pointer: String,
    /// Which rule: stable.
    pub code: String,
    /// The rule in words. Never repeats the value.
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

    /// Where `/docs` tells of this kind.
    #[must_use]
    pub fn anchor(&self) -> &'static str {
        self.kind.split_once('#').map_or("", |(_, anchor)| anchor)
    }
}

impl Problem {
    /// Is it worth asking again in a moment?
    #[must_use]
    pub fn is_passing(&self) -> bool {
        self.status == StatusCode::SERVICE_UNAVAILABLE.as_u16()
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let passing = self.is_passing();
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_vec(&self).unwrap_or_else(|_| b"{}".to_vec());
        let mut response = (
            status,
            [
                (header::CONTENT_TYPE, "application/problem+json"),
                (header::CACHE_CONTROL, "no-store"),
            ],
            body,
        )
            .into_response();
        if passing {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(RETRY_AFTER));
        }
        response
    }
}
