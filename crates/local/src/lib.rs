//! The real PostgreSQL and the real Apache Kafka behind `waybill up` and behind the tests.
//!
//! ```text
//! LocalServers ─┬─ Postgres ─┐           ┌─ folder    lock, log, room on the disk
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

use std::fmt;

mod cluster;
mod folder;
mod java;
mod kafka;
mod port;
mod postgres;
mod process;
mod programs;
mod servers;
mod user;

pub use folder::Folder;
pub use kafka::{Kafka, KafkaOptions};
pub use postgres::{Postgres, PostgresOptions};
pub use servers::{LocalServers, LocalServersOptions};

/// What keeps a program from running and a person can mend, in words: a folder in use, a port taken,
/// a program missing, a full disk. Any other error is unexpected.
#[derive(Debug)]
pub struct Obstacle(pub(crate) String);

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Obstacle {}

/// Takes a line about what is going on, for a person who waits.
pub type Progress<'a> = &'a (dyn Fn(&str) + Send + Sync);
