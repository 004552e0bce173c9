//! For tests only: the real servers, a database and topics per test, a running service, and
//! records to send.

pub mod bad_records;
mod bed;
pub mod order_json;
mod servers;
mod wait;

pub use bed::{Bed, Received, Service};
pub use servers::{OwnServers, Servers, shared};
pub use wait::{eventually, wait_until};
