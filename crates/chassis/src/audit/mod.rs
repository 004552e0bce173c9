//! Audit checks for `waybill audit`: the result of a check, and the check that all services share.
//! A check only reads. The other checks are in the services.

pub mod check;
pub mod rejected;
