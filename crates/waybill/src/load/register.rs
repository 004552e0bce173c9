//! Registers couriers at the courier service, so that orders can be assigned. Courier N has the same
//! name and phone number in every run, so a second registration adds no courier.

use anyhow::Context;
use chassis::process::{certificate::distrust, exit::ExitReason, retry::Backoff};
use reqwest::Client;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use url::Url;

use super::{args::OnTimeout, customers::Customer, rng::Rng};
use crate::http::{self, CALL_TIMEOUT, HttpOptions};

/// Separates the random streams of couriers from those of customers.
const STREAM: u64 = 0x63_6f_75_72;
const MAX_CONCURRENT_CALLS: u64 = 16;

/// Registers the couriers 0 to `count` - 1, and returns the number of new ones.
pub(crate) async fn register_couriers(
    couriers: &Url,
    options: &HttpOptions,
    count: u64,
    on_timeout: OnTimeout,
) -> anyhow::Result<u64> {
    let client = options.client(&[couriers])?;
    let mut registering = JoinSet::new();
    let mut registered = 0;
    for number in 0..count {
        // At most MAX_CONCURRENT_CALLS calls are open at a time, so that the service and its pool are
        // not flooded.
        registering.spawn(register(client.clone(), couriers.clone(), number, on_timeout));
        if number + 1 >= MAX_CONCURRENT_CALLS {
            registered += next(&mut registering).await?;
        }
    }
    while !registering.is_empty() {
        registered += next(&mut registering).await?;
    }
    Ok(registered)
}

async fn next(registering: &mut JoinSet<anyhow::Result<u64>>) -> anyhow::Result<u64> {
    match registering.join_next().await {
        Some(registered) => registered.context("the task that registers a courier ended")?,
        None => Ok(0),
    }
}

/// Registers one courier; returns 1 if they are new, else 0.
async fn register(
    client: Client,
    couriers: Url,
    number: u64,
    on_timeout: OnTimeout,
) -> anyhow::Result<u64> {
    let registering = retry_until_answered(&client, &couriers, number);
    match on_timeout {
        OnTimeout::Wait => registering.await,
        OnTimeout::GiveUp => {
            tokio::time::timeout(CALL_TIMEOUT, registering).await.unwrap_or_else(|_| {
                Err(ExitReason::Unreachable(format!(
                    "the courier service did not answer for 10 seconds at {couriers}; start it, or \
                     set --couriers-url"
                ))
                .into())
            })
        }
    }
}

async fn retry_until_answered(client: &Client, couriers: &Url, number: u64) -> anyhow::Result<u64> {
    let url = format!("{}/courier", couriers.as_str().trim_end_matches('/'));
    let mut backoff = Backoff::default();
    loop {
        match client.post(&url).json(&courier(number)).send().await {
            Ok(answer) => match answer.status().as_u16() {
                201 => return Ok(1),
                // The phone number is taken, so the courier exists: an earlier run registered them,
                // or an earlier call did whose answer was lost.
                409 => return Ok(0),
                // The courier service cannot reach its database: a transient error.
                503 => {}
                401 => return Err(http::unauthorized("courier")),
                status => {
                    anyhow::bail!(
                        "the courier service refused to register a courier: status {status}"
                    )
                }
            },
            // Another attempt ends in the same way.
            Err(error) if distrust(&error).is_some() => {
                return Err(http::explain(
                    error,
                    "the courier service",
                    couriers,
                    "--couriers-url",
                ));
            }
            // The outcome is unknown: the service may have registered the courier. Repeating the call
            // is safe, because the phone number is unique.
            Err(error) => tracing::debug!("registering a courier: {error}"),
        }
        backoff.pause().await;
    }
}

fn courier(number: u64) -> Value {
    let mut rng = Rng::of(&[STREAM, number]);
    json!({
        "name": Customer::of_rank(rng.below(1 << 40)).name,
        // No country has the code 999, so the number cannot belong to a real person.
        "phone": format!("+999{number:010}"),
        "status": "available",
        "transport_type": rng.pick(&["on_foot", "scooter", "scooter", "car"]),
    })
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
    };

    use super::*;

    /// The service does not answer the first calls, then answers 503, then registers every courier.
    #[tokio::test]
    async fn all_are_registered_once_the_service_answers() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        tokio::spawn(async move {
            for call in 0.. {
                let (mut stream, _) = listener.accept().await.unwrap();
                let _ = stream.read(&mut [0; 4_096]).await;
                let status = ["503 Service Unavailable", "201 Created"][usize::from(call > 4)];
                let answer =
                    format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
                if call > 2 {
                    let _ = stream.write_all(answer.as_bytes()).await;
                }
            }
        });
        assert_eq!(
            register_couriers(&url, &HttpOptions::default(), 20, OnTimeout::Wait).await.unwrap(),
            20
        );
    }

    #[test]
    fn a_courier_is_the_same_in_every_run() {
        assert_eq!(courier(3), courier(3));
        assert_ne!(courier(3)["phone"], courier(4)["phone"]);
        assert_eq!(courier(3)["phone"].as_str().map(str::len), Some(14));
    }
}
