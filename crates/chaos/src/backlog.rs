//! `chaos backlog`: measures the memory of the order service while PostgreSQL is down and a backlog
//! waits on Kafka, and while it then reads the backlog.

use std::{
    io::Write as _,
    path::PathBuf,
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use indicatif::ProgressBar;
use serde_json::{Value, json};
use testkit::{OwnServers, TestEnvironment, order_json::SAMPLE};

use crate::{recovery::Replica, resources::ProcessResources};

/// The memory that the service may take in addition to its cache, in bytes.
const BOUND: u64 = 150_000_000;
/// The number of records that are given to the producer at once.
const CHUNK: u64 = 20_000;
const SAMPLE_INTERVAL: Duration = Duration::from_millis(500);
/// The longest time without progress while the backlog is read.
const STALL_TIMEOUT: Duration = Duration::from_secs(60);

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Number of orders in the backlog.
    #[arg(long, default_value_t = 1_000_000, value_name = "N")]
    orders: u64,
    /// Seconds for which PostgreSQL is down, at least until all orders are sent.
    #[arg(long, default_value_t = 300, value_name = "SECONDS")]
    outage: u64,
    /// Size of the cache, in bytes.
    #[arg(long, default_value_t = 100_000_000, value_name = "BYTES")]
    cache_bytes: u64,
    /// Program that is measured.
    #[arg(long, default_value = "target/soak/waybill", value_name = "FILE")]
    waybill: PathBuf,
}

/// Measures and prints the memory. The exit code is 1 if it exceeds the bound.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let mut own = OwnServers::start().await;
    let env = TestEnvironment::new(&own.servers()).await;
    // All settings of the topic, because those that are not listed get the broker's defaults: its
    // limit of the log's size is too small for the backlog.
    let settings = [("retention.bytes", "-1"), ("message.timestamp.type", "LogAppendTime")];
    env.alter_topic(&env.orders_topic(), &settings).await;
    let more = ["--cache-bytes".to_owned(), args.cache_bytes.to_string()];
    let mut replica = Replica::start(&args.waybill, &env, "replica-0", &more)?;
    replica.wait_until_ready().await?;
    let id = replica.id()?;
    let idle = ProcessResources::of(id)?;

    let postgres = own.local.postgres.as_mut().context("PostgreSQL was started")?;
    postgres.kill().await?;
    let down = Instant::now();
    let outage = Duration::from_secs(args.outage);
    fill(&env, args.orders).await?;
    let filled = down.elapsed();
    while down.elapsed() < outage {
        tokio::time::sleep(SAMPLE_INTERVAL).await;
    }
    // The kernel keeps the peak, so nothing between two looks is missed.
    let during = ProcessResources::of(id)?;
    // Longer than requested if sending the orders took longer.
    let outage = down.elapsed();
    postgres.restart().await?;
    let up = Instant::now();
    drain(&env, args.orders).await?;
    let took = up.elapsed();
    let after = ProcessResources::of(id)?;
    let stored = env.count("orders.orders").await;
    ensure!(stored.cast_unsigned() == args.orders, "{stored} of {} orders are stored", args.orders);

    let beyond = after.peak_resident.saturating_sub(args.cache_bytes);
    let megabytes = |bytes: u64| format!("{:.0} MB", bytes as f64 / 1e6);
    let lines = [
        format!("backlog: {} orders, sent in {:.0} s", args.orders, filled.as_secs_f64()),
        format!("PostgreSQL down: {} s", outage.as_secs()),
        format!("read afterwards in {:.0} s", took.as_secs_f64()),
        format!("resident, idle: {}", megabytes(idle.resident)),
        format!("resident, peak while PostgreSQL was down: {}", megabytes(during.peak_resident)),
        format!("resident, peak of the whole run: {}", megabytes(after.peak_resident)),
        format!("resident, at the end: {}", megabytes(after.resident)),
        format!(
            "peak minus CACHE_BYTES ({}): {}, at most {}",
            megabytes(args.cache_bytes),
            megabytes(beyond),
            megabytes(BOUND)
        ),
    ];
    writeln!(std::io::stdout(), "{}", lines.join("\n"))?;
    replica.stop().await?;
    own.stop().await;
    Ok(ExitCode::from(u8::from(beyond > BOUND)))
}

async fn fill(env: &TestEnvironment, orders: u64) -> anyhow::Result<()> {
    let sample: Value = serde_json::from_str(SAMPLE)?;
    let progress = ProgressBar::new(orders).with_prefix("sending");
    for first in (0..orders).step_by(CHUNK as usize) {
        let numbers = first..orders.min(first + CHUNK);
        progress.inc(numbers.end - numbers.start);
        env.send_all(numbers.map(|number| order(&sample, number))).await;
    }
    progress.finish_and_clear();
    Ok(())
}

fn order(sample: &Value, number: u64) -> (Vec<u8>, Vec<u8>) {
    let uid = format!("backlog-{number}");
    let mut order = sample.clone();
    order["order_uid"] = json!(uid);
    order["track_number"] = json!(format!("WBILM{number:09}"));
    (uid.into_bytes(), order.to_string().into_bytes())
}

/// Waits until all offsets are committed.
async fn drain(env: &TestEnvironment, orders: u64) -> anyhow::Result<()> {
    let progress = ProgressBar::new(orders).with_prefix("reading");
    let (mut least, mut moved) = (i64::MAX, Instant::now());
    loop {
        let lag = env.lag().await;
        if lag < least {
            (least, moved) = (lag, Instant::now());
        }
        progress.set_position(orders.saturating_sub(lag.cast_unsigned()));
        if lag == 0 {
            progress.finish_and_clear();
            return Ok(());
        }
        ensure!(moved.elapsed() < STALL_TIMEOUT, "no progress, {lag} orders are not read");
        tokio::time::sleep(SAMPLE_INTERVAL).await;
    }
}
