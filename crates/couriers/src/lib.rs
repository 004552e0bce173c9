//! The courier service: status events on Kafka become deliveries in PostgreSQL, and couriers are
//! matched with the orders that wait. `ARCHITECTURE.md` at the root of the repository explains both
//! services.
//!
//! - `delivery/`: the effect of each order status on a delivery, and a courier's values; no I/O
//! - `intake/`: reads the status topic and writes its events to PostgreSQL in batches
//! - `dispatch/`: matches waiting orders with available couriers, and releases overdue deliveries
//! - `outbox/`: sends the entries of the log to the deliveries topic
//! - `store/`: changes deliveries and couriers, for intake and for manual actions
//! - `read/`: queries for statistics, the queue, one delivery and the board
//! - `flow`: the charts of the service, and their metrics
//! - `http/`: the JSON API and the live board
//! - `pages/`: the board as HTML
//! - `config`: the options of the service
//! - `migrate`: the database schema, and the rights of the service's user
//! - `routes`: the table of all routes
//! - `run`: starts the parts of the service
//! - `audit`: checks the invariants of the service while it runs, for `waybill audit`

mod audit;
mod config;
pub mod delivery;
pub mod dispatch;
mod flow;
mod http;
mod intake;
mod migrate;
mod outbox;
mod pages;
pub mod read;
mod routes;
mod run;
pub mod store;

pub use audit::audit;
pub use config::{Config, DatabaseConfig, Options, TopicConfig};
pub use migrate::migrate;
pub use run::run;
