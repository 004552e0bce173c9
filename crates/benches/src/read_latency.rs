//! How soon an order can be read: from the moment at which its record is handed to Kafka's client to
//! the answer with it, at a steady pace. Each order is asked for at once with `?wait`, on a
//! connection of its own, so the answer comes when the service has the order and not a moment before.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use testkit::{Bed, Servers};
use tokio::task::JoinSet;

use crate::{
    Cli, backlog, child,
    figure::{self, Figure, Target},
    ingest,
};

/// Orders a second.
const PACE: u64 = 1_000;
/// How long, and how much of it at first is not counted.
const SECONDS: u64 = 20;
const WARMING: u64 = 2;
/// The age at which the service closes a batch, by its default settings, in milliseconds.
const BATCH_AGE: f64 = 5.0;

pub async fn measure(cli: &Cli, servers: &Servers) -> anyhow::Result<Figure> {
    let binary = child::binary(cli.waybill.as_ref()).await?;
    let bed = Bed::new(servers).await;
    let records = backlog::records(0..PACE * SECONDS)?;
    let service = child::waybill(&binary, &bed, &[], None).await?;
    let client = reqwest::Client::new();

    let begun = Instant::now();
    let (mut sent, mut reads) = (0, JoinSet::new());
    while sent < records.len() {
        let due = (begun.elapsed().as_micros() as u64 * PACE / 1_000_000) as usize;
        for (key, value) in &records[sent..due.min(records.len())] {
            let order = format!("{}/order/{}?wait=10s", service.url, str::from_utf8(key)?);
            let sent_at = Instant::now();
            bed.enqueue(key, value);
            let request = client.get(order);
            reads.spawn(async move {
                request.send().await?.error_for_status()?.bytes().await?;
                anyhow::Ok((sent_at, sent_at.elapsed()))
            });
        }
        sent = due.min(records.len());
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let mut latencies = Vec::new();
    while let Some(read) = reads.join_next().await {
        let (sent_at, latency) = read?.context("an order was not to be read within 10 s")?;
        if sent_at - begun > Duration::from_secs(WARMING) {
            latencies.push(latency.as_secs_f64() * 1e3);
        }
    }
    ensure!(!latencies.is_empty(), "no order was read");
    service.stop().await?;
    ingest::remove(&bed).await?;
    let p99 = figure::p99("read-latency", &mut latencies);
    Ok(Figure::of_value(
        "read-latency",
        format!(
            "from the sending of an order to its answer over HTTP, {PACE} orders a second, p99, \
             beyond the {BATCH_AGE} ms that a batch may grow old"
        ),
        "ms",
        Target::AtMost { must: 20.0, aim: 8.0 },
        p99 - BATCH_AGE,
    ))
}
