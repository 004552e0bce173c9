//! The problems that any call may meet, in words. `/docs` shows one of each kind.

use axum::extract::rejection::BytesRejection;
use http::StatusCode;
use sqlx::error::ErrorKind;

use super::MAX_BODY_MIB;
use crate::{
    http::problem::Problem,
    postgres::errors::{ErrorClass, classify},
};

/// One of each kind.
#[must_use]
pub fn all() -> Vec<Problem> {
    vec![
        bad_parameter("limit", "must be a whole number"),
        malformed_id("an id is `topic:partition:offset`"),
        from_elsewhere(),
        no_such_page(),
        no_such_rejected_record(),
        no_such_method_here(),
        body_late(),
        internal(),
        database_silent(),
        kafka_silent(),
    ]
}

/// 400: this parameter does not follow its rule, such as `must be a whole number`.
#[must_use]
pub fn bad_parameter(name: &str, rule: &str) -> Problem {
    Problem::new(
        StatusCode::BAD_REQUEST,
        "/docs#bad-parameter",
        "bad parameter",
        format!("the parameter {name} {rule}"),
    )
}

/// 400: the query as a whole cannot be read.
#[must_use]
pub fn bad_query(why: impl Into<String>) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "/docs#bad-parameter", "bad parameter", why)
}

/// 400: this is not such an id.
#[must_use]
pub fn malformed_id(rule: impl Into<String>) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "/docs#malformed-id", "malformed id", rule)
}

/// What PostgreSQL has made of a call that was attempted: 400 if it refuses a value, such as a text
/// with a NUL, whatever its tables hold; else 503, and the cause is logged.
#[must_use]
pub fn of_database(attempted: &str, error: &sqlx::Error) -> Problem {
    let refused = error.as_database_error().filter(|_| classify(error) == ErrorClass::Permanent);
    if refused.is_some_and(|error| error.kind() == ErrorKind::Other) {
        return bad_query("a parameter has a value that no stored one can have, such as a NUL");
    }
    tracing::warn!("{attempted}: {error}");
    database_silent()
}

/// 503: PostgreSQL does not answer.
#[must_use]
pub fn database_silent() -> Problem {
    Problem::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "/docs#database-silent",
        "database silent",
        "this needs the database, which does not answer; ask again in a moment",
    )
}

/// 503: Kafka has not confirmed in time.
#[must_use]
pub fn kafka_silent() -> Problem {
    Problem::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "/docs#kafka-silent",
        "Kafka silent",
        "Kafka has not confirmed the record; sending it again is safe",
    )
}

/// 413: the body was too large; 408: it did not come in time.
#[must_use]
pub fn body_unreadable(rejection: &BytesRejection) -> Problem {
    if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
        let detail = format!("the body is larger than {MAX_BODY_MIB} MiB");
        return body_not_read(StatusCode::PAYLOAD_TOO_LARGE, detail);
    }
    body_late()
}

/// 408. Or the client has gone, and is told nothing any more.
fn body_late() -> Problem {
    body_not_read(StatusCode::REQUEST_TIMEOUT, "the body did not come in time")
}

fn body_not_read(status: StatusCode, detail: impl Into<String>) -> Problem {
    Problem::new(status, "/docs#body-unreadable", "body not read", detail)
}

/// 403: a browser sent this for a page of another site.
#[must_use]
pub fn from_elsewhere() -> Problem {
    Problem::new(
        StatusCode::FORBIDDEN,
        "/docs#from-elsewhere",
        "from another site",
        "a page of another site may not send anything here",
    )
}

/// 500.
#[must_use]
pub fn internal() -> Problem {
    Problem::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        "/docs#internal",
        "internal error",
        "something went wrong here; the log tells what",
    )
}

/// 404: nothing has this address.
#[must_use]
pub fn no_such_page() -> Problem {
    Problem::new(
        StatusCode::NOT_FOUND,
        "/docs#no-such-page",
        "no such page",
        "nothing is here; /docs lists every call",
    )
}

/// 404: no such record was rejected.
#[must_use]
pub fn no_such_rejected_record() -> Problem {
    Problem::new(
        StatusCode::NOT_FOUND,
        "/docs#no-such-rejected-record",
        "no such rejected record",
        "no rejected record is kept for this topic, partition and offset",
    )
}

/// 405, as a handler.
pub async fn no_such_method() -> Problem {
    no_such_method_here()
}

fn no_such_method_here() -> Problem {
    Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "/docs#no-such-method",
        "no such method",
        "this call wants another method; /docs lists every call",
    )
}
