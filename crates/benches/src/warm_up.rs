//! Warm-up and resident memory: the release binary starts on a large table, with a cache that has
//! room for all orders. The time until the cache is warm is compared with a `COPY` of the same
//! columns. The memory of an order is then compared with the bytes of its HTTP response.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use anyhow::ensure;
use testkit::{Servers, TestEnvironment};
use tokio::process::Command;

use crate::{
    Cli,
    child::{self, Server},
    database,
    figure::{Figure, Round, Target, thousands},
    process, progress,
    seeded_orders::{self, Uids},
};

/// A cache size that is larger than a million orders need.
const CACHE_BYTES: u64 = 8 << 30;
/// The pause before memory is measured. Memory that is freed during the start returns to the system
/// with a delay.
const SETTLE_TIME: Duration = Duration::from_secs(3);

pub(crate) async fn measure(cli: &Cli, servers: &Servers) -> anyhow::Result<[Figure; 2]> {
    let psql = child::find("psql")?;
    let orders = cli.orders.unwrap_or(1_000_000);
    let binary = child::binary(cli.waybill.as_ref()).await?;
    let env = TestEnvironment::new(servers).await;
    progress("warm-up:");
    seeded_orders::fill(&env, orders, Uids::Numbers).await?;
    let empty = child::waybill(&binary, &env, &["--cache-bytes".into(), "0".into()], None).await?;
    tokio::time::sleep(SETTLE_TIME).await;
    let program = process::resident(empty.id()?)?;
    empty.stop().await?;
    let budget = ["--cache-bytes".to_owned(), CACHE_BYTES.to_string()];
    let (mut times, mut sizes) = (Vec::new(), Vec::new());
    for number in 1..=cli.rounds {
        let baseline = copy(&psql, &database::address(&env)?).await?;
        let waybill = child::waybill(&binary, &env, &budget, None).await?;
        let seconds = warm_up_seconds(&waybill).await?;
        tokio::time::sleep(SETTLE_TIME).await;
        let weight = child::metric(&waybill, "waybill_cache_bytes").await?;
        let size = size(&waybill.url).await?;
        let resident = (process::resident(waybill.id()?)? - program) / orders as f64;
        waybill.stop().await?;
        progress(&format!(
            "warm-up, round {number} of {}: {seconds:.2} s, COPY {baseline:.2} s; an order of {size:.0} \
             bytes takes {resident:.0} bytes of memory, of which the cache counts {:.0}; the program itself takes {} MB",
            cli.rounds,
            weight / orders as f64,
            thousands(program / 1e6),
        ));
        times.push(Round { baseline: baseline * 1e3, waybill: seconds * 1e3 });
        sizes.push(Round { baseline: size, waybill: resident });
    }
    database::drop_all(&env, &[]).await?;
    Ok([
        Figure::of_ratios(
            "warm-up",
            format!("{orders} orders into the cache; baseline: COPY of the same columns"),
            "ms",
            Target::AtMost { must: 2.5, aim: 1.5 },
            &times,
        ),
        Figure::of_ratios(
            "resident",
            format!("memory of one of {orders} cached orders; baseline: the bytes of its response"),
            "bytes",
            Target::AtMost { must: 1.5, aim: 1.3 },
            &sizes,
        ),
    ])
}

/// Waits until the cache is warm.
async fn warm_up_seconds(waybill: &Server) -> anyhow::Result<f64> {
    loop {
        let seconds = child::metric(waybill, "waybill_warm_up_seconds").await?;
        if seconds > 0.0 {
            return Ok(seconds);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Returns the seconds that PostgreSQL needs to write all orders to psql by `COPY`.
async fn copy(psql: &Path, database: &str) -> anyhow::Result<f64> {
    let begun = Instant::now();
    let output = Command::new(psql)
        .args(["--quiet", "--output=/dev/null", "--dbname", database, "--command"])
        .arg(format!("COPY (SELECT {} FROM orders.orders) TO STDOUT", seeded_orders::COLUMNS))
        .output()
        .await?;
    ensure!(output.status.success(), "psql: {}", String::from_utf8_lossy(&output.stderr));
    Ok(begun.elapsed().as_secs_f64())
}

/// Returns the mean size of an order's HTTP response, from one copy of each original.
async fn size(url: &str) -> anyhow::Result<f64> {
    let list = format!("{url}/orders?limit={}", seeded_orders::ORIGINALS);
    let page: serde_json::Value = reqwest::get(list).await?.json().await?;
    let mut bytes = 0;
    for order in page["items"].as_array().into_iter().flatten() {
        let uid = order["order_uid"].as_str().unwrap_or_default();
        let answer = reqwest::get(format!("{url}/order/{uid}")).await?.error_for_status()?;
        let source = answer.headers().get("x-cache").map(|source| source.as_bytes().to_vec());
        ensure!(
            source.as_deref() == Some(b"memory"),
            "the answer with {uid} did not come from memory"
        );
        bytes += answer.bytes().await?.len();
    }
    Ok(bytes as f64 / seeded_orders::ORIGINALS as f64)
}
