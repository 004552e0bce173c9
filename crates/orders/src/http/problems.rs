//! Every problem that a client of the order service can meet, in words.

use chassis::problem::{Problem, Violation};
use events::InvalidOrderUid;
use http::StatusCode;

use crate::rejection;

pub(super) fn malformed_uid(error: InvalidOrderUid) -> Problem {
    Problem::new(
        StatusCode::BAD_REQUEST,
        "/docs#malformed-id",
        "malformed order id",
        format!("the order id {error}"),
    )
}

pub(super) fn bad_parameter(name: &str, rule: &str) -> Problem {
    Problem::new(
        StatusCode::BAD_REQUEST,
        "/docs#bad-parameter",
        "bad parameter",
        format!("the parameter {name} {rule}"),
    )
}

pub(super) fn no_such_order() -> Problem {
    Problem::new(
        StatusCode::NOT_FOUND,
        "/docs#no-such-order",
        "no such order",
        "no order with this id is committed here now; if it is on its way, ask again with ?wait=5s",
    )
}

pub(super) fn no_such_rejected_record() -> Problem {
    Problem::new(
        StatusCode::NOT_FOUND,
        "/docs#no-such-rejected-record",
        "no such rejected record",
        "no rejected record is kept for this topic, partition and offset",
    )
}

pub(super) fn database_silent() -> Problem {
    Problem::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "/docs#database-silent",
        "database silent",
        "this is not cached and the database does not answer; ask again in a moment",
    )
}

pub(super) fn kafka_silent() -> Problem {
    Problem::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "/docs#kafka-silent",
        "Kafka silent",
        "Kafka has not confirmed the record; sending it again is safe",
    )
}

pub(super) fn body_unreadable() -> Problem {
    Problem::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        "/docs#body-unreadable",
        "body not read",
        "the body is larger than 16 MiB, or did not come in time",
    )
}

pub(super) fn invalid_orders(violations: Vec<rejection::Violation>) -> Problem {
    let detail = match violations.as_slice() {
        [one] => format!("1 violation: {} {}", one.pointer, one.message),
        [first, ..] => format!(
            "{} violations, the first: {} {}",
            violations.len(),
            first.pointer,
            first.message
        ),
        [] => "the orders are not valid".to_owned(),
    };
    let mut problem = Problem::new(
        StatusCode::UNPROCESSABLE_ENTITY,
        "/docs#invalid-order",
        "invalid order",
        detail,
    );
    problem.errors = violations
        .into_iter()
        .map(|violation| Violation {
            pointer: violation.pointer,
            code: violation.code,
            message: violation.message,
        })
        .collect();
    problem
}

pub(super) fn from_elsewhere() -> Problem {
    Problem::new(
        StatusCode::FORBIDDEN,
        "/docs#from-elsewhere",
        "from another site",
        "a page of another site may not send anything here",
    )
}

pub(super) fn internal() -> Problem {
    Problem::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        "/docs#internal",
        "internal error",
        "something went wrong here; the log tells what",
    )
}

pub(super) async fn no_such_page() -> Problem {
    Problem::new(
        StatusCode::NOT_FOUND,
        "/docs#no-such-page",
        "no such page",
        "nothing is here; /docs lists every call",
    )
}

pub(super) async fn no_such_method() -> Problem {
    Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "/docs#no-such-method",
        "no such method",
        "this call wants another method; /docs lists every call",
    )
}
