//! Kafka: a topic is consumed in batches with their offsets, read outside a group, or written to.
//!
//! ```text
//! topic ─▶ consumer ─▶ batch + offsets ─▶ the service ─▶ producer ─▶ topic
//!      ├─▶ tail        every replica reads all records from now on, and commits nothing
//!      └─▶ topic_scan  a tool reads all records that are there
//! ```

pub mod batch;
pub mod config;
pub mod consumer;
pub mod offsets;
pub mod producer;
pub mod record;
pub mod tail;
pub mod topic_scan;
