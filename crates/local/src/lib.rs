//! The real PostgreSQL and the real Apache Kafka behind `waybill up` and behind the tests.
//!
//! ```text
//! Stand ─┬─ Postgres ─┐           ┌─ folder    lock, log, room on the disk
//!        └─ Kafka ────┴─ Process ─┴─ watch.sh  ends the program when its parent is gone
//!
//! Postgres needs programs (where they are), cluster (initdb), user (not root);
//! Kafka needs java (runtime, jars, class archive).
//! ```
//!
//! Both run as child processes on loopback, keep their data in a folder, end with their parent
//! however it ends, and recover at the next start. Neither is imitated, so what works with them
//! works with a server. Nothing else in the workspace knows how they are started: the services
//! only see addresses.

mod cluster;
mod folder;
mod java;
mod kafka;
mod port;
mod postgres;
mod process;
mod programs;
mod stand;
mod user;

pub use kafka::{Kafka, KafkaOptions};
pub use postgres::{Postgres, PostgresOptions};
pub use stand::{Stand, StandOptions};

/// Takes a line about what is going on, for a person who waits.
pub type Progress<'a> = &'a (dyn Fn(&str) + Send + Sync);
