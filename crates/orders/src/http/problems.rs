//! The problems that only a client of the order service can meet, in words. `/docs` shows one of
//! each kind.

use chassis::http::problem::{Problem, Violation};
use events::OrderStatus;
use http::StatusCode;

/// One of each kind, those that any call may meet among them.
pub(super) fn all() -> Vec<Problem> {
    let rule = Violation {
        pointer: "/order_uid".to_owned(),
        code: "missing".to_owned(),
        message: "is required".to_owned(),
    };
    let mut all = chassis::http::problems::all();
    all.extend([no_such_order(), pointless(OrderStatus::Completed), invalid_orders(vec![rule])]);
    all.sort_by_key(|problem| problem.status);
    all
}

pub(super) fn no_such_order() -> Problem {
    Problem::new(
        StatusCode::NOT_FOUND,
        "/docs#no-such-order",
        "no such order",
        "no order with this id is committed here now; if it is on its way, ask again with ?wait=5s",
    )
}

pub(super) fn nothing_known() -> Problem {
    Problem::new(
        StatusCode::NOT_FOUND,
        "/docs#no-such-order",
        "no such order",
        "neither an order with this id nor an event of one is known here now",
    )
}

pub(super) fn pointless(status: OrderStatus) -> Problem {
    Problem::new(
        StatusCode::CONFLICT,
        "/docs#pointless",
        "pointless",
        format!("the order is {} already", status.as_str()),
    )
}

pub(super) fn invalid_orders(violations: Vec<Violation>) -> Problem {
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
    problem.errors = violations;
    problem
}
