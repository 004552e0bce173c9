//! The real PostgreSQL and the real Apache Kafka behind `waybill up` and behind the tests.
//!
//! ```text
//!                ┌─ postgres ─┐           ┌─ folder    lock, log, free space on the disk
//! servers (both) ┤            ├─ process ─┤
//!                └─ kafka ────┘           └─ watch.sh  stops the program when its parent has ended
//!
//! postgres uses programs (where they are), cluster (initdb), user (never root);
//! kafka uses java (runtime, jars, class archive); both use port and process_id.
//! ```
//!
//! Both run as child processes on loopback, keep their data in a folder, end with their parent
//! however it ends, and recover at the next start. Neither is an imitation, so that what works here
//! works with any other server. No other crate knows how they are started: the services only see
//! addresses.

use std::fmt;

mod cluster;
mod folder;
mod java;
mod kafka;
mod port;
mod postgres;
mod process;
mod process_id;
mod programs;
mod servers;
mod user;

pub use folder::Folder;
pub use kafka::{Kafka, KafkaOptions};
pub use postgres::{Postgres, PostgresOptions};
pub use servers::{LocalServers, LocalServersOptions};

/// An obstacle to running a server that the user can remove, as a sentence: a folder or a port in
/// use, a missing program, a full disk. Any other error is unexpected.
#[derive(Debug)]
pub struct Obstacle(pub(crate) String);

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Obstacle {}

/// A function that shows a line of progress to the user.
pub type Progress<'a> = &'a (dyn Fn(&str) + Send + Sync);
