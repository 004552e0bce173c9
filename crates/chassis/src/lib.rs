//! The base of every service. It contains no business terms, and no service depends on another one
//! through it.
//!
//! - `kafka/`: reads topics into batches with offsets, and sends records; only this folder refers
//!   to rdkafka
//! - `postgres/`: the pool, classes of errors, the transaction of a batch, `COPY`, migrations
//! - `rejected/`: rejected records: stores them, sends dead letters, lists and replays them
//! - `http/`: serving, limits, problem documents, paging, health
//! - `flow/`: the history of the metrics in memory, for charts
//! - `web/`: the parts that the pages of all services share
//! - `audit/`: audit checks, which compare an invariant with the stored data
//! - `fuzzing`: the entry points of the fuzz targets, only with the feature `fuzzing`
//! - `process/`: exit codes, supervision, shutdown, logs, metrics, secrets, retries, warm-up

pub mod audit;
pub mod flow;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
pub mod http;
pub mod kafka;
pub mod postgres;
pub mod process;
pub mod rejected;
pub mod web;
