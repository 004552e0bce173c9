//! Ingest: the order service in this process takes a backlog; the baseline takes the head of the
//! same backlog, from the same Kafka into the same PostgreSQL. Rates are compared.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use sqlx::{Connection as _, PgConnection};
use testkit::{Bed, Servers};

use crate::{
    Cli, backlog, baseline,
    figure::{Figure, Round, Target, thousands},
    say,
};

pub async fn measure(cli: &Cli, servers: &Servers) -> anyhow::Result<Figure> {
    let orders = cli.orders.unwrap_or(100_000);
    let compared = cli.baseline_orders.min(orders);
    let mut rounds = Vec::new();
    for number in 1..=cli.rounds {
        say(&format!("ingest, round {number} of {}: filling Kafka", cli.rounds));
        let bed = Bed::new(servers).await;
        backlog::fill(&bed, orders).await?;
        let mut administrator = administrator(&bed).await?;
        // Neither is always the first on a warm machine.
        let round = if number % 2 == 1 {
            let baseline = baseline::take(&bed, &mut administrator, compared).await?;
            Round { baseline, waybill: take(&bed, &mut administrator, orders).await? }
        } else {
            let waybill = take(&bed, &mut administrator, orders).await?;
            Round { baseline: baseline::take(&bed, &mut administrator, compared).await?, waybill }
        };
        say(&format!(
            "ingest, round {number}: Waybill {}/s, baseline {}/s",
            thousands(round.waybill),
            thousands(round.baseline)
        ));
        rounds.push(round);
        administrator.close().await?;
        remove(&bed).await?;
    }
    Ok(Figure::of_ratios(
        "ingest",
        format!("{orders} orders from Kafka into PostgreSQL; baseline: {compared}"),
        "orders/s",
        Target::AtLeast { must: 20.0, aim: 30.0 },
        &rounds,
    ))
}

/// From the service's start until every order is stored, published and its offset committed.
async fn take(bed: &Bed, administrator: &mut PgConnection, orders: u64) -> anyhow::Result<f64> {
    sqlx::query("CHECKPOINT").execute(administrator).await?;
    let begun = Instant::now();
    let service = bed.start(&[]).await;
    all_stored(bed, orders, Duration::from_millis(100)).await?;
    let stored = begun.elapsed();
    bed.drained().await;
    let rate = orders as f64 / begun.elapsed().as_secs_f64();
    say(&format!("  stored after {stored:.1?}, settled after {:.1?}", begun.elapsed()));
    service.stop().await?;
    Ok(rate)
}

/// Waits until the backlog is in the table; fails if nothing moves for a minute.
pub async fn all_stored(bed: &Bed, orders: u64, pause: Duration) -> anyhow::Result<()> {
    let (mut last, mut moved) = (0, Instant::now());
    loop {
        let stored = bed.count("orders.orders").await;
        if stored >= orders as i64 {
            ensure!(stored == orders as i64, "{stored} rows of {orders} orders");
            return Ok(());
        }
        if stored > last {
            (last, moved) = (stored, Instant::now());
        }
        let patience = Duration::from_secs(60);
        ensure!(moved.elapsed() < patience, "ingest stands still at {stored} of {orders} orders");
        tokio::time::sleep(pause).await;
    }
}

/// The superuser, in the bed's database.
async fn administrator(bed: &Bed) -> anyhow::Result<PgConnection> {
    let (server, _) =
        bed.servers.postgres.rsplit_once('/').context("the address names a database")?;
    Ok(PgConnection::connect(&format!("{server}/{}_orders", bed.name)).await?)
}

/// Frees the disk, and rids the next round of this one's vacuum.
pub async fn remove(bed: &Bed) -> anyhow::Result<()> {
    bed.pool.close().await;
    let mut server = PgConnection::connect(&bed.servers.postgres).await?;
    let statement = format!("DROP DATABASE {}_orders WITH (FORCE)", bed.name);
    sqlx::query(sqlx::AssertSqlSafe(statement)).execute(&mut server).await?;
    Ok(())
}
