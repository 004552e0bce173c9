//! Kafka, for all services: consuming a topic in batches, reading topics outside a group, and
//! sending records. Only this folder refers to rdkafka. It contains no flow of a service: a service
//! passes in its [`Pipeline`](consumer::Pipeline).
//!
//! ```text
//! topic ─▶ consumer ─▶ batch + offsets ─▶ the service's pipeline ─▶ producer ─▶ topic
//!      ├─▶ tail        every replica reads all records from a time on, and commits nothing
//!      ├─▶ topic_scan  a tool reads all records that the topic has now
//!      └─▶ backlog     a service asks which records its group has not committed
//! ```
//!
//! `topics` checks and creates the topics of a service before it starts. `rewind` sets the committed
//! offsets of a group back to a time, for a tool.

pub mod backlog;
pub mod batch;
pub mod config;
pub mod consumer;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
pub mod names;
pub mod offsets;
pub mod producer;
pub mod record;
mod refusal;
pub mod rewind;
pub mod tail;
pub mod topic_scan;
pub mod topics;
