//! PostgreSQL, for all services: addresses, connections, the class of an error, reads and transactions within
//! a limit of time, `COPY`, and migrations. The tables and the SQL of a service are in the service.

pub mod address;
pub mod copy;
pub mod errors;
mod lease;
pub mod migrate;
pub mod pool;
pub mod read;
pub mod transaction;
