//! The warning about a server that is reached through a network without verified TLS.

use std::net::IpAddr;

/// Logs a warning for the first of `hosts` that is not this machine. Call it for a server whose
/// certificate is not verified: `advice` names the settings that change this.
pub fn warn_of_unverified<'a>(
    server: &str,
    hosts: impl IntoIterator<Item = &'a str>,
    advice: &str,
) {
    if let Some(host) = hosts.into_iter().find(|host| !is_loopback(host)) {
        tracing::warn!(
            "the connection to {server} at {host} has no verified TLS: others in the network can \
             read and change its data, and see the password; {advice}"
        );
    }
}

/// Returns true for a name, an IP address or the folder of a socket of this machine.
#[must_use]
pub fn is_loopback(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']').trim_end_matches('.');
    let host = host.to_ascii_lowercase();
    host.starts_with(['/', '@'])
        || host == "localhost"
        || host.ends_with(".localhost")
        || host.parse().is_ok_and(|address: IpAddr| address.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_this_machine_alone() {
        for here in ["localhost", "LOCALHOST.", "a.localhost", "127.0.0.1", "127.9.9.9", "::1"] {
            assert!(is_loopback(here), "{here}");
        }
        for here in ["[::1]", "::ffff:127.0.0.1", "/var/run/postgresql"] {
            assert!(is_loopback(here), "{here}");
        }
        for there in ["db", "notlocalhost", "localhost.example", "10.0.0.1", "0.0.0.0", "::", ""] {
            assert!(!is_loopback(there), "{there}");
        }
    }
}
