//! `chaos compat`: the same short run against one pair of a Kafka and a PostgreSQL, for versions
//! other than those of the tests.
//!
//! ```text
//! valid and invalid orders ─┐
//! events of service-order  ─┴─▶ Kafka ─▶ two replicas of each service ─▶ PostgreSQL ─▶ checks
//!                                 ▲              ▲                            ▲
//!                                kill           kill                 immediate shutdown
//! ```
//!
//! `scripts/compat` downloads the programs and calls it once for each pair. The traffic is built here
//! and is not the one of the soak: its events are exactly those of the well-known `service-order`.

mod checks;
mod programs;
mod senders;
mod zookeeper;

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Instant,
};

use anyhow::{Context as _, Result, bail};
use local::{Kafka, KafkaOptions, Postgres, PostgresOptions};
use sqlx::{ConnectOptions as _, postgres::PgConnectOptions};
use testkit::{CourierDatabase, Servers, TestEnvironment, wait_until};

use self::{
    checks::Checks,
    programs::{Replica, run_to_end},
    zookeeper::KafkaWithZooKeeper,
};

/// Run a short test with faults against other versions of Kafka and PostgreSQL.
///
/// It sends valid and invalid orders and the events of the well-known service-order to two replicas of
/// each service, kills a replica, Kafka and PostgreSQL once each, and then checks both databases and
/// runs `waybill audit`. PG_BIN_DIR chooses the PostgreSQL.
#[derive(clap::Args)]
pub struct Args {
    /// The program `waybill`.
    #[arg(long, value_name = "FILE", default_value = "target/debug/waybill")]
    waybill: PathBuf,
    /// Folder with the jars of an Apache Kafka 3, which is started with ZooKeeper. Without it, the
    /// Apache Kafka of the tests is used.
    #[arg(long, value_name = "DIR")]
    kafka_libs: Option<PathBuf>,
    /// Number of valid orders.
    #[arg(long, value_name = "N", default_value_t = 4_000)]
    orders: usize,
    /// Number of orders of service-order, each with all of its events.
    #[arg(long, value_name = "N", default_value_t = 400)]
    foreign_orders: usize,
}

/// The Kafka of a run.
enum Broker {
    Local(Kafka),
    WithZooKeeper(KafkaWithZooKeeper),
}

pub async fn run(args: Args) -> Result<ExitCode> {
    let waybill = args.waybill.canonicalize();
    let waybill = waybill.with_context(|| format!("looking for {}", args.waybill.display()))?;
    let folder = std::env::temp_dir().join(format!("waybill-compat-{}", std::process::id()));
    fs::create_dir(&folder).with_context(|| format!("creating {}", folder.display()))?;
    let result = run_in(&folder, &waybill, &args).await;
    match &result {
        Ok(checks) if checks.failed() == 0 => {
            let _ = fs::remove_dir_all(&folder);
        }
        _ => print_message(&format!("the logs are in {}", folder.display())),
    }
    let failed = result?.failed();
    Ok(ExitCode::from(u8::from(failed > 0)))
}

async fn run_in(folder: &Path, waybill: &Path, args: &Args) -> Result<Checks> {
    let begun = Instant::now();
    let options = PostgresOptions { data_dir: folder.join("postgres"), port: 0 };
    let mut postgres = Postgres::start(&options, &|_| {}).await?;
    let mut broker = Broker::start(folder, args.kafka_libs.as_deref()).await?;
    let servers = Servers {
        postgres: format!("{}?sslmode=disable", postgres.url()),
        kafka: broker.address(),
    };
    let versions = format!("{}, {}", broker.version(), postgres_version(&servers).await?);
    print_line(&versions);

    let env = TestEnvironment::new(&servers).await;
    let couriers = env.courier_database().await;
    checks::insert_couriers(&couriers).await?;
    let start = async |role: &'static str, number: u8| {
        let log = folder.join(format!("{role}-{number}.log"));
        let flags = match role {
            "orders" => env.flags(),
            _ => env.courier_flags(&couriers),
        };
        Replica::start(waybill, role, flags, &log).await
    };
    let mut orders = [start("orders", 1).await?, start("orders", 2).await?];
    let both = [start("couriers", 1).await?, start("couriers", 2).await?];

    let sender = env.clone();
    let (own, foreign) = (args.orders, args.foreign_orders);
    let sending = tokio::spawn(async move { senders::send_all(&sender, own, foreign).await });
    // Each fault hits services that have work: the senders take longer than all of them.
    checks::wait_for_orders(&env, own / 5).await;
    orders[0].kill().await?;
    print_line("killed a replica of the order service");
    checks::wait_for_orders(&env, own * 2 / 5).await;
    postgres.kill().await?;
    postgres.restart().await?;
    print_line("restarted PostgreSQL after an immediate shutdown");
    orders[0] = start("orders", 3).await?;
    checks::wait_for_orders(&env, own * 3 / 5).await;
    broker.crash().await?;
    print_line("killed and restarted Kafka");
    let sent = sending.await.context("the senders have failed")?;

    drain(&env).await;
    let mut checks = Checks::default();
    checks.orders(&env, &sent).await?;
    checks.rejections(&env, &couriers, &sent).await?;
    checks.events(&env, &sent).await?;
    checks.deliveries(&couriers, &sent).await?;
    audit(waybill, &env, &couriers, &mut checks).await?;
    for replica in orders.into_iter().chain(both) {
        checks.add("a replica ends with exit code 0 after SIGTERM", 1, replica.stop().await?);
    }
    broker.stop().await?;
    postgres.stop().await?;
    let (count, failed) = (checks.count(), checks.failed());
    print_line(&format!(
        "{versions}: {} orders, {} rejected records, {} events of service-order, {count} checks, \
         {failed} failed, {:.0} s",
        sent.amounts.len(),
        sent.rejected.len(),
        sent.foreign_events(),
        begun.elapsed().as_secs_f64()
    ));
    Ok(checks)
}

impl Broker {
    async fn start(folder: &Path, libs: Option<&Path>) -> Result<Self> {
        Ok(match libs {
            Some(libs) => {
                Self::WithZooKeeper(KafkaWithZooKeeper::start(libs, &folder.join("kafka")).await?)
            }
            None => {
                let options = KafkaOptions { data_dir: folder.join("kafka"), port: 0 };
                Self::Local(Kafka::start(&options, &|_| {}).await?)
            }
        })
    }

    fn address(&self) -> String {
        match self {
            Self::Local(kafka) => kafka.brokers(),
            Self::WithZooKeeper(kafka) => kafka.address(),
        }
    }

    fn version(&self) -> String {
        match self {
            Self::Local(_) => "the Apache Kafka of the tests (KRaft)".to_owned(),
            Self::WithZooKeeper(kafka) => kafka.version().to_owned(),
        }
    }

    /// Kills it, and starts it again on the same port and data.
    async fn crash(&mut self) -> Result<()> {
        match self {
            Self::Local(kafka) => {
                kafka.kill().await?;
                kafka.restart().await
            }
            Self::WithZooKeeper(kafka) => kafka.crash().await,
        }
    }

    async fn stop(&mut self) -> Result<()> {
        match self {
            Self::Local(kafka) => kafka.stop().await,
            Self::WithZooKeeper(kafka) => kafka.stop().await,
        }
    }
}

async fn postgres_version(servers: &Servers) -> Result<String> {
    let mut connection = servers.postgres.parse::<PgConnectOptions>()?.connect().await?;
    let version: String =
        sqlx::query_scalar("SHOW server_version").fetch_one(&mut connection).await?;
    Ok(format!("PostgreSQL {version}"))
}

/// Waits until all groups have committed everything.
async fn drain(env: &TestEnvironment) {
    env.wait_until_drained().await;
    // The last orders publish events, so the status topic is read to its end after them.
    env.wait_until_status_drained().await;
    env.wait_until_couriers_drained().await;
    wait_until("no record to be added", async || {
        env.lag().await == 0 && env.couriers_lag().await == 0
    })
    .await;
}

/// Runs `waybill audit` and adds its checks.
async fn audit(
    waybill: &Path,
    env: &TestEnvironment,
    couriers: &CourierDatabase,
    checks: &mut Checks,
) -> Result<()> {
    let mut flags = vec!["audit".to_owned(), "--json".to_owned()];
    let serving = ["--orders-http-addr", "--couriers-http-addr"];
    let (orders, both) = (env.flags(), env.courier_flags(couriers));
    for flag in orders.chunks(2).chain(both.chunks(2)) {
        if !serving.contains(&flag[0].as_str()) && !flags.contains(&flag[0]) {
            flags.extend_from_slice(flag);
        }
    }
    let output = run_to_end(waybill, &flags).await?;
    let text = String::from_utf8_lossy(&output.stdout);
    for line in text.lines() {
        print_line(&format!("audit: {line}"));
    }
    if !output.status.success() && text.is_empty() {
        bail!("waybill audit: {}", String::from_utf8_lossy(&output.stderr));
    }
    checks.add(
        "waybill audit finds nothing",
        text.lines().count(),
        usize::from(!output.status.success()),
    );
    Ok(())
}

#[expect(clippy::print_stdout, reason = "the result of a tool")]
fn print_line(line: &str) {
    println!("{line}");
}

#[expect(clippy::print_stderr, reason = "a message of a tool")]
fn print_message(line: &str) {
    eprintln!("{line}");
}
