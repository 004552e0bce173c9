//! Enlists couriers at the courier service, so that orders find somebody to carry them. Courier N
//! is the same person in every run, known by his telephone number, so enlisting twice adds nobody.

use std::time::Duration;

use anyhow::Context;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::{customers::Customer, rng::Rng};

/// Sets couriers apart from customers.
const STREAM: u64 = 0x63_6f_75_72;
/// How many are enlisted at once.
const AT_ONCE: u64 = 16;
const PATIENCE: Duration = Duration::from_secs(10);

/// Makes sure that the first `count` couriers are enlisted; tells how many were not yet.
pub async fn enlist(couriers_url: &str, count: u64) -> anyhow::Result<u64> {
    let base = url::Url::parse(couriers_url).context("--couriers-url is not an address")?;
    let call = base.join("courier").context("--couriers-url is not an address")?;
    let client = reqwest::Client::builder().timeout(PATIENCE).build()?;
    let mut enlisting = JoinSet::new();
    let mut enlisted = 0;
    for number in 0..count {
        enlisting.spawn(enlist_one(client.clone(), call.clone(), number));
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

async fn enlist_one(client: reqwest::Client, call: url::Url, number: u64) -> anyhow::Result<u64> {
    let answer = client.post(call).json(&courier(number)).send().await;
    let answer = answer.context("the courier service does not answer")?;
    match answer.status().as_u16() {
        201 => Ok(1),
        // His number is taken: by himself.
        409 => Ok(0),
        status => anyhow::bail!("the courier service refused a courier with status {status}"),
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
    use super::*;

    #[test]
    fn a_courier_is_the_same_person_in_every_run_and_nobody_else() {
        assert_eq!(courier(3), courier(3));
        assert_ne!(courier(3)["phone"], courier(4)["phone"]);
        assert_eq!(courier(3)["phone"].as_str().map(str::len), Some(14));
    }
}
