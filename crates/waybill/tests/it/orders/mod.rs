//! The order service: records become rows, views, pages of lists and answers, once each and
//! unchanged.

mod api;
mod cache;
mod compression;
mod database;
mod fast_path;
mod freshness;
mod generated;
mod headers;
mod ingest;
mod lists;
mod redis;
mod refused;
mod rejected;
mod replicas;
mod same_uid;
mod snapshots;
