//! The contract between the services: how an order is named, what can happen to it, and on which
//! topics that is told.
//!
//! Everything here is a value with a wire form; nothing here does I/O.

mod order_event;
mod order_uid;
pub mod topics;

pub use order_event::{EventType, OrderEvent};
pub use order_uid::{InvalidOrderUid, MAX_UID_BYTES, OrderUid};
