//! The TLS settings of an address: each of them has an effect, or is an error.

use std::collections::BTreeMap;

use anyhow::{Context, bail, ensure};

use super::Parameter;

/// The values of `sslmode`.
pub const MODES: [&str; 6] = ["disable", "allow", "prefer", "require", "verify-ca", "verify-full"];

/// The protection of a connection.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) enum Mode {
    /// No TLS; `unused_root` is the place of a certificate authority that has no effect.
    Off { unused_root: Option<String> },
    /// TLS, perhaps, and the server's certificate is not verified.
    #[default]
    Unverified,
    /// The server's certificate is verified.
    Verified,
}

/// Checks the TLS settings, and returns the protection. Removes what psql's variables add if the
/// address itself has no TLS.
pub(super) fn check(
    parameters: &mut BTreeMap<&'static str, Parameter>,
    variable: &str,
) -> anyhow::Result<Mode> {
    let mode = mode(parameters)?;
    let explicit = parameters.get("sslmode").is_some_and(|mode| !mode.is_variable);
    if mode == "disable" && explicit {
        parameters.retain(|name, given| !(name.starts_with("ssl") && given.is_variable));
    }
    let place = |name| parameters.get(name).map(|given: &Parameter| given.place.clone());
    let (root, certificate, key) = (place("sslrootcert"), place("sslcert"), place("sslkey"));
    // sqlx never uses TLS in the mode `allow`.
    if ["disable", "allow"].contains(&mode)
        && let Some(place) = certificate.as_ref().or(key.as_ref())
    {
        bail!("{place} has no effect while sslmode is {mode}; set sslmode to verify-full");
    }
    match (&certificate, &key) {
        (Some(place), None) => bail!("{place} needs a key: set sslkey, too"),
        (None, Some(place)) => bail!("{place} needs a certificate: set sslcert, too"),
        _ => {}
    }
    match (mode, root) {
        ("disable", unused_root) => return Ok(Mode::Off { unused_root }),
        ("allow" | "prefer", Some(place)) => bail!(
            "{place} has no effect while sslmode is {mode}, which verifies no certificate; set \
             sslmode to verify-full"
        ),
        ("verify-ca", None) => bail!(
            "sslmode of {variable} is verify-ca, which needs sslrootcert: otherwise each certificate \
             of a public authority would be valid; set it, or set sslmode to verify-full"
        ),
        _ => {}
    }
    prepare_files(parameters, mode)?;
    Ok(match mode {
        "verify-ca" | "verify-full" => Mode::Verified,
        // As in libpq: with a certificate authority, `require` verifies the certificate.
        "require" if parameters.contains_key("sslrootcert") => {
            parameters.get_mut("sslmode").expect("it is require").value = "verify-ca".to_owned();
            Mode::Verified
        }
        _ => Mode::Unverified,
    })
}

/// Returns `sslmode`.
fn mode(parameters: &BTreeMap<&'static str, Parameter>) -> anyhow::Result<&'static str> {
    let Some(Parameter { value, place, .. }) = parameters.get("sslmode") else {
        return Ok("prefer");
    };
    let mode = MODES.into_iter().find(|mode| mode.eq_ignore_ascii_case(value));
    mode.with_context(|| format!("{place} must be one of {}", MODES.join(", ")))
}

/// Checks that the files can be read. sqlx would read them at each connection, and the service
/// would wait.
fn prepare_files(
    parameters: &mut BTreeMap<&'static str, Parameter>,
    mode: &str,
) -> anyhow::Result<()> {
    // In libpq, this word means the certificate authorities of the operating system, which are
    // those of a connection without `sslrootcert`.
    if let Some(root) = parameters.get("sslrootcert").filter(|root| root.value == "system") {
        ensure!(
            mode == "verify-full",
            "{} is system, which needs the sslmode verify-full",
            root.place
        );
        parameters.remove("sslrootcert");
    }
    for (name, content) in
        [("sslrootcert", "CERTIFICATE"), ("sslcert", "CERTIFICATE"), ("sslkey", "PRIVATE KEY")]
    {
        let Some(Parameter { value, place, .. }) = parameters.get(name) else { continue };
        let text = std::fs::read(value).with_context(|| format!("reading the file of {place}"))?;
        let text = String::from_utf8_lossy(&text);
        ensure!(
            text.lines().any(|line| line.starts_with("-----BEGIN") && line.contains(content)),
            "the file of {place} contains no {} in the PEM format",
            content.to_lowercase()
        );
        ensure!(
            name != "sslkey" || !text.contains("ENCRYPTED"),
            "the key in the file of {place} is encrypted, which is not supported"
        );
    }
    Ok(())
}
