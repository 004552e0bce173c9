//! The kinds of problem that only the order service's calls meet.

use chassis::{
    http::problem::{Problem, ProblemKind},
    problem_kinds,
};
use events::OrderStatus;

problem_kinds! {
    pub(crate) NO_SUCH_ORDER = 404, "/docs#no-such-order", "no such order",
        "no order with this id is committed here now; if it is on its way, ask again with ?wait=5s";
    pub(crate) STATUS_REACHED = 409, "/docs#pointless", "pointless",
        "the order is completed already";
    pub(crate) INVALID_ORDER = 422, "/docs#invalid-order", "invalid order",
        "1 violation: /order_uid is required";
}

/// Every kind that `/docs` lists.
pub(crate) fn kinds() -> Vec<ProblemKind> {
    chassis::http::problems::kinds_with(KINDS)
}

/// Neither the order nor an event of it is stored.
pub(super) fn nothing_known() -> Problem {
    NO_SUCH_ORDER.with("neither an order with this id nor an event of one is known here now")
}

/// The order has this status, which is at least the one that was asked for.
pub(super) fn status_reached(status: OrderStatus) -> Problem {
    STATUS_REACHED.with(format!("the order is {} already", status.as_str()))
}
