//! What every service stands on: configuration groups, telemetry, shutdown, PostgreSQL, Kafka,
//! HTTP serving and problem documents. No business word is in it.

pub mod batch;
pub mod consumer;
pub mod crash;
pub mod follower;
pub mod kafka;
pub mod offsets;
pub mod postgres;
pub mod problem;
pub mod producer;
pub mod retry;
pub mod serve;
pub mod shutdown;
pub mod telemetry;
