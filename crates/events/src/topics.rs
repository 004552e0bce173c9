//! The default names of the topics. The configuration of a service may give others.

/// Orders as JSON: the input of the order service.
pub const ORDERS: &str = "orders";

/// Status events, with the order id as the key.
pub const ORDER_STATUS_CHANGED: &str = "order.status.changed";

/// Delivery events, with the order id as the key.
pub const DELIVERY_STATUS_CHANGED: &str = "delivery.status.changed";

/// Returns the dead-letter topic of `topic`.
#[must_use]
pub fn dead_letters(topic: &str) -> String {
    format!("{topic}.dlq")
}
