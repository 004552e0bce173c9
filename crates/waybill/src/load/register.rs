//! Enlists couriers at the courier service, so that orders find somebody to carry them. Courier N
//! is the same person in every run, known by his telephone number, so enlisting twice adds nobody.

use std::time::Duration;

use anyhow::Context;
use chassis::process::{exit::ExitReason, retry::Backoff};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use url::Url;

use super::{args::WhenSilent, customers::Customer, rng::Rng};

/// Sets couriers apart from customers.
const STREAM: u64 = 0x63_6f_75_72;
/// How many are enlisted at once.
const AT_ONCE: u64 = 16;
/// How long an answer may take, and how long a tool waits for the service.
const PATIENCE: Duration = Duration::from_secs(10);

/// Makes sure that the first `count` couriers are enlisted; tells how many were not yet. A service
/// that is silent is waited for as `when_silent` says.
pub async fn enlist(couriers: &Url, count: u64, when_silent: WhenSilent) -> anyhow::Result<u64> {
    let call = format!("{}/courier", couriers.as_str().trim_end_matches('/'));
    let client = reqwest::Client::builder().timeout(PATIENCE).build()?;
    let mut enlisting = JoinSet::new();
    let mut enlisted = 0;
    for number in 0..count {
        enlisting.spawn(enlist_one(client.clone(), call.clone(), number, when_silent));
        if number + 1 >= AT_ONCE {
            enlisted += next(&mut enlisting).await?;
        }
    }
    while !enlisting.is_empty() {
        enlisted += next(&mut enlisting).await?;
    }
    Ok(enlisted)
}

async fn next(enlisting: &mut JoinSet<anyhow::Result<u64>>) -> anyhow::Result<u64> {
    match enlisting.join_next().await {
        Some(enlisted) => enlisted.context("enlisting a courier ended")?,
        None => Ok(0),
    }
}

async fn enlist_one(
    client: reqwest::Client,
    call: String,
    number: u64,
    when_silent: WhenSilent,
) -> anyhow::Result<u64> {
    let insist = async {
        let mut backoff = Backoff::default();
        loop {
            match client.post(&call).json(&courier(number)).send().await {
                Ok(answer) => match answer.status().as_u16() {
                    201 => return Ok(1),
                    // His number is taken: by himself.
                    409 => return Ok(0),
                    // Its database is silent.
                    503 => {}
                    status => {
                        anyhow::bail!("the courier service refused a courier with status {status}")
                    }
                },
                Err(error) => tracing::debug!("enlisting a courier: {error}"),
            }
            backoff.pause().await;
        }
    };
    match when_silent {
        WhenSilent::Wait => insist.await,
        WhenSilent::GiveUp => tokio::time::timeout(PATIENCE, insist).await.unwrap_or_else(|_| {
            Err(ExitReason::Unreachable(format!(
                "the courier service was silent for 10 seconds at {call}; start it, or give \
                 --couriers-url"
            ))
            .into())
        }),
    }
}

fn courier(number: u64) -> Value {
    let mut rng = Rng::of(&[STREAM, number]);
    json!({
        "name": Customer::of_rank(rng.below(1 << 40)).name,
        // No country has numbers that begin with +999.
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

    /// A service that is silent to its first callers, and then enlists everybody.
    #[tokio::test]
    async fn whoever_waits_for_a_silent_service_enlists_all() {
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
        assert_eq!(enlist(&url, 20, WhenSilent::Wait).await.unwrap(), 20);
    }

    #[test]
    fn a_courier_is_the_same_person_in_every_run_and_nobody_else() {
        assert_eq!(courier(3), courier(3));
        assert_ne!(courier(3)["phone"], courier(4)["phone"]);
        assert_eq!(courier(3)["phone"].as_str().map(str::len), Some(14));
    }
}
