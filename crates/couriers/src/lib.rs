//! The courier service: status events on Kafka become deliveries in PostgreSQL, and couriers are
//! matched with the orders that wait. `ARCHITECTURE.md` at the root of the repository tells the
//! whole way.

mod audit;
mod board;
mod config;
pub mod courier;
pub mod delivery;
pub mod dispatch;
mod http;
mod intake;
mod migrate;
mod rejection;
mod run;
pub mod statistics;
pub mod store;
mod web;

pub use audit::audit;
pub use config::{Config, DatabaseConfig, Options, TopicConfig};
pub use migrate::migrate;
pub use run::run;
