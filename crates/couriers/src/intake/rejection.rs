//! The rejections of status records: those of invalid records are in
//! [`delivery`](crate::delivery::rejection), those of records that could not be written are here.

use chassis::{postgres::transaction::Fault, rejected::Rejection};

pub(crate) use crate::delivery::rejection::of;
use crate::delivery::rejection::violation;

/// Returns the rejection of a valid event that could not be written.
pub(crate) fn for_fault(fault: &Fault) -> Rejection {
    let reason = fault.code();
    Rejection { reason, violations: vec![violation("", reason, &fault.to_string())] }
}
