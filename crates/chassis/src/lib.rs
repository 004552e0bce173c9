//! The base of every service. It contains no business terms.
//!
//! - `kafka/`: topics to batches with offsets, and records to topics; the only code that refers to
//!   rdkafka
//! - `postgres/`: the pool, errors, a batch's transaction, `COPY`, migrations
//! - `rejected/`: records that a service cannot take: kept, dead-lettered, listed, replayed
//! - `http/`: serving, limits, problem documents, paging, health
//! - `web/`: what the pages of all services share
//! - `audit/`: checks that recount what is stored
//! - `process/`: exit codes, shutdown, logs, secrets, retries, warm-up

pub mod audit;
pub mod http;
pub mod kafka;
pub mod postgres;
pub mod process;
pub mod rejected;
pub mod web;
