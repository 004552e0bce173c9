//! PostgreSQL, for all services: connections, the class of an error, reads and transactions within
//! a limit of time, `COPY`, and migrations. The tables and the SQL of a service are in the service.

pub mod copy;
pub mod errors;
mod lease;
pub mod migrate;
pub mod page;
pub mod pool;
pub mod read;
pub mod time_limit;
pub mod transaction;
