//! The local servers: a real PostgreSQL and a real Apache Kafka, for `waybill up` and for the
//! tests.
//!
//! ```text
//!                ┌─ postgres ─┐           ┌─ folder    lock, log, free space on the disk
//! servers (both) ┤            ├─ process ─┤
//!                └─ kafka ────┘           └─ watch.sh  stops the program when its parent has ended
//!
//! postgres uses programs (where they are), cluster (initdb), user (never root);
//! kafka uses java (runtime, jars, class archive) and java_paths; both use port and process_id.
//! ```
//!
//! Both run as child processes on loopback and keep their data in a folder. They end when their
//! parent ends, even if it is killed, and recover their data at the next start. They are the real
//! programs, so the services behave as they do with any other server. No other crate knows how they
//! are started: the services receive addresses only.

use std::fmt;

mod cluster;
mod folder;
mod java;
mod java_paths;
mod kafka;
mod port;
mod postgres;
mod process;
mod process_id;
mod programs;
mod servers;
mod user;

pub use folder::Folder;
pub use kafka::{Kafka, KafkaNode, KafkaOptions, new_cluster_id};
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

/// A function that shows one line of progress to the user.
pub type Progress<'a> = &'a (dyn Fn(&str) + Send + Sync);
