//! The HTTP client of the tools and the generator.

use std::time::Duration;

use anyhow::Context;
use reqwest::{Client, RequestBuilder, Response, StatusCode};
use serde_json::Value;
use tokio::time::Instant;
use url::{Host, Url};

/// Bounds a call, from connecting to the last byte of the answer.
pub(crate) const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// The interval between two attempts to connect.
const CONNECT_INTERVAL: Duration = Duration::from_millis(250);

/// Returns a client for the service at `base`.
pub(crate) fn client(base: &Url) -> reqwest::Result<Client> {
    let client = Client::builder().timeout(CALL_TIMEOUT);
    // The proxy that HTTP_PROXY names is another machine for a loopback address: it would connect
    // to itself.
    if is_loopback(base) { client.no_proxy().build() } else { client.build() }
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(address)) => address.is_loopback() || address.is_unspecified(),
        Some(Host::Ipv6(address)) => address.is_loopback() || address.is_unspecified(),
        None => false,
    }
}

/// Sends a request, and tries again for [`CALL_TIMEOUT`] while no connection can be made: the
/// service may be starting. Without a connection, nothing was sent, so that a request with an effect
/// is not repeated either.
pub(crate) async fn send(request: RequestBuilder) -> reqwest::Result<Response> {
    let last_attempt = Instant::now() + CALL_TIMEOUT - CONNECT_INTERVAL;
    loop {
        let attempt = request.try_clone().expect("the body of a request is not a stream");
        match attempt.send().await {
            Err(error) if error.is_connect() && Instant::now() < last_attempt => {
                tokio::time::sleep(CONNECT_INTERVAL).await;
            }
            outcome => return outcome,
        }
    }
}

/// Returns the status and the JSON of an answer. The error message names `service`.
pub(crate) async fn read_json(
    answer: Response,
    service: &str,
) -> anyhow::Result<(StatusCode, Value)> {
    let status = answer.status();
    let body = answer.json().await;
    let body =
        body.with_context(|| format!("the answer is not JSON; is this the {service} service?"))?;
    Ok((status, body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_this_machine_need_no_proxy() {
        for (url, expected) in [
            ("http://localhost:8081", true),
            ("http://orders.localhost", true),
            ("http://127.0.0.1:8081", true),
            ("http://127.1.2.3", true),
            ("http://[::1]:8081", true),
            ("http://orders.example", false),
            ("http://192.0.2.1", false),
            ("http://notlocalhost", false),
        ] {
            assert_eq!(is_loopback(&url.parse().unwrap()), expected, "{url}");
        }
    }
}
