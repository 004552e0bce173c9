//! PostgreSQL: connections, whether an error is transient or permanent, transactions, `COPY`, and
//! migrations.

pub mod copy;
pub mod errors;
pub mod migrate;
pub mod pool;
pub mod transaction;
