//! Tests of the courier service's store and dispatch on a real PostgreSQL, without Kafka and HTTP.
//!
//! - `cases`: single cases, such as events out of order
//! - `histories`: random histories, compared with a model
//! - `interleavings`: races of two or three replicas, in every order of their statements
#![allow(clippy::unwrap_used, reason = "a test that cannot continue has failed")]

mod cases;
mod histories;
mod interleavings;
mod stepper;
mod support;
