//! Black-box tests of both services on the real PostgreSQL, Kafka, Redis and browser.
#![allow(clippy::unwrap_used, reason = "a test that cannot continue must fail")]

mod attack;
mod cli;
mod couriers;
mod deliveries;
mod openapi;
mod orders;
mod outages;
mod pages;
mod security;
mod status;
mod support;
mod tls;
mod words;
