//! Faults that need a system of their own: a cluster of brokers, a standby of PostgreSQL, a full
//! disk. Each scenario sends a smaller traffic and ends with the judge.

mod clocks;
mod disk_full;
mod failover;
mod three_brokers;

use std::{io::Write as _, path::PathBuf, process::ExitCode, time::Duration};

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use tokio::time::{Instant, sleep};

use crate::{
    finding::Verdict,
    judge::judge,
    soak::{DRAIN_TIMEOUT, wait_until_dispatch_rests},
    system::{CACHE_MAX_AGE, System, SystemOptions, default_program, senders::Senders},
    traffic::{Shares, Traffic},
};

/// Bounds the recovery from each fault.
const RECOVERY_TIMEOUT: Duration = Duration::from_secs(90);

/// Run one fault that needs servers of its own, and judge the result.
#[derive(Debug, Args)]
pub struct ScenarioArgs {
    #[arg(value_enum)]
    pub name: Name,
    /// Number of order records, and of status events, to send.
    #[arg(long, default_value_t = 30_000)]
    pub records: u64,
    /// Time in which they are sent, in seconds.
    #[arg(long, default_value_t = 60)]
    pub seconds: u64,
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Program to run, built with failpoints. The default is the one next to this program.
    #[arg(long, value_name = "FILE")]
    pub waybill: Option<PathBuf>,
    /// Folder of servers and logs. The default is a folder for temporary files, which is removed
    /// unless the scenario fails.
    #[arg(long, value_name = "DIR")]
    pub folder: Option<PathBuf>,
}

/// The scenarios.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Name {
    /// Three brokers, of which each is killed and frozen in turn (acks=all, min.insync.replicas=2).
    ThreeBrokers,
    /// PostgreSQL fails over to a standby that has every transaction.
    Failover,
    /// PostgreSQL fails over to a standby that lacks the last transactions; `waybill rewind` follows.
    FailoverLosing,
    /// The disk of PostgreSQL is full for a while (a tmpfs, which needs the rights to mount it).
    DiskFull,
    /// The topics keep the producers' time, and the clocks of two producers are wrong: an hour slow,
    /// and almost an hour fast. A replica is killed.
    Clocks,
}

/// Runs the command and prints the result.
pub async fn run(args: ScenarioArgs) -> Result<ExitCode> {
    let mut stdout = std::io::stdout();
    let name = format!("waybill-scenario-{}", std::process::id());
    let folder = args.folder.clone().unwrap_or_else(|| std::env::temp_dir().join(name));
    let started = Instant::now();
    let verdict = match args.name {
        Name::ThreeBrokers => three_brokers::run(&args, &folder).await,
        Name::Failover => failover::run(&args, &folder, failover::Loss::Nothing).await,
        Name::FailoverLosing => {
            failover::run(&args, &folder, failover::Loss::LastTransactions).await
        }
        Name::DiskFull => disk_full::run(&args, &folder).await,
        Name::Clocks => clocks::run(&args, &folder).await,
    }?;
    writeln!(stdout, "{}", verdict.table())?;
    writeln!(stdout, "{:?} took {:.0} s", args.name, started.elapsed().as_secs_f64())?;
    if verdict.findings() > 0 {
        writeln!(stdout, "the data and the logs are in {}", folder.display())?;
        return Ok(ExitCode::FAILURE);
    }
    if args.folder.is_none() {
        let _ = std::fs::remove_dir_all(&folder);
    }
    Ok(ExitCode::SUCCESS)
}

async fn start(args: &ScenarioArgs, folder: &std::path::Path, brokers: usize) -> Result<System> {
    let program = match &args.waybill {
        Some(program) => {
            program.canonicalize().with_context(|| format!("finding {}", program.display()))?
        }
        None => default_program()?,
    };
    let options = SystemOptions {
        folder: folder.to_owned(),
        program,
        replicas: 2,
        couriers: 100,
        brokers,
        cache_max_age: match args.name {
            // After lost commits, caches may be wrong for this time, which the judge waits for.
            Name::FailoverLosing => Duration::from_secs(15),
            _ => CACHE_MAX_AGE,
        },
    };
    System::start(options, |_| {}).await
}

fn traffic(args: &ScenarioArgs) -> Traffic {
    let shares = Shares::default();
    Traffic { seed: args.seed, orders: args.records, events: args.records, shares }
}

fn send(args: &ScenarioArgs, system: &System) -> Result<Senders> {
    Senders::start(system, &traffic(args), Duration::from_secs(args.seconds))
}

/// Waits until every partition is committed further.
async fn assert_progress(system: &System, after: &str) -> Result<()> {
    if let Err(behind) = system.groups.wait_for_progress(RECOVERY_TIMEOUT).await {
        bail!("{after}: no progress within {RECOVERY_TIMEOUT:?} in {behind:?}");
    }
    Ok(())
}

/// Waits until everything is sent and committed, and judges. `lost_commits` is true if the
/// database has lost commits: events may then name versions that it no longer has.
async fn finish(
    args: &ScenarioArgs,
    system: System,
    senders: Senders,
    lost_commits: bool,
) -> Result<Verdict> {
    senders.finish().await?;
    system.wait_until_ready().await?;
    if !system.groups.wait_until_drained(DRAIN_TIMEOUT, |_| {}).await {
        bail!("not every record was committed");
    }
    if !wait_until_dispatch_rests(&system).await? {
        bail!("dispatch does not come to rest");
    }
    if lost_commits {
        sleep(system.options.cache_max_age).await;
    }
    let mut case = system.case(&traffic(args));
    case.lost_commits = lost_commits;
    std::fs::write(system.ledgers().join("case.json"), serde_json::to_vec_pretty(&case)?)
        .context("writing case.json")?;
    let verdict = judge(&case).await?;
    system.stop().await?;
    Ok(verdict)
}
