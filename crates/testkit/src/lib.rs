//! For tests only: the real servers, a database and topics per test, a running service, a real
//! browser, and records to send.

pub mod bad_records;
pub mod browser;
mod couriers;
mod environment;
pub mod order_json;
mod servers;
mod wait;

pub use couriers::CourierDatabase;
pub use environment::{Received, Service, TestEnvironment};
pub use servers::{OwnServers, Servers, shared};
pub use wait::{eventually, wait_until};
