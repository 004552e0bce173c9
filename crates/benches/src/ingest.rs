//! Ingest: the release binary ingests a backlog from Kafka. Three baselines run on the same
//! machine: a loop with one transaction per message on the first records of the same backlog,
//! PostgreSQL's own `COPY` of the resulting rows, and one typed parse of the same records.

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
    database,
    figure::{Figure, Round, Target, thousands},
    process, progress,
    seeded_orders::{self, Uids},
};

/// In the backlog with invalid records, one record in this many is invalid.
const BAD_ONE_IN: u64 = 20;
/// The number of records that the baseline parses.
const PARSED: u64 = 20_000;
/// The number of passes over these records; together they take a second or more.
const PASSES: u64 = 25;
/// Bounds the time without a settled record.
const STALL_TIMEOUT: Duration = Duration::from_secs(60);

/// The service's performance on a backlog.
pub(crate) struct Taken {
    /// Orders per second, from the start of the service until every offset is committed.
    pub rate: f64,
    /// Microseconds of CPU time of the process per order, including the events of that order.
    pub cpu: f64,
    /// The peak of the resident memory, in bytes.
    pub peak: f64,
}

/// The rates of one round, and the time of a parse in microseconds.
struct IngestRound {
    taken: Taken,
    row_by_row: f64,
    copied: f64,
    parsed: f64,
    replayed: f64,
    with_bad: f64,
}

pub(crate) async fn measure(cli: &Cli, servers: &Servers) -> anyhow::Result<Vec<Figure>> {
    let binary = child::binary(cli.waybill.as_ref()).await?;
    let orders = cli.orders.unwrap_or(500_000);
    let compared = cli.baseline_orders.min(orders);
    let parsed_records = backlog::records(0..PARSED)?;
    let mut rounds = Vec::new();
    for number in 1..=cli.rounds {
        progress(&format!("ingest, round {number} of {}: filling Kafka", cli.rounds));
        let env = TestEnvironment::new(servers).await;
        backlog::fill(&env, 0..orders, None).await?;
        let mut administrator = database::administrator(&env).await?;
        // The baseline comes first in every other round, so that neither always has a warm machine.
        let baseline_first = number % 2 == 1;
        let mut row_by_row = 0.0;
        if baseline_first {
            row_by_row = baseline::take(&env, &mut administrator, compared).await?;
        }
        checkpoint(&mut administrator).await?;
        let parsed_before = parse(&parsed_records)?;
        let taken = take(&binary, &env, orders, &[]).await?;
        let parsed = f64::midpoint(parsed_before, parse(&parsed_records)?);
        if !baseline_first {
            row_by_row = baseline::take(&env, &mut administrator, compared).await?;
        }
        let replayed = replay(&binary, &env, &mut administrator, orders).await?;
        let copied = copy(&mut administrator, orders).await?;
        administrator.close().await?;
        database::drop_all(&env, &[]).await?;
        let with_bad = take_with_bad(&binary, servers, orders).await?;
        progress(&format!(
            "ingest, round {number}: Waybill {}/s ({:.1} µs of CPU per order), loop {}/s, COPY {}/s, \
             parse {parsed:.2} µs; replayed {}/s; with invalid records {}/s",
            thousands(taken.rate),
            taken.cpu,
            thousands(row_by_row),
            thousands(copied),
            thousands(replayed),
            thousands(with_bad),
        ));
        rounds.push(IngestRound { taken, row_by_row, copied, parsed, replayed, with_bad });
    }
    Ok(figures(&rounds, orders, compared))
}

/// Ingests the same orders again, with another consumer group.
async fn replay(
    binary: &Path,
    env: &TestEnvironment,
    administrator: &mut PgConnection,
    orders: u64,
) -> anyhow::Result<f64> {
    let again = env.in_another_group();
    // The other group must read only the orders again, not the status events of the first run.
    again.skip_status_events().await;
    checkpoint(administrator).await?;
    Ok(take(binary, &again, orders, &[]).await?.rate)
}

async fn take_with_bad(binary: &Path, servers: &Servers, orders: u64) -> anyhow::Result<f64> {
    let env = TestEnvironment::new(servers).await;
    backlog::fill(&env, 0..orders, Some(BAD_ONE_IN)).await?;
    let taken = take(binary, &env, orders, &[]).await?;
    database::drop_all(&env, &[]).await?;
    Ok(taken.rate)
}

fn figures(rounds: &[IngestRound], orders: u64, compared: u64) -> Vec<Figure> {
    let compare = |values: fn(&IngestRound) -> Round| rounds.iter().map(values).collect::<Vec<_>>();
    let least = |must, aim| Target::AtLeast { must, aim };
    vec![
        Figure::of_ratios(
            "ingest",
            format!(
                "{orders} orders from Kafka into PostgreSQL, events sent, offsets committed; \
                 baseline: {compared} of them, one transaction per message on four tables"
            ),
            "orders/s",
            least(28.0, 35.0),
            &compare(|round| Round { waybill: round.taken.rate, baseline: round.row_by_row }),
        ),
        Figure::of_ratios(
            "ingest-copy",
            "the same; baseline: COPY of the same rows into the same table".to_owned(),
            "orders/s",
            least(0.6, 0.75),
            &compare(|round| Round { waybill: round.taken.rate, baseline: round.copied }),
        ),
        Figure::of_ratios(
            "ingest-bad",
            format!("one record in {BAD_ONE_IN} is invalid; baseline: all records are valid"),
            "records/s",
            least(0.95, 1.0),
            &compare(|round| Round { waybill: round.with_bad, baseline: round.taken.rate }),
        ),
        Figure::of_ratios(
            "ingest-cpu",
            "CPU time of the process per order; baseline: one typed serde_json parse".to_owned(),
            "µs",
            Target::AtMost { must: 6.0, aim: 4.5 },
            &compare(|round| Round { waybill: round.taken.cpu, baseline: round.parsed }),
        ),
        Figure::of_ratios(
            "replay",
            "the same records again, with another group; baseline: the first run".to_owned(),
            "orders/s",
            least(1.5, 1.8),
            &compare(|round| Round { waybill: round.replayed, baseline: round.taken.rate }),
        ),
    ]
}

/// Measures ingest into a table with millions of orders, compared with an empty table.
pub(crate) async fn measure_large(cli: &Cli, servers: &Servers) -> anyhow::Result<Figure> {
    let binary = child::binary(cli.waybill.as_ref()).await?;
    let (old, orders) = (cli.table_orders, cli.orders.unwrap_or(500_000));
    let full = TestEnvironment::new(servers).await;
    progress("ingest-large:");
    seeded_orders::fill(&full, old, Uids::Hashes).await?;
    let mut administrator = database::administrator(&full).await?;
    let (mut fewest_checkpoints, mut rounds) = (i64::MAX, Vec::new());
    for number in 0..u64::from(cli.rounds) {
        let records = number * orders..(number + 1) * orders;
        let empty = TestEnvironment::new(servers).await;
        backlog::fill(&empty, records.clone(), None).await?;
        let baseline = take(&binary, &empty, orders, &[]).await?.rate;
        database::drop_all(&empty, &[]).await?;

        backlog::fill(&full, records, None).await?;
        checkpoint(&mut administrator).await?;
        let before = count_checkpoints(&mut administrator).await?;
        let waybill = take(&binary, &full, orders, &[]).await?.rate;
        let checkpoints = count_checkpoints(&mut administrator).await? - before;
        fewest_checkpoints = fewest_checkpoints.min(checkpoints);
        progress(&format!(
            "ingest-large, round {} of {}: {}/s over {checkpoints} checkpoints, {}/s into an empty table",
            number + 1,
            cli.rounds,
            thousands(waybill),
            thousands(baseline),
        ));
        rounds.push(Round { waybill, baseline });
    }
    let settings = checkpoint_settings(&mut administrator).await?;
    administrator.close().await?;
    database::drop_all(&full, &[]).await?;
    Ok(Figure::of_ratios(
        "ingest-large",
        format!(
            "{orders} orders into a table of {old}, over at least {fewest_checkpoints} checkpoints \
             ({settings}); baseline: into an empty table"
        ),
        "orders/s",
        Target::AtLeast { must: 0.6, aim: 0.8 },
        &rounds,
    ))
}

async fn checkpoint_settings(administrator: &mut PgConnection) -> anyhow::Result<String> {
    Ok(sqlx::query_scalar(
        "SELECT string_agg(name || ' ' || current_setting(name), ', ' ORDER BY name) \
         FROM pg_settings \
         WHERE name IN ('max_wal_size', 'checkpoint_timeout', 'full_page_writes', \
             'wal_compression', 'wal_level', 'shared_buffers')",
    )
    .fetch_one(administrator)
    .await?)
}

/// Returns the number of finished checkpoints since the statistics of the server began.
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

/// Runs the service until every record is settled, its events are published and its offset is
/// committed.
pub(crate) async fn take(
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
    let cpu = process::cpu_time(service.id()?)?.as_secs_f64() * 1e6 / records as f64;
    let peak = process::peak_resident(service.id()?)?;
    service.stop().await?;
    progress(&format!(
        "  {}/s: settled after {stored:.1?}, committed after {seconds:.1}s, status events read after {all:.1?}, \
         {cpu:.1} µs per order, peak {} MB",
        thousands(records as f64 / seconds),
        thousands(peak / 1e6)
    ));
    Ok(Taken { rate: records as f64 / seconds, cpu, peak })
}

/// Waits until the metrics show that all records are settled; fails if nothing changes for
/// [`STALL_TIMEOUT`]. Counting the rows instead would load the database that is measured.
async fn settled(service: &Server, records: u64) -> anyhow::Result<()> {
    let (mut last, mut moved) = (0, Instant::now());
    loop {
        let orders = child::metric(service, "waybill_orders_committed_total").await?;
        let rejected = child::metric(service, "waybill_records_rejected_total").await?;
        let settled = (orders + rejected) as u64;
        if settled >= records {
            ensure!(settled == records, "{settled} records settled of {records}");
            return Ok(());
        }
        if settled > last {
            (last, moved) = (settled, Instant::now());
        }
        ensure!(
            moved.elapsed() < STALL_TIMEOUT,
            "ingest makes no progress at {settled} of {records} records"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Returns the rows per second of a single `COPY` into the table, from a file on the server.
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
    ensure!(copied.rows_affected() == orders, "COPY stored {} rows", copied.rows_affected());
    std::fs::remove_file(&file).with_context(|| format!("removing {file}"))?;
    Ok(rate)
}

/// Returns the microseconds of CPU time of one typed parse of a record: the mean of many, on all
/// cores at the same time, because the service uses all cores too.
fn parse(records: &[(Vec<u8>, Vec<u8>)]) -> anyhow::Result<f64> {
    let pass = || -> anyhow::Result<Duration> {
        for _ in 0..PASSES {
            for (_, value) in records {
                std::hint::black_box(serde_json::from_slice::<baseline::Order>(value)?);
            }
        }
        process::cpu_time_of_this_thread()
    };
    let cores = std::thread::available_parallelism()?.get();
    let computed = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..cores).map(|_| scope.spawn(pass)).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().expect("parsing does not panic"))
            .sum::<Result<Duration, _>>()
    })?;
    Ok(computed.as_secs_f64() * 1e6 / (cores as u64 * PASSES * records.len() as u64) as f64)
}

async fn checkpoint(administrator: &mut PgConnection) -> anyhow::Result<()> {
    sqlx::query("CHECKPOINT").execute(administrator).await?;
    Ok(())
}
