//! The status of orders: stores the events of the status topic, and reads the status and the
//! history of an order. The ranks of the statuses are in the crate `events`; nothing is published
//! here.
//!
//! ```text
//! record ─▶ event ─▶ batch ─one transaction─▶ recorded ─▶ offsets      (consumer, verdict, store)
//!                    order_status, order_events ─▶ status and history  (history)
//! ```

pub(crate) mod consumer;
pub(crate) mod history;
pub(crate) mod store;
pub(crate) mod verdict;
