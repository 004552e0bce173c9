//! Black-box tests of the order service on the real PostgreSQL, Kafka, Redis and browser.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod api;
mod flow;
mod page;
