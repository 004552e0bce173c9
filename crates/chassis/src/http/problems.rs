//! The kinds of problem that any call of any service may answer with.

use axum::extract::rejection::BytesRejection;
use http::StatusCode;
use sqlx::error::ErrorKind;

use super::problem::{Problem, ProblemKind};
use crate::{
    postgres::errors::{ErrorClass, classify, is_all_in_use, is_outcome_unknown},
    problem_kinds,
};

problem_kinds! {
    pub BAD_PARAMETER = 400, "/docs#bad-parameter", "bad parameter",
        "the parameter limit must be a whole number";
    pub INVALID_ACTOR = 400, "/docs#invalid-actor", "invalid actor",
        "the header X-Actor must be at most 100 bytes long";
    pub MALFORMED_ID = 400, "/docs#malformed-id", "malformed id",
        "an id is `topic:partition:offset`";
    pub CROSS_ORIGIN = 403, "/docs#cross-origin", "cross-origin request",
        "a page of another origin may not send requests to this service";
    pub NO_SUCH_PAGE = 404, "/docs#no-such-page", "no such page",
        "there is no page at this address; /docs lists every call";
    pub NO_SUCH_REJECTED_RECORD = 404, "/docs#no-such-rejected-record", "no such rejected record",
        "no rejected record is kept for this topic, partition and offset";
    pub NO_SUCH_METHOD = 405, "/docs#no-such-method", "no such method",
        "this address does not support this method; /docs lists every call";
    pub BODY_UNREADABLE = 408, "/docs#body-unreadable", "request body not received",
        "the request body did not arrive in time";
    pub RECORD_CUT = 409, "/docs#record-cut", "only a part of the record is stored",
        "this record is too large to be stored whole, so it can be replayed only with a new body";
    pub RECORD_TOO_LARGE = 413, "/docs#record-too-large", "record too large",
        "the Kafka topic does not accept a record of this size; raise its max.message.bytes";
    pub COMPRESSED_BODY = 415, "/docs#compressed-body", "compressed request body",
        "the request body must be sent without Content-Encoding";
    pub NOT_JSON = 415, "/docs#not-json", "request body is not JSON",
        "a request body needs the header `Content-Type: application/json`";
    pub UNKNOWN_HOST = 421, "/docs#unknown-host", "unknown host",
        "the service does not answer under this name; if the name is right, add it to HTTP_HOSTS";
    pub INVALID_BODY = 422, "/docs#invalid-body", "invalid body",
        "1 violation: /note must be a text";
    pub INTERNAL = 500, "/docs#internal", "internal error",
        "the service failed to answer; the cause is in its log";
    pub DATABASE_UNAVAILABLE = 503, "/docs#database-unavailable", "database unavailable",
        "the database does not answer; try again in a moment";
    pub TOO_MANY_CONNECTIONS = 503, "/docs#too-many-connections", "too many connections",
        "all connections of HTTP_CONNECTIONS are in use; try again in a moment";
    pub TOO_MANY_REQUESTS = 503, "/docs#too-many-requests", "too many requests",
        "the service is answering as many requests of this kind as the database can serve; try \
         again in a moment";
    pub TOO_MANY_STREAMS = 503, "/docs#too-many-streams", "too many live streams",
        "live streams take at most half of the connections; try again in a moment";
    pub KAFKA_UNAVAILABLE = 503, "/docs#kafka-unavailable", "Kafka unavailable",
        "Kafka has not confirmed the record; it is safe to send it again";
}

/// Returns every kind that the page `/docs` of a service lists, sorted by HTTP status: the kinds
/// of this module and the service's own.
#[must_use]
pub fn kinds_with(own: &[ProblemKind]) -> Vec<ProblemKind> {
    let mut kinds = [KINDS, own].concat();
    kinds.sort_by_key(|kind| kind.status);
    kinds
}

/// Returns a 400 that names the parameter and the rule that it breaks, such as `must be a whole
/// number`.
#[must_use]
pub fn bad_parameter(name: &str, rule: &str) -> Problem {
    BAD_PARAMETER.with(format!("the parameter {name} {rule}"))
}

/// Maps a failed query to a problem. 400 if PostgreSQL refuses a value that it can never store,
/// such as a text with a NUL character; otherwise 503, and the cause is logged unless it is the
/// number of requests. The answer to a change says whether it may have been stored.
#[must_use]
pub fn of_database(attempted: &str, error: &sqlx::Error) -> Problem {
    let refused = error.as_database_error().filter(|_| classify(error) == ErrorClass::Permanent);
    if refused.is_some_and(|error| error.kind() == ErrorKind::Other) {
        return BAD_PARAMETER
            .with("a parameter has a value that PostgreSQL cannot store, such as a NUL character");
    }
    if is_all_in_use(error) {
        return TOO_MANY_REQUESTS.problem();
    }
    tracing::warn!("{attempted}: {error}");
    if is_outcome_unknown(error) {
        return DATABASE_UNAVAILABLE.with(
            "the database did not confirm the change, so it is unknown whether it was stored; read \
             the current state before you send the change again",
        );
    }
    DATABASE_UNAVAILABLE.problem()
}

/// Returns 413 if the body is larger than `max_kib`. Otherwise 408: it did not arrive in time, or
/// the client has closed the connection and does not read the answer.
pub(super) fn body_unreadable(rejection: &BytesRejection, max_kib: usize) -> Problem {
    if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
        body_too_large(max_kib)
    } else {
        BODY_UNREADABLE.problem()
    }
}

/// Returns the 413 for a body that is larger than `max_kib`.
pub(super) fn body_too_large(max_kib: usize) -> Problem {
    let mut problem = BODY_UNREADABLE.with(format!("the body is larger than {max_kib} KiB"));
    problem.status = StatusCode::PAYLOAD_TOO_LARGE.as_u16();
    problem
}
