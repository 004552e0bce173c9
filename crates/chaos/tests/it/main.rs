//! The short soak and the planted bugs. They run beside each other, because both wait for long.
#![allow(clippy::unwrap_used, reason = "a test that cannot continue must fail")]

mod planted;
mod soak;
