//! The rejections of status records: the reasons and the violations.

use chassis::{
    postgres::transaction::Fault,
    rejected::{Rejection, Violation},
};
use events::EventViolation;

/// Returns the rejection of a record that breaks these rules of an event. There is at least one.
pub(crate) fn of(violations: Vec<EventViolation>) -> Rejection {
    let reason = violations.first().expect("a rejected record breaks at least one rule").code;
    let violations =
        violations.into_iter().map(|one| violation(one.pointer, one.code, one.message));
    Rejection { reason, violations: violations.collect() }
}

/// Returns the rejection of a valid event that could not be written.
pub(crate) fn for_fault(fault: &Fault) -> Rejection {
    let reason = fault.code();
    Rejection { reason, violations: vec![violation("", reason, &fault.to_string())] }
}

fn violation(pointer: &str, code: &str, message: &str) -> Violation {
    Violation { pointer: pointer.to_owned(), code: code.to_owned(), message: message.to_owned() }
}
