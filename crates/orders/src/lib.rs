//! The order service: a record on Kafka becomes an order in PostgreSQL, in the cache, over HTTP and
//! on the page. `ARCHITECTURE.md` at the root of the repository tells the whole way.

mod audit;
mod cache;
mod config;
mod content_hash;
mod currency;
mod explain;
mod feed;
mod hearing;
mod http;
mod ignored;
mod ingest;
mod json;
mod life;
mod lookup;
mod message;
mod migrate;
mod order;
mod publish;
mod record;
mod redis_level;
mod rejection;
mod row;
mod rules;
mod run;
mod status;
mod store;
mod text;
mod upsert;
mod views;
mod web;

pub use audit::audit;
pub use config::{CacheConfig, Config, DatabaseConfig, TopicConfig};
pub use migrate::migrate;
pub use run::run;
