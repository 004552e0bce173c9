//! Crashes, signals and unreachable servers: nothing is lost and nothing is done twice.

mod busy_database;
mod compaction;
mod couriers_crash;
mod database_errors;
mod dependencies_down;
mod frozen_database;
mod hostile_records;
mod kafka_refusals;
mod orders_crash;
mod shutdown;
mod up_restart;
