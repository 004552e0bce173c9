//! Black-box tests of the order service on the real PostgreSQL, Kafka, Redis and browser.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod api;
mod cache;
mod crash;
mod flow;
mod generated;
mod page;
mod refused;
mod replicas;
mod same_uid;
mod support;
mod weather;
