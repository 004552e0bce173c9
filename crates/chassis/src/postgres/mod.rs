//! PostgreSQL, for all services: addresses, connections, sessions, the check of the server, the
//! class of an error, reads and transactions within a limit of time, pages of lists, `COPY`, and
//! migrations. The tables and the SQL of a service are in the service.

pub mod address;
pub mod copy;
pub mod errors;
pub mod lease;
pub mod migrate;
pub mod page;
pub mod pool;
pub mod read;
pub mod server;
pub mod session;
pub mod time_limit;
pub mod transaction;
