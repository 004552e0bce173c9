//! The order service: a record on Kafka becomes an order in PostgreSQL, in the cache, over HTTP and
//! on the page. `ARCHITECTURE.md` at the root of the repository follows one order all the way.
//!
//! - `order/`: text to a valid order, or to every rule that it breaks; pure
//! - `ingest/`: the orders topic to PostgreSQL, and from there to the status topic
//! - `status/`: the status topic to PostgreSQL, and the history of an order back out of it
//! - `lookup/`: an order from memory, Redis or PostgreSQL, and the live feed
//! - `http/`: the JSON API
//! - `pages/`: the same calls as HTML
//! - `routes`: the table of all calls
//! - `run`: starts all of these; `audit` recounts what they promise

mod audit;
mod config;
mod http;
mod ingest;
mod lookup;
mod migrate;
mod order;
mod pages;
mod routes;
mod run;
mod status;

pub use audit::audit;
pub use config::{CacheConfig, Config, DatabaseConfig, TopicConfig};
pub use migrate::migrate;
pub use run::run;
