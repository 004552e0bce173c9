//! The parameters of a PostgreSQL address, as libpq defines them, and psql's variables for them.

/// The parameters that the connection uses, and psql's variables, which fill what is missing.
pub(super) const SUPPORTED: [(&str, &str); 12] = [
    ("host", "PGHOST"),
    ("hostaddr", "PGHOSTADDR"),
    ("port", "PGPORT"),
    ("dbname", "PGDATABASE"),
    ("user", "PGUSER"),
    ("password", "PGPASSWORD"),
    ("sslmode", "PGSSLMODE"),
    ("sslrootcert", "PGSSLROOTCERT"),
    ("sslcert", "PGSSLCERT"),
    ("sslkey", "PGSSLKEY"),
    ("application_name", "PGAPPNAME"),
    ("options", "PGOPTIONS"),
];

/// Parameters without a meaning for security. They have no effect here, and a warning says so.
const WITHOUT_EFFECT: [&str; 13] = [
    "client_encoding",
    "connect_timeout",
    "fallback_application_name",
    "keepalives",
    "keepalives_count",
    "keepalives_idle",
    "keepalives_interval",
    "load_balance_hosts",
    "max_protocol_version",
    "min_protocol_version",
    "sslsni",
    "target_session_attrs",
    "tcp_user_timeout",
];

/// Parameters that protect the connection, or say with what it is protected, and that are not
/// supported: psql's variable, and the values that ask for no protection.
const PROTECTING: [(&str, &str, &[&str]); 25] = [
    ("channel_binding", "PGCHANNELBINDING", &["disable", "prefer"]),
    ("gssdelegation", "PGGSSDELEGATION", &["0"]),
    ("gssencmode", "PGGSSENCMODE", &["disable", "prefer"]),
    ("gsslib", "PGGSSLIB", &[]),
    ("krbsrvname", "PGKRBSRVNAME", &[]),
    ("oauth_client_id", "", &[]),
    ("oauth_client_secret", "", &[]),
    ("oauth_issuer", "", &[]),
    ("oauth_scope", "", &[]),
    ("passfile", "", &[]),
    ("replication", "", &["false", "off", "no", "0"]),
    ("require_auth", "PGREQUIREAUTH", &[]),
    ("requirepeer", "PGREQUIREPEER", &[]),
    ("requiressl", "PGREQUIRESSL", &["0"]),
    ("scram_client_key", "", &[]),
    ("scram_server_key", "", &[]),
    ("service", "PGSERVICE", &[]),
    ("sslcertmode", "PGSSLCERTMODE", &["allow"]),
    ("sslcompression", "PGSSLCOMPRESSION", &["0"]),
    ("sslcrl", "PGSSLCRL", &[]),
    ("sslcrldir", "PGSSLCRLDIR", &[]),
    ("sslnegotiation", "PGSSLNEGOTIATION", &["postgres"]),
    ("sslpassword", "", &[]),
    ("ssl_max_protocol_version", "PGSSLMAXPROTOCOLVERSION", &[]),
    ("ssl_min_protocol_version", "PGSSLMINPROTOCOLVERSION", &[]),
];

/// The effect of a parameter of an address.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// The connection uses it; this is its name.
    Supported(&'static str),
    /// Its value asks for nothing.
    Harmless,
    /// It has no effect, and no meaning for security.
    None(&'static str),
    /// It would protect the connection, and is not supported.
    Refused(&'static str),
    Unknown,
}

/// Returns the effect of a parameter with this value.
pub(super) fn effect(name: &str, value: &str) -> Effect {
    if let Some((name, _)) = SUPPORTED.iter().find(|(known, _)| *known == name) {
        return Effect::Supported(name);
    }
    if let Some(name) = WITHOUT_EFFECT.iter().find(|known| **known == name) {
        return Effect::None(name);
    }
    match PROTECTING.iter().find(|(known, ..)| *known == name) {
        None => Effect::Unknown,
        Some((_, _, harmless)) if harmless.contains(&value) => Effect::Harmless,
        Some((name, ..)) => Effect::Refused(name),
    }
}

/// Returns the first of psql's variables that would protect the connection, and is not supported.
pub(super) fn refused_variable(variable: impl Fn(&str) -> Option<String>) -> Option<&'static str> {
    let is_refused = |(_, name, harmless): &(_, &str, &[&str])| {
        variable(name).is_some_and(|value| !harmless.contains(&&*value))
    };
    let refused = PROTECTING.into_iter().filter(|(_, name, _)| !name.is_empty());
    refused.into_iter().find(is_refused).map(|(_, name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_that_protect_the_connection_are_refused() {
        for (name, value) in [
            ("channel_binding", "require"),
            ("require_auth", "scram-sha-256"),
            ("sslcrl", "file"),
            ("sslnegotiation", "direct"),
            ("ssl_min_protocol_version", "TLSv1.3"),
            ("gssencmode", "require"),
            ("krbsrvname", "x"),
            ("requirepeer", "postgres"),
            ("sslpassword", "x"),
        ] {
            assert_eq!(effect(name, value), Effect::Refused(name));
        }
    }

    #[test]
    fn other_parameters_are_used_or_have_no_effect_or_are_unknown() {
        assert_eq!(effect("sslmode", "x"), Effect::Supported("sslmode"));
        for name in ["connect_timeout", "keepalives_idle", "target_session_attrs"] {
            assert_eq!(effect(name, "10"), Effect::None(name));
        }
        assert_eq!(effect("channel_binding", "prefer"), Effect::Harmless);
        assert_eq!(effect("gssencmode", "disable"), Effect::Harmless);
        for name in ["sslmod", "SSLMODE", "statement-cache-capacity", ""] {
            assert_eq!(effect(name, "x"), Effect::Unknown);
        }
    }

    #[test]
    fn a_variable_that_protects_the_connection_is_refused() {
        let only = |name: &'static str, value: &'static str| {
            move |asked: &str| (asked == name).then(|| value.to_owned())
        };
        let found = refused_variable(only("PGCHANNELBINDING", "require"));
        assert_eq!(found, Some("PGCHANNELBINDING"));
        assert_eq!(refused_variable(only("PGCHANNELBINDING", "prefer")), None);
        assert_eq!(refused_variable(only("PGSSLMODE", "require")), None);
    }
}
