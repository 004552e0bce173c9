//! The process around a service: its start, its parts, its reports and its end.

pub mod blocked;
pub mod crash;
pub mod exit;
pub mod metrics;
pub mod retry;
pub mod secret;
pub mod shutdown;
pub mod supervisor;
pub mod telemetry;
pub mod trace;
pub mod warm_up;
