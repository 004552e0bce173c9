//! The kinds of problem that only calls of the order service answer with. The kinds that both
//! services share are in `chassis::http::problems`.

use chassis::{
    http::problem::{Problem, ProblemKind},
    problem_kinds,
};
use events::OrderStatus;

problem_kinds! {
    pub(crate) NO_SUCH_ORDER = 404, "/docs#no-such-order", "no such order",
        "no order with this id is stored; if it was sent just now, ask again with ?wait=5s";
    pub(crate) ALREADY_IN_THAT_STATE = 409, "/docs#already-in-that-state", "already in that state",
        "the order is already completed";
    pub(crate) INVALID_ORDER = 422, "/docs#invalid-order", "invalid order",
        "1 violation: /order_uid is required";
}

/// Returns every kind that the page `/docs` lists.
pub(crate) fn kinds() -> Vec<ProblemKind> {
    chassis::http::problems::kinds_with(KINDS)
}

/// Returns a 404: neither the order nor an event about it is stored.
pub(super) fn nothing_known() -> Problem {
    NO_SUCH_ORDER.with("neither an order with this id nor an event about it is stored")
}

/// Returns a 409: the order has this status, whose rank is at least that of the requested one.
pub(super) fn already_in_that_state(status: OrderStatus) -> Problem {
    ALREADY_IN_THAT_STATE.with(format!("the order is already {}", status.as_str()))
}
