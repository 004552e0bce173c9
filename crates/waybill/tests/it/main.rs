//! Black-box tests of the order service on the real PostgreSQL, Kafka, Redis and browser.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod crash;
mod flow;
mod same_uid;
mod support;
