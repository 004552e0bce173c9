//! A rejection: what a bad record becomes. A value that travels with its batch, never an error.

use serde::{Deserialize, Serialize};

/// One rule that a record broke.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Violation {
    /// Where, as a JSON pointer (RFC 6901); `""` is the whole record.
    pub pointer: String,
    /// Which rule: stable, listed in `docs/validation.md`.
    pub code: String,
    /// The rule in words. Never repeats the value.
    pub message: String,
}

/// Why a record was not stored as an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// The stable reason code, listed in `docs/validation.md`.
    pub reason: &'static str,
    /// Everything that is wrong with the record, at least one.
    pub violations: Vec<Violation>,
}
