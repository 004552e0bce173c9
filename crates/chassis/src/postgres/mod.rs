//! PostgreSQL: connections, whether an error is transient or permanent, and a batch's transaction.

pub mod all_new;
pub mod copy;
pub mod errors;
pub mod migrate;
pub mod pool;
pub mod transaction;
