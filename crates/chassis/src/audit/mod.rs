//! Checks that recount what is stored, for `waybill audit`.

pub mod check;
pub mod rejected;
