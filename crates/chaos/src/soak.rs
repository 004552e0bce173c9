//! One run: starts a system, sends the traffic while faults are injected, waits until everything
//! rests, and lets the judge compare the result with what was sent.

use std::{
    collections::BTreeMap,
    io::Write as _,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context, Result};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use local::{Kafka, KafkaOptions, Postgres, PostgresOptions};
use rustix::process::Signal;
use tokio::time::{Instant, sleep};

use crate::{
    dispatcher::Dispatcher,
    faults::{Tracks, fire_by_calls, firings},
    finding::Verdict,
    judge::{Case, judge},
    plan::{PlanOptions, plan},
    readers::Readers,
    report::{Report, Rest},
    resources::{Snapshot, compare},
    system::{
        CACHE_MAX_AGE, DISPATCH_SWEEP, System, SystemOptions, default_program, senders::Senders,
        unix_ms,
    },
    traffic::{Shares, Traffic},
};

/// Bounds the time without progress after the last fault.
pub(crate) const DRAIN_TIMEOUT: Duration = Duration::from_secs(180);

/// Bounds the wait until dispatch rests.
const REST_TIMEOUT: Duration = Duration::from_secs(120);

/// The share of the time in which records are sent and faults begin.
const TRAFFIC_SHARE: f64 = 0.85;

/// Run the platform under faults, and show that nothing was lost and nothing was done twice.
///
/// Own servers and replicas are started, and removed afterwards. The exit code is 0 if all invariants
/// hold and every fault was recovered from, 1 if not, and 2 if the run could not be carried out.
#[derive(Debug, Clone, Args)]
pub struct SoakArgs {
    /// Duration of the traffic and the faults, in minutes. Draining and judging follow.
    #[arg(long, default_value_t = 30.0)]
    pub minutes: f64,
    /// Number of order records to send.
    #[arg(long, default_value_t = 2_000_000)]
    pub orders: u64,
    /// Number of status events to send.
    #[arg(long, default_value_t = 2_000_000)]
    pub events: u64,
    /// Number of faults to inject.
    #[arg(long, default_value_t = 300)]
    pub faults: usize,
    /// Seed of the traffic and of the faults.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Program to run, built with failpoints. The default is the one next to this program.
    #[arg(long, value_name = "FILE")]
    pub waybill: Option<PathBuf>,
    /// Page to write; its copy with the ending .md is Markdown, and the one with .json is JSON.
    #[arg(long, value_name = "FILE", default_value = "soak.html")]
    pub report: PathBuf,
    /// Folder of servers and logs. The default is a folder for temporary files, which is removed
    /// unless the run fails.
    #[arg(long, value_name = "DIR")]
    pub folder: Option<PathBuf>,
    /// Replicas of each service.
    #[arg(long, default_value_t = 2)]
    pub replicas: usize,
    /// Couriers to add at the start.
    #[arg(long, default_value_t = 300)]
    pub couriers: u32,
    /// Minimum number of times that each failpoint should fire. While records are sent, faults are
    /// added for failpoints that have fired less often.
    #[arg(long, default_value_t = 5)]
    pub firings: usize,
    /// Print the planned faults and end.
    #[arg(long)]
    pub plan: bool,
    /// Start the servers of an earlier run again and judge it.
    #[arg(long, value_name = "DIR", conflicts_with = "plan")]
    pub again: Option<PathBuf>,
}

/// Runs the command and prints the result.
pub async fn run(args: SoakArgs) -> Result<ExitCode> {
    let mut stdout = std::io::stdout();
    if args.plan {
        for planned in plan(&plan_options(&args)) {
            writeln!(stdout, "{planned}")?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(folder) = &args.again {
        let verdict = judge_again(folder).await?;
        writeln!(stdout, "{}", verdict.table())?;
        return Ok(if verdict.findings() == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    let name = format!("waybill-soak-{}-{}", args.seed, std::process::id());
    let folder = args.folder.clone().unwrap_or_else(|| std::env::temp_dir().join(name));
    let kept = || format!("the run has failed; its logs are in {}", folder.display());
    let report = soak(&args, &folder).await.with_context(kept)?;
    report.write(&args.report)?;
    writeln!(stdout, "{}", report.summary())?;
    writeln!(stdout, "The report is {}.", args.report.display())?;
    if report.holds() {
        if args.folder.is_none() {
            let _ = std::fs::remove_dir_all(&folder);
        }
        return Ok(ExitCode::SUCCESS);
    }
    writeln!(
        stdout,
        "The data and the logs are in {folder}. To judge the data again: chaos soak --again {folder}",
        folder = folder.display()
    )?;
    Ok(ExitCode::FAILURE)
}

/// Runs everything and returns what was found. The servers have stopped afterwards.
pub async fn soak(args: &SoakArgs, folder: &Path) -> Result<Report> {
    let bar = progress_bar();
    let program = match &args.waybill {
        Some(program) => {
            program.canonicalize().with_context(|| format!("finding {}", program.display()))?
        }
        None => default_program()?,
    };
    let traffic = Traffic {
        seed: args.seed,
        orders: args.orders,
        events: args.events,
        shares: Shares::default(),
    };
    let options = SystemOptions {
        folder: folder.to_owned(),
        program,
        replicas: args.replicas,
        couriers: args.couriers,
        brokers: 1,
        cache_max_age: CACHE_MAX_AGE,
    };
    let system = System::start(options, |step| bar.set_message(step.to_owned())).await?;
    let case = system.case(&traffic);
    std::fs::write(folder.join("case.json"), serde_json::to_vec_pretty(&case)?)
        .context("writing case.json")?;
    let duration = duration(args);
    let started_ms = unix_ms();
    let started = Instant::now();
    let readers = Readers::start(&system, &traffic);
    let dispatcher = Dispatcher::start(&system);
    let senders = Senders::start(&system, &traffic, duration)?;
    bar.set_length(args.orders + args.events);
    let tracks = Tracks {
        system: &system,
        started,
        planned: plan(&plan_options(args)),
        min_firings: args.firings,
    };
    let is_sending = || {
        let [orders, events] = senders.sent();
        bar.set_position(orders.acknowledged + events.acknowledged);
        !senders.are_done()
    };
    let faults = tracks.run(is_sending, |line| bar.set_message(line)).await;
    let actions = dispatcher.finish().await;
    // The faults have ended; what the senders still have is sent in peace.
    bar.set_message("sending the rest");
    let sent = senders.finish().await?;
    let traffic_took = started.elapsed();
    let reads = readers.finish().await;
    system.wait_until_ready().await?;
    let drained = system
        .groups
        .wait_until_drained(DRAIN_TIMEOUT, |lag| bar.set_message(format!("{lag} records wait")))
        .await;
    bar.set_message("waiting until dispatch rests");
    let rests = wait_until_dispatch_rests(&system).await?;
    let drain_took = started.elapsed() - traffic_took;
    let after = system.resources().await?;
    bar.set_message("judging");
    let judging = Instant::now();
    let verdict = judge(&case).await?;
    let judge_took = judging.elapsed();
    bar.set_message("firing the failpoints of calls");
    let calls = fire_by_calls(&system, args.firings).await?;
    system.wait_until_ready().await?;
    let ends = system.replicas.iter().flat_map(crate::system::Replica::ends).collect();
    let mut fired = BTreeMap::new();
    for name in firings(&system.failpoint_log())? {
        *fired.entry(name).or_default() += 1;
    }
    bar.set_message("comparing with new processes");
    let fresh = resources_of_new_processes(&system).await?;
    let leaks = compare(&fresh, &after, &system.allowance());
    bar.set_message("stopping");
    let not_stopped = system.stop().await?;
    bar.finish_and_clear();
    Ok(Report {
        command: command_line(),
        seed: args.seed,
        started_ms,
        traffic_took,
        drain_took,
        judge_took,
        sent,
        reads,
        actions,
        faults,
        calls,
        firings: fired,
        ends,
        resources: [fresh, after],
        rest: Rest { drained, rests, not_stopped, leaks },
        verdict,
    })
}

/// Starts the servers of an earlier run on their ports, and judges its databases and topics, but no
/// caches.
async fn judge_again(folder: &Path) -> Result<Verdict> {
    let text = std::fs::read(folder.join("case.json")).context("reading case.json")?;
    let mut case: Case = serde_json::from_slice(&text).context("reading case.json")?;
    case.order_services.clear();
    let postgres = PostgresOptions {
        data_dir: folder.join("postgres"),
        port: port_of(case.orders_database.split(['@', '/']).nth(3).unwrap_or_default())?,
    };
    let kafka = KafkaOptions { data_dir: folder.join("kafka"), port: port_of(&case.brokers)? };
    let (mut postgres, mut kafka) =
        tokio::try_join!(Postgres::start(&postgres, &|_| {}), Kafka::start(&kafka, &|_| {}))?;
    let verdict = judge(&case).await?;
    kafka.stop().await?;
    postgres.stop().await?;
    Ok(verdict)
}

fn port_of(address: &str) -> Result<u16> {
    let port = address.rsplit(':').next().unwrap_or_default();
    port.parse().with_context(|| format!("{address} has no port"))
}

/// Starts all replicas again and returns their resources. The topics and partitions are the same as
/// before, so what the processes before had in addition is a leak.
async fn resources_of_new_processes(system: &System) -> Result<Snapshot> {
    for replica in &system.replicas {
        replica.restart(Signal::TERM, None).await;
    }
    system.wait_until_ready().await?;
    system.groups.wait_until_drained(DRAIN_TIMEOUT, |_| {}).await;
    system.resources().await
}

/// Waits until no order was assigned, ended or queued for two sweeps.
pub(crate) async fn wait_until_dispatch_rests(system: &System) -> Result<bool> {
    let deadline = Instant::now() + REST_TIMEOUT;
    let mut before = system.database.dispatch_state().await?;
    let mut since = Instant::now();
    while since.elapsed() < DISPATCH_SWEEP * 2 {
        if Instant::now() > deadline {
            return Ok(false);
        }
        sleep(Duration::from_millis(200)).await;
        let now = system.database.dispatch_state().await?;
        if now != before {
            (before, since) = (now, Instant::now());
        }
    }
    Ok(true)
}

fn plan_options(args: &SoakArgs) -> PlanOptions {
    PlanOptions {
        seed: args.seed,
        faults: args.faults,
        duration: duration(args),
        replicas: args.replicas,
    }
}

fn duration(args: &SoakArgs) -> Duration {
    Duration::from_secs_f64((args.minutes * 60.0 * TRAFFIC_SHARE).max(1.0))
}

fn progress_bar() -> ProgressBar {
    let bar = ProgressBar::new(0);
    let style = ProgressStyle::with_template(
        "{elapsed_precise} {wide_bar} {pos}/{len} records\n{wide_msg}",
    );
    bar.set_style(style.expect("the template is valid"));
    bar.enable_steady_tick(Duration::from_millis(500));
    bar
}

fn command_line() -> String {
    let mut words: Vec<String> = std::env::args().collect();
    if let Some(program) = words.first_mut() {
        let name = Path::new(&*program).file_name().map(|name| name.to_string_lossy().into_owned());
        *program = name.unwrap_or_default();
    }
    words.join(" ")
}
