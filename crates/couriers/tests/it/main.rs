//! Tests of the courier service's store and dispatch on the real PostgreSQL.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod cases;
mod histories;
mod interleavings;
mod stepper;
mod support;
