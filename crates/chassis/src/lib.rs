//! What every service stands on: configuration groups, telemetry, shutdown, PostgreSQL, Kafka,
//! HTTP, and what pages share. No business word is in it.

pub mod all_new;
pub mod batch;
pub mod commit;
pub mod consumer;
pub mod copy_in;
pub mod crash;
pub mod exit;
pub mod follower;
pub mod http;
pub mod kafka;
pub mod limits;
pub mod migrate;
pub mod offsets;
pub mod postgres;
pub mod problem;
pub mod producer;
pub mod recount;
pub mod rejected;
pub mod retry;
pub mod scan;
pub mod secret;
pub mod serve;
pub mod shutdown;
pub mod telemetry;
pub mod trace;
pub mod warm_up;
pub mod web;
