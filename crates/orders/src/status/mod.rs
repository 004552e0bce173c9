//! The status of orders: the status topic into PostgreSQL, and back out of it.
//!
//! ```text
//! record ─▶ event ─▶ batch ─one transaction─▶ recorded ─▶ offsets      (consumer, verdict, store)
//!                    order_status, order_events ─▶ status and history  (history)
//! ```

pub(crate) mod consumer;
pub(crate) mod history;
pub(crate) mod store;
pub(crate) mod verdict;
