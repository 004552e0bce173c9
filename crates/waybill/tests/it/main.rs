//! Black-box tests of both services on the real PostgreSQL, Kafka, Redis and browser.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod api;
mod audit;
mod both;
mod cache;
mod compression;
mod configuration;
mod couriers;
mod couriers_api;
mod crash;
mod database;
mod exit_codes;
mod faults;
mod flow;
mod freshness;
mod generated;
mod headers;
mod lists;
mod load;
mod migrate;
mod openapi;
mod page;
mod redis;
mod refused;
mod rejected;
mod replicas;
mod restart;
mod same_uid;
mod signals;
mod snapshots;
mod status;
mod status_page;
mod support;
mod terminal;
mod up;
mod weather;
