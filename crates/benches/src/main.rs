//! `make bench`: the project's figures, as ratios of one run, on a real PostgreSQL and Kafka.
//!
//! Each bench has a module and returns its [`Figure`]s; `benches/README.md` explains the targets
//! and the results. This is no test: nothing fails because a machine is slow.

mod backlog;
mod baseline;
mod child;
mod database;
mod dispatch;
mod figure;
mod get;
mod ingest;
mod memory;
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
  make bench                                        all; ingest-large alone stores 5,000,000 orders
  make bench ARGS=\"get --rounds 5\"                  one, with more rounds
  make bench ARGS=\"ingest memory --orders 20000\"    a quick look
  make bench ARGS=\"--json\" > figures.json           for a program, and for a later comparison
  make bench ARGS=\"get --compare figures.json\"     beside what an earlier commit gave

A figure is worth what the machine was: leave it alone meanwhile, and quote ratios.";

/// Measures Waybill on a PostgreSQL and a Kafka of its own, and prints ratios beside their targets.
///
/// Progress goes to standard error, the figures to standard output. A missed target is said, and is
/// no failure: machines differ.
#[derive(Parser)]
#[command(max_term_width = 100, after_help = EXAMPLES)]
struct Cli {
    /// What to measure; without a name everything.
    benches: Vec<Bench>,
    /// Orders of a backlog or a table; without it as many as the target names.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    orders: Option<u64>,
    /// Orders that are in the table already, for ingest-large.
    #[arg(long, value_name = "N", default_value_t = 5_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    table_orders: u64,
    /// Orders, or events, of the backlog that a baseline takes.
    #[arg(long, value_name = "N", default_value_t = 3_000, value_parser = clap::value_parser!(u64).range(1..))]
    baseline_orders: u64,
    /// Events of the backlog that dispatch takes; without it 100,000.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(2..))]
    events: Option<u64>,
    /// Rounds of each bench but memory; the median counts.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// How long each server is asked in a round of get and uncached.
    #[arg(long, value_name = "SECONDS", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
    /// CACHE_BYTES of the process that memory watches.
    #[arg(long, value_name = "BYTES", default_value_t = 32 << 20)]
    cache_bytes: u64,
    /// The binary that get and memory run; without it the release binary, built if need be.
    #[arg(long, value_name = "FILE")]
    waybill: Option<PathBuf>,
    /// Print the figures as JSON, with the commit and the machine.
    #[arg(long)]
    json: bool,
    /// Print how each figure stands to that of an earlier run, kept with --json.
    #[arg(long, value_name = "FILE", conflicts_with = "json")]
    compare: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Bench {
    /// Orders a second from Kafka into PostgreSQL, against one transaction a message and COPY.
    Ingest,
    /// The same into a table of 5,000,000 orders, against an empty one.
    IngestLarge,
    /// From a record's sending to its answer over HTTP at 1,000 orders a second, 99th percentile.
    ReadLatency,
    /// Cached GETs a second on one core, against nginx `return 200`.
    Get,
    /// Uncached GETs a second, against pgbench reading the same by key.
    Uncached,
    /// Time to fill the cache from the table, against COPY; then memory of a cached order.
    WarmUp,
    /// From exec to ready.
    Start,
    /// Peak resident memory beside the cache while a backlog is taken.
    Memory,
    /// Status events a second, taken in and dispatched, against one transaction an event.
    Dispatch,
    /// The same with 1,000,000 couriers, against 10,000.
    DispatchLarge,
    /// The same with a snapshot open elsewhere, against none.
    DispatchHeld,
    /// From `created` on the topic to the committed assignment, 99th percentile.
    AssignLatency,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Cli::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("benches: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

async fn run(cli: Cli) -> anyhow::Result<()> {
    if cfg!(debug_assertions) {
        bail!("a debug build measures nothing: make bench");
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

/// Makes PostgreSQL create the files of its log. A new server fills each file with zeros before the
/// first use, and later reuses it; the first bench must not include that work.
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
            Self::AssignLatency => vec![dispatch::measure_latency(cli, servers).await?],
        })
    }
}

#[expect(clippy::print_stdout, reason = "the figures are what the program is for")]
fn print(cli: &Cli, report: &Report, earlier: Option<&Earlier>) -> anyhow::Result<()> {
    if cli.json {
        println!("{}", serde_json::to_string_pretty(report)?);
    } else {
        print!("\n{}", report.text(earlier));
    }
    Ok(())
}

/// Prints a line of progress.
#[expect(clippy::print_stderr, reason = "progress, for a person")]
fn say(line: &str) {
    eprintln!("{line}");
}
