//! Uncached GET: 32 connections request orders that are not cached. The baseline is pgbench with
//! the same number of connections, which reads the same columns by the same keys. The two run one
//! after the other, each with the whole machine.

use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use testkit::{Servers, TestEnvironment};
use tokio::process::Command;

use crate::{
    Cli,
    child::{self, Folder},
    database,
    figure::{Figure, Round, Target, thousands},
    progress,
    seeded_orders::{self, Uids},
    wrk,
};

const CONNECTIONS: &str = "32";
/// Room for about 800 orders: an order that is read evicts one that was read before.
const CACHE_BYTES: u64 = 1_000_000;

pub(crate) async fn measure(cli: &Cli, servers: &Servers) -> anyhow::Result<Figure> {
    let (wrk, pgbench) = (child::find("wrk")?, child::find("pgbench")?);
    let orders = cli.orders.unwrap_or(200_000);
    let binary = child::binary(cli.waybill.as_ref()).await?;
    let env = TestEnvironment::new(servers).await;
    progress("uncached:");
    seeded_orders::fill(&env, orders, Uids::Numbers).await?;
    let folder = Folder::new()?;
    let script = write_wrk_script(&folder, orders)?;
    let statements = write_pgbench_script(&folder, orders)?;
    let budget = ["--cache-bytes".to_owned(), CACHE_BYTES.to_string()];
    let waybill = child::waybill(&binary, &env, &budget, None).await?;
    let database = database::address(&env)?;
    let mut rounds = Vec::new();
    for number in 1..=cli.rounds {
        let baseline = read(&pgbench, &database, &statements, cli.seconds).await?;
        let hits = child::metric(&waybill, "waybill_cache_hits_total").await?;
        let mut client = Command::new(&wrk);
        client
            .args(["-t1", &format!("-c{CONNECTIONS}"), &format!("-d{}s", cli.seconds)])
            .args([&format!("-s{}", script.display()), &waybill.url]);
        let measured = wrk::run(&mut client, cli.seconds, &waybill).await?;
        let hits = child::metric(&waybill, "waybill_cache_hits_total").await? - hits;
        let hit_share = hits / (measured.rate * f64::from(cli.seconds));
        ensure!(hit_share < 0.02, "a share of {hit_share} of the orders came from memory");
        progress(&format!(
            "uncached, round {number} of {}: Waybill {}/s, pgbench {}/s; CPU of the service {:.1} µs per request",
            cli.rounds,
            thousands(measured.rate),
            thousands(baseline),
            measured.cpu
        ));
        rounds.push(Round { baseline, waybill: measured.rate });
    }
    waybill.stop().await?;
    database::drop_all(&env, &[]).await?;
    Ok(Figure::of_ratios(
        "uncached",
        format!(
            "one of {orders} orders by key, not cached, {CONNECTIONS} connections; baseline: pgbench"
        ),
        "requests/s",
        Target::AtLeast { must: 0.66, aim: 0.9 },
        &rounds,
    ))
}

/// Writes wrk's script. The ids differ only in their last digits, because wrk's numbers are not
/// exact above 2^53. The step is a prime, so the script reaches every id.
fn write_wrk_script(folder: &Folder, orders: u64) -> anyhow::Result<PathBuf> {
    let (head, digits) = (seeded_orders::FIRST_UID / 1_000_000_000, 9);
    let script = format!(
        "local n = os.time() % {orders}\n\
         function request()\n  \
           n = (n + 104729) % {orders}\n  \
           return string.format(\"GET /order/{head}%0{digits}d HTTP/1.1\\r\\nHost: bench\\r\\n\\r\\n\", n)\n\
         end\n"
    );
    let file = folder.0.join("requests.lua");
    std::fs::write(&file, script)?;
    Ok(file)
}

fn write_pgbench_script(folder: &Folder, orders: u64) -> anyhow::Result<PathBuf> {
    let script = format!(
        "\\set uid {} + random(0, {orders} - 1)\n\
         SELECT {} FROM orders.orders WHERE order_uid = :uid;\n",
        seeded_orders::FIRST_UID,
        seeded_orders::COLUMNS
    );
    let file = folder.0.join("read.sql");
    std::fs::write(&file, script)?;
    Ok(file)
}

/// Returns the reads per second of pgbench.
async fn read(
    pgbench: &Path,
    database: &str,
    statements: &Path,
    seconds: u32,
) -> anyhow::Result<f64> {
    let output = Command::new(pgbench)
        .args(["--no-vacuum", "--protocol=prepared", "--jobs=2", "--client", CONNECTIONS])
        .args(["--time", &seconds.to_string(), "--file"])
        .arg(statements)
        .arg(database)
        .output()
        .await?;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "pgbench: {}", String::from_utf8_lossy(&output.stderr));
    text.lines()
        .find_map(|line| line.strip_prefix("tps = ")?.split(' ').next()?.parse().ok())
        .with_context(|| format!("pgbench printed no rate:\n{text}"))
}
