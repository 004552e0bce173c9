//! The order service. It reads orders from Kafka, stores them in PostgreSQL, caches them, and
//! serves them over HTTP as JSON and as pages.
//!
//! - `order/`: parses text into a valid order, or into the list of all rules that it breaks; no I/O
//! - `ingest/`: orders topic → PostgreSQL → events on the status topic, and dead letters
//! - `status/`: status topic → PostgreSQL; reads the status and the history of an order
//! - `deliveries/`: deliveries topic → PostgreSQL
//! - `lookup/`: finds an order in memory, Redis or PostgreSQL; the live feed
//! - `flow`: the charts of the service, and their metrics
//! - `http/`: the JSON API
//! - `pages/`: the HTML pages of the same calls
//! - `routes`: the table of all calls
//! - `config`, `migrate`: the settings, and the database schema
//! - `run`: starts the parts above
//! - `audit`: checks the invariants of the service against its tables and topics
//! - `fuzzing`: the entry points of the fuzz targets, only with the feature `fuzzing`
//!
//! `ARCHITECTURE.md` at the root of the repository describes the path of one order through all of
//! these.

mod audit;
mod config;
mod deliveries;
mod flow;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
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
