//! Error answers as RFC 9457 `application/problem+json`. The cause of an error is written to the
//! log and never sent to the client.

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde::{Deserialize, Serialize};

/// The value of `Retry-After` in a 503.
const RETRY_AFTER_SECONDS: u16 = 1;

/// A kind of problem. A service declares its kinds with [`problem_kinds`](crate::problem_kinds).
#[derive(Debug, Clone, Copy)]
pub struct ProblemKind {
    /// A stable URI reference: the kind's place on the page `/docs`.
    pub uri: &'static str,
    pub title: &'static str,
    pub status: u16,
    /// The detail unless the call gives a more precise one; also the example on `/docs`.
    pub detail: &'static str,
}

impl ProblemKind {
    #[must_use]
    pub fn problem(self) -> Problem {
        self.with(self.detail)
    }

    #[must_use]
    pub fn with(self, detail: impl Into<String>) -> Problem {
        let detail = detail.into();
        Problem {
            uri: self.uri,
            title: self.title,
            status: self.status,
            error: detail.clone(),
            detail,
            errors: Vec::new(),
        }
    }

    /// Returns a problem that lists all violations. Its detail gives their number and the first one.
    #[must_use]
    pub fn with_violations(self, errors: Vec<Violation>) -> Problem {
        let detail = match errors.as_slice() {
            [] => self.detail.to_owned(),
            [one] => format!("1 violation: {} {}", one.pointer, one.message),
            [first, ..] => {
                let (count, Violation { pointer, message, .. }) = (errors.len(), first);
                format!("{count} violations, the first: {pointer} {message}")
            }
        };
        Problem { errors, ..self.with(detail) }
    }

    /// The element of the page `/docs` that describes this kind.
    #[must_use]
    pub fn anchor(&self) -> &'static str {
        self.uri.split_once('#').map_or("", |(_, anchor)| anchor)
    }
}

/// Declares kinds of problem as constants, and `KINDS`, the list of all of them that `/docs` shows.
/// One macro declares both, so that no kind can be missing from the list.
#[macro_export]
macro_rules! problem_kinds {
    ($($visibility:vis $name:ident =
        $status:literal, $uri:literal, $title:literal, $detail:literal;)+) => {
        $($visibility const $name: $crate::http::problem::ProblemKind =
            $crate::http::problem::ProblemKind {
                uri: $uri,
                title: $title,
                status: $status,
                detail: $detail,
            };)+
        const KINDS: &[$crate::http::problem::ProblemKind] = &[$($name),+];
    };
}

/// The answer to a call that failed.
#[derive(Debug, Clone, Serialize)]
pub struct Problem {
    #[serde(rename = "type")]
    pub uri: &'static str,
    pub title: &'static str,
    pub status: u16,
    /// The cause of this failure, and what the client can do.
    pub detail: String,
    /// The same text as `detail`, for simple clients.
    pub error: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<Violation>,
}

/// A rule that a request or a record breaks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Violation {
    /// The place, as a JSON pointer (RFC 6901); `""` is the whole document.
    pub pointer: String,
    /// The stable code of the rule.
    pub code: String,
    /// The rule in words. Never repeats the value.
    pub message: String,
}

impl Violation {
    /// Returns the number of bytes of its texts.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.pointer.len() + self.code.len() + self.message.len()
    }
}

impl Problem {
    /// True if the same request may succeed in a moment.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        self.status == StatusCode::SERVICE_UNAVAILABLE.as_u16()
    }
}

impl IntoResponse for ProblemKind {
    fn into_response(self) -> Response {
        self.problem().into_response()
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let is_transient = self.is_transient();
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
        if is_transient {
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, HeaderValue::from(RETRY_AFTER_SECONDS));
        }
        response
    }
}
