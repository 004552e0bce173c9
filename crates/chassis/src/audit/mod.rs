//! Audit checks for `waybill audit`: the result of a check, the part of a topic that a scan has read,
//! and the checks of rejected records, which all services share. A check only reads. The other
//! checks are in the services.
//!
//! - [`check`]: the result of one check, with its verdict
//! - [`scanned`]: finds out why a record that should be on a topic was not read
//! - [`rejected`]: compares rejected records with their rows, and rows with their dead letters

pub mod check;
pub mod rejected;
pub mod scanned;
