//! The HTTP client of the tools and the generator.

use std::time::Duration;

use anyhow::Context;
use reqwest::{Client, Response, StatusCode};
use serde_json::Value;

/// Bounds a call, from connecting to the last byte of the answer.
pub(crate) const CALL_TIMEOUT: Duration = Duration::from_secs(10);

pub(crate) fn client() -> reqwest::Result<Client> {
    Client::builder().timeout(CALL_TIMEOUT).build()
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
