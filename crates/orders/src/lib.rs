//! The order service: a record on Kafka becomes an order in PostgreSQL, in the cache, over HTTP and
//! on the page. `ARCHITECTURE.md` at the root of the repository tells the whole way.

mod currency;
mod explain;
mod json;
mod message;
mod order;
mod record;
mod rejection;
mod rules;
