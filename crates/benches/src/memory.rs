//! Memory: the release binary takes a backlog; its peak resident set less `CACHE_BYTES`.

use std::time::{Duration, Instant};

use anyhow::Context;
use testkit::{Bed, Servers};

use crate::{
    Cli, backlog, child,
    figure::{Figure, Target, thousands},
    ingest, say,
};

pub async fn measure(cli: &Cli, servers: &Servers) -> anyhow::Result<Figure> {
    let orders = cli.orders.unwrap_or(500_000);
    let binary = child::binary(cli.waybill.as_ref()).await?;
    say(&format!("memory: filling Kafka with {} orders", thousands(orders as f64)));
    let bed = Bed::new(servers).await;
    backlog::fill(&bed, orders).await?;
    let more = ["--cache-bytes".to_owned(), cli.cache_bytes.to_string()];
    let begun = Instant::now();
    let waybill = child::waybill(&binary, &bed, &more, None).await?;
    ingest::all_stored(&bed, orders, Duration::from_secs(1)).await?;
    bed.drained().await;
    let seconds = begun.elapsed().as_secs_f64();
    let peak = peak_resident(waybill.id()?)?;
    waybill.stop().await?;
    ingest::remove(&bed).await?;
    say(&format!(
        "memory: peak {} MB after {seconds:.1} s, {} orders/s",
        thousands(peak / 1e6),
        thousands(orders as f64 / seconds)
    ));
    Ok(Figure::of_value(
        "memory",
        format!(
            "peak resident less CACHE_BYTES = {} after a backlog of {orders} orders",
            cli.cache_bytes
        ),
        "MB",
        Target::AtMost { must: 150.0, aim: 100.0 },
        (peak - cli.cache_bytes as f64) / 1e6,
    ))
}

/// The most bytes that a process has had in memory at once.
fn peak_resident(id: u32) -> anyhow::Result<f64> {
    status(id, "VmHWM:")
}

/// The bytes that a process has in memory.
pub fn resident(id: u32) -> anyhow::Result<f64> {
    status(id, "VmRSS:")
}

fn status(id: u32, name: &str) -> anyhow::Result<f64> {
    let file = format!("/proc/{id}/status");
    let status = std::fs::read_to_string(&file)
        .with_context(|| format!("reading {file}: only Linux has it"))?;
    let kibibytes: f64 = status
        .lines()
        .find_map(|line| line.strip_prefix(name))
        .and_then(|line| line.trim().strip_suffix("kB"))
        .and_then(|number| number.trim().parse().ok())
        .with_context(|| format!("{file} has no {name}"))?;
    Ok(kibibytes * 1024.0)
}
