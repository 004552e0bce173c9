//! Topic names, as they are unless configured otherwise.

/// Orders as JSON, the order service's input.
pub const ORDERS: &str = "orders";

/// Status events, keyed by order id.
pub const ORDER_STATUS_CHANGED: &str = "order.status.changed";

/// Where records of `topic` go that could not be used.
#[must_use]
pub fn dead_letters(topic: &str) -> String {
    format!("{topic}.dlq")
}
