//! Certificates of servers that a TLS client does not trust, as the errors of the TLS libraries
//! report them: rustls (PostgreSQL) and OpenSSL (Redis, HTTP).

use std::error::Error;

/// Returns the reason if `error`, or a cause of it, is a certificate that the client does not trust.
/// Only an operator can change that; a retry fails again.
#[must_use]
pub fn distrust(error: &(dyn Error + 'static)) -> Option<String> {
    let causes = std::iter::successors(Some(error), |&error| error.source());
    causes.filter_map(|cause| reason(&cause.to_string())).next()
}

fn reason(text: &str) -> Option<String> {
    if let Some((_, reason)) = text.split_once("invalid peer certificate: ") {
        let reason = match reason {
            "UnknownIssuer" => "it is not signed by a trusted certificate authority",
            reason => reason,
        };
        return Some(reason.to_owned());
    }
    // The text of OpenSSL ends with the result of the verification in parentheses.
    let (_, rest) = text.split_once("certificate verify failed")?;
    let result = rest.rsplit_once('(').and_then(|(_, last)| last.split_once(')'));
    Some(result.map_or("it cannot be verified", |(result, _)| result).to_owned())
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn the_reason_is_found_in_the_texts_of_both_libraries() {
        for (text, expected) in [
            (
                "invalid peer certificate: UnknownIssuer",
                Some("it is not signed by a trusted certificate authority"),
            ),
            ("invalid peer certificate: certificate expired", Some("certificate expired")),
            (
                "error:0A000086:SSL routines:tls_post_process_server_certificate:certificate verify \
                 failed:../ssl/statem/statem_clnt.c:1889: (certificate has expired)",
                Some("certificate has expired"),
            ),
            ("certificate verify failed", Some("it cannot be verified")),
            ("connection refused (os error 111)", None),
        ] {
            let error = anyhow::Error::new(io::Error::other(text)).context("connecting");
            let error: Box<dyn Error> = error.into();
            assert_eq!(distrust(&*error).as_deref(), expected, "{text}");
        }
    }
}
