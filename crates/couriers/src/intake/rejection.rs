//! The rejections of status records: the reasons and the violations.

use chassis::rejected::{Rejection, Violation};
use events::EventViolation;

/// Returns the rejection of a record that breaks these rules of an event. There is at least one.
pub(crate) fn of(violations: Vec<EventViolation>) -> Rejection {
    let reason = violations.first().expect("a rejected record breaks at least one rule").code;
    let violations =
        violations.into_iter().map(|one| violation(one.pointer, one.code, one.message));
    Rejection { reason, violations: violations.collect() }
}

/// Returns the rejection of a valid event whose data PostgreSQL refused with this SQLSTATE.
pub(crate) fn refused_by_database(sqlstate: &str) -> Rejection {
    let reason = "refused_by_database";
    let message = format!("the database refused this event's data (SQLSTATE {sqlstate})");
    Rejection { reason, violations: vec![violation("", reason, &message)] }
}

fn violation(pointer: &str, code: &str, message: &str) -> Violation {
    Violation { pointer: pointer.to_owned(), code: code.to_owned(), message: message.to_owned() }
}
