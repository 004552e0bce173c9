//! Checks of the stored data, for `waybill audit`.

pub mod check;
pub mod rejected;
