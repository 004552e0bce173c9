//! The limit of open files of this process. Each connection needs one.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Files besides the connections of HTTP clients: those to PostgreSQL, Kafka and Redis, and the
/// connections that HTTP serves beyond its limit.
const OTHER_FILES: u64 = 256;

/// Raises the limit of open files, if it is too low for this number of HTTP connections, and logs
/// that. Where the system does not allow it, logs a warning: the process then accepts fewer
/// connections.
pub fn allow_connections(connections: u64) {
    let needed = connections + OTHER_FILES;
    let limit = getrlimit(Resource::Nofile);
    let Some(current) = limit.current.filter(|current| *current < needed) else { return };
    let wanted = limit.maximum.map_or(needed, |maximum| maximum.min(needed));
    let raised = setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), ..limit });
    match raised {
        Ok(()) if wanted == needed => tracing::info!(
            "raised the limit of open files from {current} to {wanted}, for HTTP_CONNECTIONS"
        ),
        Ok(()) => too_low(wanted, connections),
        Err(_) => too_low(current, connections),
    }
}

fn too_low(limit: u64, connections: u64) {
    tracing::warn!(
        "the limit of open files ({limit}) is too low for {connections} HTTP connections, and may \
         not be raised: raise it (ulimit -n), or lower HTTP_CONNECTIONS"
    );
}
