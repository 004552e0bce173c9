//! The contract between the services: the values that one service writes and another one reads.
//! Nothing here does I/O or depends on a service.
//!
//! ```text
//! order_uid      the id of an order
//! order_status   the state machine of an order: ranks and spellings
//! order_event    the events that the order service publishes
//! status_event   any event on the status topic, from any sender
//! delivery_event an event on the deliveries topic: statuses, causes, writing and reading
//! courier        the id and the means of transport of a courier
//! event_fields   the JSON of a status event
//! event_rules    the rules of a status event, and a violation of one
//! instant        RFC 3339 text to a time in UTC
//! topics         the default names of the topics
//! ```

mod courier;
mod delivery_event;
mod event_fields;
mod event_rules;
mod instant;
mod order_event;
mod order_status;
mod order_uid;
mod status_event;
pub mod topics;

pub use courier::{CourierId, InvalidCourierId, Transport, UnknownTransport};
pub use delivery_event::{DeliveryCause, DeliveryEvent, DeliveryStatus};
pub use event_rules::{EVENT_RULES, EventViolation};
pub use instant::parse_instant;
pub use order_event::{EventType, OrderEvent};
pub use order_status::{OrderStatus, StatusWord};
pub use order_uid::{InvalidOrderUid, MAX_UID_BYTES, OrderUid};
pub use status_event::{MAX_WORD_BYTES, StatusEvent};
