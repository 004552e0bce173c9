//! For tests only: the real servers, a database and topics per test, a running service, a real
//! browser, and records to send.

pub mod bad_records;
mod bed;
pub mod browser;
mod couriers;
pub mod order_json;
mod servers;
mod wait;

pub use bed::{Bed, Received, Service};
pub use couriers::CourierDatabase;
pub use servers::{OwnServers, Servers, shared};
pub use wait::{eventually, wait_until};
