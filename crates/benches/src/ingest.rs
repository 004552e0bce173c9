//! Ingest: the release binary takes a backlog from Kafka. What it is compared with runs beside it:
//! a loop of one transaction a message on the head of the same backlog, PostgreSQL's own `COPY` of
//! the very rows that came of it, and one typed parse of the same records.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use testkit::{Servers, TestEnvironment};

use crate::{
    Cli, backlog, baseline,
    child::{self, Server},
    figure::{Figure, Round, Target, thousands},
    process, say, seeded_orders,
};

/// One in so many records of the backlog with bad ones is bad.
const BAD_ONE_IN: u64 = 20;
/// Records that the baseline parses.
const PARSED: u64 = 20_000;
/// How often it does so: for a second or more.
const PASSES: u64 = 25;

/// How the service took a backlog.
pub struct Taken {
    /// Orders a second, from its start until every offset is committed.
    pub rate: f64,
    /// Microseconds that its process computed for an order, its own events heard included.
    pub cpu: f64,
    /// The most bytes that it had in memory at once.
    pub peak: f64,
}

pub async fn measure(cli: &Cli, servers: &Servers) -> anyhow::Result<Vec<Figure>> {
    let binary = child::binary(cli.waybill.as_ref()).await?;
    let orders = cli.orders.unwrap_or(500_000);
    let compared = cli.baseline_orders.min(orders);
    let (mut loops, mut copies, mut cpus, mut bads, mut replays) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let parsed_records = backlog::records(0..PARSED)?;
    for number in 1..=cli.rounds {
        say(&format!("ingest, round {number} of {}: filling Kafka", cli.rounds));
        let env = TestEnvironment::new(servers).await;
        backlog::fill(&env, 0..orders, None).await?;
        let mut administrator = administrator(&env).await?;
        // Neither is always the first on a warm machine.
        let loop_first = number % 2 == 1;
        let mut baseline = 0.0;
        if loop_first {
            baseline = baseline::take(&env, &mut administrator, compared).await?;
        }
        checkpoint(&mut administrator).await?;
        let parsed_before = parse(&parsed_records)?;
        let taken = take(&binary, &env, orders, &[]).await?;
        let parsed = f64::midpoint(parsed_before, parse(&parsed_records)?);
        if !loop_first {
            baseline = baseline::take(&env, &mut administrator, compared).await?;
        }
        let again = env.in_another_group();
        // Only orders are read again.
        again.skip_status_events().await;
        checkpoint(&mut administrator).await?;
        let replayed = take(&binary, &again, orders, &[]).await?;
        let copied = copy(&mut administrator, orders).await?;
        administrator.close().await?;
        remove(&env).await?;

        let env = TestEnvironment::new(servers).await;
        backlog::fill(&env, 0..orders, Some(BAD_ONE_IN)).await?;
        let with_bad = take(&binary, &env, orders, &[]).await?;
        remove(&env).await?;
        say(&format!(
            "ingest, round {number}: Waybill {}/s ({:.1} µs of CPU an order), loop {}/s, COPY {}/s, \
             parse {parsed:.2} µs; replayed {}/s; with bad records {}/s",
            thousands(taken.rate),
            taken.cpu,
            thousands(baseline),
            thousands(copied),
            thousands(replayed.rate),
            thousands(with_bad.rate),
        ));
        loops.push(Round { waybill: taken.rate, baseline });
        copies.push(Round { waybill: taken.rate, baseline: copied });
        cpus.push(Round { waybill: taken.cpu, baseline: parsed });
        bads.push(Round { waybill: with_bad.rate, baseline: taken.rate });
        replays.push(Round { waybill: replayed.rate, baseline: taken.rate });
    }
    let least = |must, aim| Target::AtLeast { must, aim };
    Ok(vec![
        Figure::of_ratios(
            "ingest",
            format!(
                "{orders} orders from Kafka into PostgreSQL, events sent, offsets committed; \
                 baseline: {compared} of them, one transaction a message on four tables"
            ),
            "orders/s",
            least(20.0, 30.0),
            &loops,
        ),
        Figure::of_ratios(
            "ingest-copy",
            "the same; baseline: COPY of the same rows into the same table".to_owned(),
            "orders/s",
            least(0.45, 0.55),
            &copies,
        ),
        Figure::of_ratios(
            "ingest-bad",
            format!("one record in {BAD_ONE_IN} is bad; baseline: none is"),
            "records/s",
            least(0.7, 0.9),
            &bads,
        ),
        Figure::of_ratios(
            "ingest-cpu",
            "CPU of the process for an order; baseline: one typed serde_json parse".to_owned(),
            "µs",
            Target::AtMost { must: 8.0, aim: 5.0 },
            &cpus,
        ),
        Figure::of_ratios(
            "replay",
            "the same records again, by another group; baseline: the first time".to_owned(),
            "orders/s",
            least(1.2, 1.4),
            &replays,
        ),
    ])
}

/// Into a table that holds millions of orders, against an empty one.
pub async fn measure_large(cli: &Cli, servers: &Servers) -> anyhow::Result<Figure> {
    let binary = child::binary(cli.waybill.as_ref()).await?;
    let (old, orders) = (cli.table_orders, cli.orders.unwrap_or(500_000));
    let full = TestEnvironment::new(servers).await;
    say("ingest-large:");
    seeded_orders::fill(&full, old, seeded_orders::Uids::Hashes).await?;
    let mut administrator = administrator(&full).await?;
    let (mut fewest_checkpoints, mut rounds) = (i64::MAX, Vec::new());
    for number in 0..u64::from(cli.rounds) {
        let records = number * orders..(number + 1) * orders;
        let empty = TestEnvironment::new(servers).await;
        backlog::fill(&empty, records.clone(), None).await?;
        let baseline = take(&binary, &empty, orders, &[]).await?.rate;
        remove(&empty).await?;

        backlog::fill(&full, records, None).await?;
        checkpoint(&mut administrator).await?;
        let before = count_checkpoints(&mut administrator).await?;
        let waybill = take(&binary, &full, orders, &[]).await?.rate;
        let checkpoints = count_checkpoints(&mut administrator).await? - before;
        fewest_checkpoints = fewest_checkpoints.min(checkpoints);
        say(&format!(
            "ingest-large, round {} of {}: {}/s over {checkpoints} checkpoints, {}/s into an empty table",
            number + 1,
            cli.rounds,
            thousands(waybill),
            thousands(baseline),
        ));
        rounds.push(Round { waybill, baseline });
    }
    let settings: String = sqlx::query_scalar(
        "SELECT string_agg(name || ' ' || current_setting(name), ', ' ORDER BY name) \
         FROM pg_settings \
         WHERE name IN ('max_wal_size', 'checkpoint_timeout', 'full_page_writes', \
             'wal_compression', 'wal_level', 'shared_buffers')",
    )
    .fetch_one(&mut administrator)
    .await?;
    administrator.close().await?;
    remove(&full).await?;
    Ok(Figure::of_ratios(
        "ingest-large",
        format!(
            "{orders} orders into a table of {old}, over at least {fewest_checkpoints} checkpoints \
             ({settings}); baseline: into an empty table"
        ),
        "orders/s",
        Target::AtLeast { must: 0.4, aim: 0.6 },
        &rounds,
    ))
}

/// Checkpoints that the server has finished since its statistics began.
async fn count_checkpoints(administrator: &mut PgConnection) -> anyhow::Result<i64> {
    let version: i32 = sqlx::query_scalar("SELECT current_setting('server_version_num')::integer")
        .fetch_one(&mut *administrator)
        .await?;
    let statement = if version >= 170_000 {
        "SELECT num_timed + num_requested FROM pg_stat_checkpointer"
    } else {
        "SELECT checkpoints_timed + checkpoints_req FROM pg_stat_bgwriter"
    };
    Ok(sqlx::query_scalar(statement).fetch_one(administrator).await?)
}

/// From the service's start until every order is stored, published and its offset committed.
pub async fn take(
    binary: &Path,
    env: &TestEnvironment,
    records: u64,
    more: &[String],
) -> anyhow::Result<Taken> {
    let begun = Instant::now();
    let service = child::waybill(binary, env, more, None).await?;
    settled(&service, records).await?;
    let stored = begun.elapsed();
    env.wait_until_drained().await;
    let seconds = begun.elapsed().as_secs_f64();
    env.wait_until_status_drained().await;
    let all = begun.elapsed();
    let cpu = process::computed(service.id()?)?.as_secs_f64() * 1e6 / records as f64;
    let peak = process::peak_resident(service.id()?)?;
    service.stop().await?;
    say(&format!(
        "  {}/s: settled after {stored:.1?}, committed after {seconds:.1}s, heard after {all:.1?}, \
         {cpu:.1} µs an order, peak {} MB",
        thousands(records as f64 / seconds),
        thousands(peak / 1e6)
    ));
    Ok(Taken { rate: records as f64 / seconds, cpu, peak })
}

/// Waits until the service says that it has settled so many records; fails if nothing moves for a
/// minute. To ask the database would have it count its rows beside what is measured.
async fn settled(service: &Server, records: u64) -> anyhow::Result<()> {
    let (mut last, mut moved) = (0, Instant::now());
    loop {
        let orders = child::told(service, "waybill_orders_committed_total").await?;
        let rejected = child::told(service, "waybill_records_rejected_total").await?;
        let settled = (orders + rejected) as u64;
        if settled >= records {
            ensure!(settled == records, "{settled} records settled of {records}");
            return Ok(());
        }
        if settled > last {
            (last, moved) = (settled, Instant::now());
        }
        let patience = Duration::from_secs(60);
        ensure!(
            moved.elapsed() < patience,
            "ingest stands still at {settled} of {records} records"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Rows a second that PostgreSQL itself copies into the table, from a file of its own, one stream.
async fn copy(administrator: &mut PgConnection, orders: u64) -> anyhow::Result<f64> {
    let folder: String =
        sqlx::query_scalar("SHOW data_directory").fetch_one(&mut *administrator).await?;
    let file = format!("{folder}/bench.copy");
    let run = async |administrator: &mut PgConnection, statement: String| {
        sqlx::raw_sql(AssertSqlSafe(statement)).execute(administrator).await
    };
    run(administrator, format!("COPY orders.orders TO '{file}'")).await?;
    run(administrator, "TRUNCATE orders.orders".to_owned()).await?;
    checkpoint(administrator).await?;
    let begun = Instant::now();
    let copied = run(administrator, format!("COPY orders.orders FROM '{file}'")).await?;
    let rate = orders as f64 / begun.elapsed().as_secs_f64();
    ensure!(copied.rows_affected() == orders, "COPY took {} rows", copied.rows_affected());
    std::fs::remove_file(&file).with_context(|| format!("removing {file}"))?;
    Ok(rate)
}

/// Microseconds of CPU of one typed parse of a record of the backlog: the mean of many, at which
/// every core is, as it is while Waybill computes.
fn parse(records: &[(Vec<u8>, Vec<u8>)]) -> anyhow::Result<f64> {
    let pass = || -> anyhow::Result<Duration> {
        for _ in 0..PASSES {
            for (_, value) in records {
                std::hint::black_box(serde_json::from_slice::<baseline::Order>(value)?);
            }
        }
        process::computed_by_this_thread()
    };
    let cores = std::thread::available_parallelism()?.get();
    let computed = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..cores).map(|_| scope.spawn(pass)).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().expect("parsing panics"))
            .sum::<Result<Duration, _>>()
    })?;
    Ok(computed.as_secs_f64() * 1e6 / (cores as u64 * PASSES * records.len() as u64) as f64)
}

async fn checkpoint(administrator: &mut PgConnection) -> anyhow::Result<()> {
    sqlx::query("CHECKPOINT").execute(administrator).await?;
    Ok(())
}

/// The superuser, in the env's database.
pub async fn administrator(env: &TestEnvironment) -> anyhow::Result<PgConnection> {
    let (server, _) =
        env.servers.postgres.rsplit_once('/').context("the address names a database")?;
    Ok(PgConnection::connect(&format!("{server}/{}_orders", env.name)).await?)
}

/// Frees the disk, and rids the next round of this one's vacuum.
pub async fn remove(env: &TestEnvironment) -> anyhow::Result<()> {
    env.pool.close().await;
    let mut server = PgConnection::connect(&env.servers.postgres).await?;
    let statement = format!("DROP DATABASE {}_orders WITH (FORCE)", env.name);
    sqlx::query(AssertSqlSafe(statement)).execute(&mut server).await?;
    Ok(())
}
