//! Runs wrk, the HTTP client that measures a server.

use anyhow::{Context, ensure};
use tokio::process::Command;

use crate::{child::Server, process};

pub struct Measured {
    /// Requests a second.
    pub rate: f64,
    /// Microseconds of CPU of the server for a request: less dependent on other load of the
    /// machine.
    pub cpu: f64,
}

pub async fn run(wrk: &mut Command, seconds: u32, server: &Server) -> anyhow::Result<Measured> {
    let before = process::cpu_time(server.id()?)?;
    let output = wrk.output().await?;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "wrk: {}", String::from_utf8_lossy(&output.stderr));
    // An error is a faster answer, so the rate would be wrong.
    for error in ["Non-2xx", "Socket errors"] {
        ensure!(!text.contains(error), "wrk:\n{text}");
    }
    let microseconds = (process::cpu_time(server.id()?)? - before).as_secs_f64() * 1e6;
    let rate: f64 = text
        .lines()
        .find_map(|line| line.strip_prefix("Requests/sec:"))
        .and_then(|rate| rate.trim().parse().ok())
        .with_context(|| format!("wrk says no rate:\n{text}"))?;
    Ok(Measured { rate, cpu: microseconds / (rate * f64::from(seconds)) })
}
