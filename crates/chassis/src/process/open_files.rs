//! The limit of open files of this process. Each connection needs one.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Files besides the connections of HTTP clients: those to PostgreSQL, Kafka and Redis, and the
/// connections that HTTP serves beyond its limit.
const OTHER_FILES: u64 = 256;

/// Raises the limit of open files, if it is too low for services with this number of HTTP
/// connections each, and logs that. Returns the number of connections of each service: fewer, with a
/// warning, if the system does not allow the limit.
#[must_use]
pub fn allow_connections(connections: u32, services: u32) -> u32 {
    let needed = u64::from(connections) * u64::from(services) + OTHER_FILES;
    let limit = getrlimit(Resource::Nofile);
    let Some(current) = limit.current.filter(|current| *current < needed) else {
        return connections;
    };
    let wanted = limit.maximum.map_or(needed, |maximum| maximum.min(needed));
    let raised = setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), ..limit });
    let allowed = if raised.is_ok() { wanted } else { current };
    if allowed == needed {
        tracing::info!(
            "raised the limit of open files from {current} to {needed}, for HTTP_CONNECTIONS"
        );
        return connections;
    }
    let possible = connections_within(allowed, services);
    tracing::warn!(
        "the limit of open files ({allowed}) allows only {possible} HTTP connections instead of \
         {connections}, and may not be raised: raise it (ulimit -n), or lower HTTP_CONNECTIONS"
    );
    possible
}

/// Returns the number of connections of each service if this number of files may be open. At least a
/// quarter of the files is for connections.
fn connections_within(files: u64, services: u32) -> u32 {
    let each = files.saturating_sub(OTHER_FILES).max(files / 4) / u64::from(services);
    u32::try_from(each).unwrap_or(u32::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_files_stay_available() {
        assert_eq!(connections_within(1_024, 1), 768);
        assert_eq!(connections_within(1_024, 2), 384);
        assert_eq!(connections_within(200, 1), 50);
        assert_eq!(connections_within(1, 1), 1);
    }
}
