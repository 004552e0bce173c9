//! The kinds of problem that any call may meet.

use axum::extract::rejection::BytesRejection;
use http::StatusCode;
use sqlx::error::ErrorKind;

use super::{
    MAX_BODY_MIB,
    problem::{Problem, ProblemKind},
};
use crate::{
    kafka::producer::ProduceError,
    postgres::errors::{ErrorClass, classify},
    problem_kinds,
};

problem_kinds! {
    pub BAD_PARAMETER = 400, "/docs#bad-parameter", "bad parameter",
        "the parameter limit must be a whole number";
    pub MALFORMED_ID = 400, "/docs#malformed-id", "malformed id",
        "an id is `topic:partition:offset`";
    pub CROSS_SITE = 403, "/docs#from-elsewhere", "from another site",
        "a page of another site may not send anything here";
    pub NO_SUCH_PAGE = 404, "/docs#no-such-page", "no such page",
        "nothing is here; /docs lists every call";
    pub NO_SUCH_REJECTED_RECORD = 404, "/docs#no-such-rejected-record", "no such rejected record",
        "no rejected record is kept for this topic, partition and offset";
    pub NO_SUCH_METHOD = 405, "/docs#no-such-method", "no such method",
        "this call wants another method; /docs lists every call";
    pub BODY_UNREADABLE = 408, "/docs#body-unreadable", "body not read",
        "the body did not come in time";
    pub RECORD_TOO_LARGE = 413, "/docs#record-too-large", "record too large",
        "Kafka's topic does not accept a record of this size; raise its max.message.bytes";
    pub COMPRESSED_BODY = 415, "/docs#compressed-body", "compressed body",
        "the body must be sent without Content-Encoding";
    pub INTERNAL = 500, "/docs#internal", "internal error",
        "something went wrong here; the log tells what";
    pub DATABASE_UNAVAILABLE = 503, "/docs#database-silent", "database silent",
        "this needs the database, which does not answer; ask again in a moment";
    pub KAFKA_UNAVAILABLE = 503, "/docs#kafka-silent", "Kafka silent",
        "Kafka has not confirmed the record; sending it again is safe";
}

/// Every kind that a service's `/docs` lists: those of any call, and the service's own.
#[must_use]
pub fn kinds_with(own: &[ProblemKind]) -> Vec<ProblemKind> {
    let mut kinds = [KINDS, own].concat();
    kinds.sort_by_key(|kind| kind.status);
    kinds
}

/// 400: this parameter does not follow its rule, such as `must be a whole number`.
#[must_use]
pub fn bad_parameter(name: &str, rule: &str) -> Problem {
    BAD_PARAMETER.with(format!("the parameter {name} {rule}"))
}

/// A failed query: 400 if PostgreSQL refuses a value, such as a text with a NUL, whatever its
/// tables hold; else 503, and the cause is logged.
#[must_use]
pub fn of_database(attempted: &str, error: &sqlx::Error) -> Problem {
    let refused = error.as_database_error().filter(|_| classify(error) == ErrorClass::Permanent);
    if refused.is_some_and(|error| error.kind() == ErrorKind::Other) {
        return BAD_PARAMETER
            .with("a parameter has a value that no stored one can have, such as a NUL");
    }
    tracing::warn!("{attempted}: {error}");
    DATABASE_UNAVAILABLE.problem()
}

/// Returns the answer after a failed send: 413 if the topic does not accept a record of this size,
/// otherwise 503, and then the cause is logged.
#[must_use]
pub fn of_kafka(attempted: &str, error: &ProduceError) -> Problem {
    if let ProduceError::TooLarge = error {
        return RECORD_TOO_LARGE.problem();
    }
    tracing::warn!("{attempted}: {error}");
    KAFKA_UNAVAILABLE.problem()
}

/// 413: the body was too large. 408: it did not come in time, or the client has gone and reads no
/// answer.
#[must_use]
pub fn body_unreadable(rejection: &BytesRejection) -> Problem {
    if rejection.status() != StatusCode::PAYLOAD_TOO_LARGE {
        return BODY_UNREADABLE.problem();
    }
    let mut problem = BODY_UNREADABLE.with(format!("the body is larger than {MAX_BODY_MIB} MiB"));
    problem.status = rejection.status().as_u16();
    problem
}
