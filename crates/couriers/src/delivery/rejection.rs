//! The rejection of a status record that is not a valid event.

use chassis::rejected::{Rejection, Violation};
use events::EventViolation;

/// Returns the rejection of a record that breaks these rules of an event. There is at least one.
pub(crate) fn of(violations: Vec<EventViolation>) -> Rejection {
    let reason = violations.first().expect("a rejected record breaks at least one rule").code;
    let violations =
        violations.into_iter().map(|one| violation(one.pointer, one.code, one.message));
    Rejection { reason, violations: violations.collect() }
}

pub(crate) fn violation(pointer: &str, code: &str, message: &str) -> Violation {
    Violation { pointer: pointer.to_owned(), code: code.to_owned(), message: message.to_owned() }
}
