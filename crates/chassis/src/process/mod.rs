//! The process around a service: how it starts, runs its parts, reports and ends.
//!
//! ```text
//! certificate  certificates that a TLS client does not trust
//! exit         exit codes
//! failpoint    points at which a test makes the process fail
//! metrics      the macro that defines metrics
//! network      the warning about a server without verified TLS
//! number       the ranges of numbers in the configuration
//! open_files   the limit of open files
//! retry        pauses between attempts
//! secret       secrets from files and variables
//! shutdown     signals
//! supervisor   the parts of a service, as tasks with one shutdown
//! telemetry    logs
//! trace        W3C Trace Context
//! warm_up      loads data before the service is ready
//! ```

pub mod blocked;
pub mod certificate;
pub mod exit;
pub mod failpoint;
pub mod metrics;
pub mod network;
pub mod number;
pub mod open_files;
pub mod retry;
pub mod secret;
pub mod shutdown;
pub mod supervisor;
pub mod telemetry;
pub mod trace;
pub mod warm_up;
