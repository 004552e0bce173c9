//! The deliveries of orders: for each order, stores the latest event of the deliveries topic, which
//! the courier service publishes. [`status::history`](crate::status::history) reads it together with
//! the status of the order; nothing is published here.
//!
//! ```text
//! record ─▶ event ─▶ batch ─one transaction─▶ stored ─▶ offsets      (consumer, store)
//!                    order_deliveries
//! ```

pub(crate) mod consumer;
mod store;
