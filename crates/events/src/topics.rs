//! The default names of the topics.

/// Orders as JSON, the order service's input.
pub const ORDERS: &str = "orders";

/// Status events, keyed by order id.
pub const ORDER_STATUS_CHANGED: &str = "order.status.changed";

/// Returns the dead-letter topic of `topic`.
#[must_use]
pub fn dead_letters(topic: &str) -> String {
    format!("{topic}.dlq")
}
