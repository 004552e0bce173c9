//! TLS to every server that Waybill connects to, and in front of its own HTTP: the right
//! certificate is accepted, and any other one is explained in a sentence.

mod certificates;
mod kafka;
mod nginx;
mod postgres;
mod redis;
mod tools;

use std::process::Output;

use testkit::{Nginx, Service};

use self::certificates::Certificates;

/// Asserts that a program has ended with this exit code and an error that contains all of `words`,
/// but no secret of these tests.
fn assert_ended(output: &Output, code: i32, words: &[&str]) {
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{error}");
    for word in words {
        assert!(error.contains(word), "no {word} in {error}");
    }
    assert!(!error.contains("secret"), "{error}");
}

/// Starts nginx with the certificate `kind` in front of a service. `server` is added to its block.
async fn start_proxy(
    certificates: &Certificates,
    kind: &str,
    service: &Service,
    server: &str,
) -> Nginx {
    let (certificate, key) = (certificates.certificate(kind), certificates.key(kind));
    Nginx::start(|port, _| {
        format!(
            "server {{ listen 127.0.0.1:{port} ssl; ssl_certificate {certificate}; \
             ssl_certificate_key {key}; {server} location / {{ proxy_pass {}; }} }}",
            service.url
        )
    })
    .await
}
