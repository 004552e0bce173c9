//! The courier service: status events on Kafka become deliveries in PostgreSQL, and couriers are
//! matched with the orders that wait. `ARCHITECTURE.md` at the root of the repository explains both
//! services.
//!
//! - `delivery/`: what a status does to a delivery, and what a courier is; pure
//! - `intake/`: the status topic to PostgreSQL
//! - `dispatch/`: waiting orders are matched with available couriers, and late deliveries released
//! - `store/`: changes of deliveries and couriers
//! - `read/`: figures, the queue, one delivery, the board
//! - `http/`: the JSON API and the live board
//! - `pages/`: the board as HTML
//! - `routes`: the table of all calls
//! - `run`: starts all of these; `audit` recounts what they promise

mod audit;
mod config;
pub mod delivery;
pub mod dispatch;
mod http;
mod intake;
mod migrate;
mod pages;
pub mod read;
mod routes;
mod run;
pub mod store;

pub use audit::audit;
pub use config::{Config, DatabaseConfig, Options, TopicConfig};
pub use migrate::migrate;
pub use run::run;
