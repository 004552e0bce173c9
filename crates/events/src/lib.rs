//! The contract between the services: how an order is named, what can happen to it, and on which
//! topics that is told.
//!
//! Everything here is a value with a wire form; nothing here does I/O.

mod order_event;
mod order_status;
mod order_uid;
mod status_event;
pub mod topics;

pub use order_event::{EventType, OrderEvent};
pub use order_status::{OrderStatus, StatusWord};
pub use order_uid::{InvalidOrderUid, MAX_UID_BYTES, OrderUid};
pub use status_event::{EVENT_RULES, EventViolation, MAX_WORD_BYTES, StatusEvent};
