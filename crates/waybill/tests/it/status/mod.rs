//! Status events: the order service records every event, and publishes its own.

mod calls;
mod events;
mod own_events;
mod tail_reader;
