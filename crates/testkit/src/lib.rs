//! Support for tests only: the real servers, a database and topics for each test, running services,
//! a real browser, and records to send.
//!
//! - `servers`: PostgreSQL and Kafka, shared by all tests of a process or started for one test
//! - `brokers`: several brokers as one cluster
//! - `environment`, `couriers`: databases and topics of one test, and the services that use them
//! - `kafka`: a plain client that sends, reads and commits
//! - `kafka_wire`: requests that the client library cannot send
//! - `service`: a service that runs inside the test's process
//! - `nginx`: a proxy in front of a service
//! - `browser`: Chromium, and the rules for every page
//! - `order_json`, `bad_records`: valid orders, and records that must be rejected
//! - `port`: free ports
//! - `wait`: waiting for a condition with a timeout

pub mod bad_records;
mod brokers;
pub mod browser;
mod couriers;
mod environment;
mod kafka;
pub mod kafka_wire;
mod nginx;
pub mod order_json;
mod port;
mod servers;
mod service;
mod wait;

pub use brokers::{broker_addresses, start_brokers};
pub use couriers::CourierDatabase;
pub use environment::TestEnvironment;
pub use kafka::{Received, TransactionEnd};
pub use nginx::Nginx;
pub use port::free_port;
pub use servers::{OwnServers, Servers, shared};
pub use service::Service;
pub use wait::{eventually, wait_until};
