//! PostgreSQL, for all services: connections, the class of an error, transactions, `COPY`, and
//! migrations. The tables and the SQL of a service are in the service.

pub mod copy;
pub mod errors;
pub mod migrate;
pub mod pool;
pub mod transaction;
