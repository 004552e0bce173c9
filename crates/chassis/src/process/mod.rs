//! The process around a service: how it starts, retries, reports and ends.

pub mod crash;
pub mod exit;
pub mod retry;
pub mod secret;
pub mod shutdown;
pub mod telemetry;
pub mod trace;
pub mod warm_up;
