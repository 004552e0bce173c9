//! The problems that any call may meet, in words. `/docs` shows one of each kind.

use http::StatusCode;

use super::MAX_BODY_MIB;
use crate::problem::Problem;

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
        body_unreadable(),
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

/// 413: the body was too large or too slow.
#[must_use]
pub fn body_unreadable() -> Problem {
    Problem::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        "/docs#body-unreadable",
        "body not read",
        format!("the body is larger than {MAX_BODY_MIB} MiB, or did not come in time"),
    )
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
