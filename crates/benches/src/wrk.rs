//! Runs wrk, the HTTP client that measures a server.

use anyhow::{Context, ensure};
use tokio::process::Command;

use crate::{child::Server, process};

pub(crate) struct Measured {
    /// Requests per second.
    pub rate: f64,
    /// Microseconds of CPU time of the server per request. They depend less on other load of the
    /// machine than the rate does.
    pub cpu: f64,
}

pub(crate) async fn run(
    wrk: &mut Command,
    seconds: u32,
    server: &Server,
) -> anyhow::Result<Measured> {
    let before = process::cpu_time(server.id()?)?;
    let output = wrk.output().await?;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "wrk: {}", String::from_utf8_lossy(&output.stderr));
    // An error is answered faster than a request for an order, so the rate would be wrong.
    for error in ["Non-2xx", "Socket errors"] {
        ensure!(!text.contains(error), "wrk:\n{text}");
    }
    let microseconds = (process::cpu_time(server.id()?)? - before).as_secs_f64() * 1e6;
    let rate: f64 = text
        .lines()
        .find_map(|line| line.strip_prefix("Requests/sec:"))
        .and_then(|rate| rate.trim().parse().ok())
        .with_context(|| format!("wrk printed no rate:\n{text}"))?;
    Ok(Measured { rate, cpu: microseconds / (rate * f64::from(seconds)) })
}
