//! For tests only.

pub mod bad_records;
pub mod order_json;
