//! `make bench`: measures Waybill on a real PostgreSQL and Kafka, and prints ratios of one run.
//!
//! Each bench has a module and returns its [`Figure`]s; `benches/README.md` explains the targets
//! and the results. The benches are not tests: nothing fails because a machine is slow.

mod backlog;
mod baseline;
mod child;
mod cluster;
mod database;
mod dispatch;
mod figure;
mod get;
mod ingest;
mod memory;
mod pages;
mod process;
mod read_latency;
mod report;
mod seeded_orders;
mod start;
mod uncached;
mod warm_up;
mod wrk;

use std::{path::PathBuf, process::ExitCode};

use anyhow::{Context, bail};
use clap::{Parser, ValueEnum};
use figure::Figure;
use report::{Earlier, Report};
use sqlx::{Connection as _, PgConnection};
use testkit::{OwnServers, Servers};

// The same as the binary's: dispatch is measured in this process.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const EXAMPLES: &str = "\
Examples:
  make bench                                        all benches; ingest-large stores 5,000,000 orders
  make bench ARGS=\"get --rounds 5\"                  one bench, with more rounds
  make bench ARGS=\"ingest memory --orders 20000\"    a quick run with fewer orders
  make bench ARGS=\"--json\" > figures.json           as JSON, also for a later comparison
  make bench ARGS=\"get --compare figures.json\"      compared with the figures of an earlier run

The figures depend on the machine. Do not use it for other work during a run, and quote ratios.";

/// Measures Waybill on its own PostgreSQL and Kafka, and prints the figures with their targets.
///
/// Progress is written to standard error, the figures to standard output. A missed target is
/// reported and is not an error, because machines differ.
#[derive(Parser)]
#[command(max_term_width = 100, after_help = EXAMPLES)]
struct Cli {
    /// The benches to run [default: all].
    benches: Vec<Bench>,
    /// The number of orders in a backlog or a table [default: the number of the target].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    orders: Option<u64>,
    /// The number of orders in the table before ingest-large.
    #[arg(long, value_name = "N", default_value_t = 5_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    table_orders: u64,
    /// The number of orders, or events, of the backlog that a baseline processes.
    #[arg(long, value_name = "N", default_value_t = 3_000, value_parser = clap::value_parser!(u64).range(1..))]
    baseline_orders: u64,
    /// The number of events in the backlog of dispatch [default: 100000].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(2..))]
    events: Option<u64>,
    /// The number of rounds of each bench except memory; the figure is the median.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// The time for which each server is measured in a round of get and uncached.
    #[arg(long, value_name = "SECONDS", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
    /// The CACHE_BYTES of the process that the bench memory measures.
    #[arg(long, value_name = "BYTES", default_value_t = 32 << 20)]
    cache_bytes: u64,
    /// The waybill binary to measure [default: the release binary, which is built if necessary].
    #[arg(long, value_name = "FILE")]
    waybill: Option<PathBuf>,
    /// Print the figures as JSON, with the commit and the machine.
    #[arg(long)]
    json: bool,
    /// Compare each figure with that of an earlier run, which was stored with --json.
    #[arg(long, value_name = "FILE", conflicts_with = "json")]
    compare: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Bench {
    /// Orders per second from Kafka into PostgreSQL, compared with one transaction per message and
    /// with COPY.
    Ingest,
    /// Ingest into a table of 5,000,000 orders, compared with an empty table.
    IngestLarge,
    /// Time from an order's record on Kafka to the order over HTTP, 99th percentile, compared with one
    /// transaction per message at the same rate.
    ReadLatency,
    /// Cached GETs per second on one core, compared with nginx `return 200`.
    Get,
    /// Uncached GETs per second, compared with pgbench, which reads the same rows by key.
    Uncached,
    /// Time to fill the cache from the table, compared with COPY; then the memory of a cached
    /// order.
    WarmUp,
    /// Time from exec until the service is ready.
    Start,
    /// Peak resident memory during the ingest of a backlog, without the cache.
    Memory,
    /// Status events per second through intake and dispatch, compared with one transaction per
    /// event.
    Dispatch,
    /// Dispatch with 1,000,000 couriers, compared with 10,000.
    DispatchLarge,
    /// Dispatch while another session keeps a snapshot open, compared with none.
    DispatchHeld,
    /// Time from `created` on the topic to the committed assignment, and to the delivery event on
    /// its topic, 99th percentiles.
    AssignLatency,
    /// CPU time of the machine per order with two replicas, and with three brokers, compared with one.
    Cluster,
    /// First paint of the board with 2,000 couriers and of the flow page in the browser, without that
    /// of one line, and scripts in an update of the board.
    Pages,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Cli::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            progress(&format!("benches: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

async fn run(cli: Cli) -> anyhow::Result<()> {
    if cfg!(debug_assertions) {
        bail!("a debug build gives no useful figures; use `make bench`");
    }
    // An unreadable file is an error before the measurement, not after it.
    let earlier = cli.compare.as_deref().map(Earlier::read).transpose()?;
    let own = OwnServers::start().await;
    let servers = own.servers();
    let postgres = report::postgres(&servers).await?;
    create_log_files(&servers).await.context("preparing PostgreSQL")?;
    let outcome = tokio::select! {
        outcome = measure(&cli, &servers) => outcome,
        signal = tokio::signal::ctrl_c() => {
            signal.context("waiting for Ctrl-C").and_then(|()| bail!("interrupted"))
        }
    };
    own.stop().await;
    print(&cli, &Report::new(outcome?, postgres), earlier.as_ref())
}

/// Makes PostgreSQL create the files of its write-ahead log. A new server fills each file with
/// zeros before the first use, and later reuses it. The first bench must not include that work.
async fn create_log_files(servers: &Servers) -> anyhow::Result<()> {
    let mut administrator = PgConnection::connect(&servers.postgres).await?;
    for statement in [
        // The default of `max_wal_size`: 1 GB.
        "CREATE TABLE ballast AS \
         SELECT repeat(md5(n::text), 30) FROM generate_series(1, 1200000) AS n",
        "DROP TABLE ballast",
        "CHECKPOINT",
    ] {
        sqlx::query(statement).execute(&mut administrator).await?;
    }
    Ok(administrator.close().await?)
}

async fn measure(cli: &Cli, servers: &Servers) -> anyhow::Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for bench in Bench::value_variants() {
        if cli.benches.is_empty() || cli.benches.contains(bench) {
            let name = bench.to_possible_value().expect("no bench is hidden");
            let measured = bench.measure(cli, servers).await;
            figures.extend(measured.with_context(|| name.get_name().to_owned())?);
        }
    }
    Ok(figures)
}

impl Bench {
    async fn measure(self, cli: &Cli, servers: &Servers) -> anyhow::Result<Vec<Figure>> {
        Ok(match self {
            Self::Ingest => ingest::measure(cli, servers).await?,
            Self::IngestLarge => vec![ingest::measure_large(cli, servers).await?],
            Self::ReadLatency => vec![read_latency::measure(cli, servers).await?],
            Self::Get => vec![get::measure(cli, servers).await?],
            Self::Uncached => vec![uncached::measure(cli, servers).await?],
            Self::WarmUp => warm_up::measure(cli, servers).await?.into(),
            Self::Start => vec![start::measure(cli, servers).await?],
            Self::Memory => vec![memory::measure(cli, servers).await?],
            Self::Dispatch => vec![dispatch::measure(cli, servers).await?],
            Self::DispatchLarge => vec![dispatch::measure_large(cli, servers).await?],
            Self::DispatchHeld => vec![dispatch::measure_held(cli, servers).await?],
            Self::AssignLatency => dispatch::measure_latency(cli, servers).await?.into(),
            Self::Cluster => cluster::measure(cli, servers).await?.into(),
            Self::Pages => pages::measure(cli, servers).await?.into(),
        })
    }
}

#[expect(clippy::print_stdout, reason = "the figures are the output of the program")]
fn print(cli: &Cli, report: &Report, earlier: Option<&Earlier>) -> anyhow::Result<()> {
    if cli.json {
        println!("{}", serde_json::to_string_pretty(report)?);
    } else {
        print!("\n{}", report.text(earlier));
    }
    Ok(())
}

/// Prints a line of progress.
#[expect(clippy::print_stderr, reason = "progress messages belong on standard error")]
fn progress(line: &str) {
    eprintln!("{line}");
}
