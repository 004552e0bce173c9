//! Uncached GET: 32 connections, each order asked for once, against pgbench with as many connections
//! that reads the same columns by the same keys. Both have the whole machine, each in its turn.

use std::path::Path;

use anyhow::{Context, ensure};
use testkit::{Servers, TestEnvironment};
use tokio::process::Command;

use crate::{
    Cli, child,
    figure::{Figure, Round, Target, thousands},
    get, ingest, say, seeded_orders,
};

const CONNECTIONS: &str = "32";
/// Room for about 800 orders: what is read displaces what was read before.
const CACHE_BYTES: u64 = 1_000_000;

pub async fn measure(cli: &Cli, servers: &Servers) -> anyhow::Result<Figure> {
    let (wrk, pgbench) = (child::find("wrk")?, child::find("pgbench")?);
    let orders = cli.orders.unwrap_or(200_000);
    let binary = child::binary(cli.waybill.as_ref()).await?;
    let env = TestEnvironment::new(servers).await;
    say("uncached:");
    seeded_orders::fill(&env, orders, seeded_orders::Uids::Numbers).await?;
    let folder = get::Folder::new()?;
    let (questions, statements) = (folder.0.join("questions.lua"), folder.0.join("read.sql"));
    // The ids differ in their last digits only, and a step that is prime comes to every one of them.
    // wrk's numbers are not exact beyond 2^53.
    let (head, digits) = (seeded_orders::FIRST_UID / 1_000_000_000, 9);
    std::fs::write(
        &questions,
        format!(
            "local n = os.time() % {orders}\n\
             function request()\n  \
               n = (n + 104729) % {orders}\n  \
               return string.format(\"GET /order/{head}%0{digits}d HTTP/1.1\\r\\nHost: bench\\r\\n\\r\\n\", n)\n\
             end\n"
        ),
    )?;
    std::fs::write(
        &statements,
        format!(
            "\\set uid {} + random(0, {orders} - 1)\n\
             SELECT {} FROM orders.orders WHERE order_uid = :uid;\n",
            seeded_orders::FIRST_UID,
            seeded_orders::COLUMNS
        ),
    )?;
    let budget = ["--cache-bytes".to_owned(), CACHE_BYTES.to_string()];
    let waybill = child::waybill(&binary, &env, &budget, None).await?;
    let database = seeded_orders::address(&env)?;
    let mut rounds = Vec::new();
    for number in 1..=cli.rounds {
        let baseline = read(&pgbench, &database, &statements, cli.seconds).await?;
        let hits = child::told(&waybill, "waybill_cache_hits_total").await?;
        let asked = [
            "-t1".to_owned(),
            format!("-c{CONNECTIONS}"),
            format!("-d{}s", cli.seconds),
            format!("-s{}", questions.display()),
            waybill.url.clone(),
        ];
        let (rate, cpu) =
            get::ask(Command::new(&wrk).args(asked), cli.seconds, waybill.id()?).await?;
        let hits = child::told(&waybill, "waybill_cache_hits_total").await? - hits;
        let hit_share = hits / (rate * f64::from(cli.seconds));
        ensure!(hit_share < 0.02, "{hit_share} of the orders came from memory");
        say(&format!(
            "uncached, round {number} of {}: Waybill {}/s, pgbench {}/s; CPU of the service {cpu:.1} µs a request",
            cli.rounds,
            thousands(rate),
            thousands(baseline)
        ));
        rounds.push(Round { baseline, waybill: rate });
    }
    waybill.stop().await?;
    ingest::remove(&env).await?;
    Ok(Figure::of_ratios(
        "uncached",
        format!(
            "one of {orders} orders by key, not cached, {CONNECTIONS} connections; baseline: pgbench"
        ),
        "requests/s",
        Target::AtLeast { must: 0.6, aim: 0.75 },
        &rounds,
    ))
}

/// Reads a second that pgbench does.
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
        .with_context(|| format!("pgbench says no rate:\n{text}"))
}
