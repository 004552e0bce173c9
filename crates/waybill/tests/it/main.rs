//! Black-box tests of both services on the real PostgreSQL, Kafka, Redis and browser.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod api;
mod cache;
mod compression;
mod couriers;
mod couriers_api;
mod crash;
mod exit_codes;
mod flow;
mod generated;
mod load;
mod migrate;
mod openapi;
mod page;
mod quick;
mod refused;
mod replicas;
mod same_uid;
mod status;
mod status_page;
mod support;
mod up;
mod weather;
