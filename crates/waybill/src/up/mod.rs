//! `waybill up`: runs the whole system on this machine.
//!
//! ```text
//! check the arguments ─▶ lock the folder ─▶ bind both ports ─▶ start PostgreSQL and Kafka
//!   ─▶ migrate ─▶ banner ─▶ order service, courier service, generator ─▶ stop in reverse order
//! ```
//!
//! A server whose address is given is not started. The services run exactly as in production.

mod banner;
mod config;

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::PathBuf,
    pin::pin,
    time::Duration,
};

use anyhow::Context;
use chassis::{
    kafka::config::KafkaConfig,
    kafka::topics,
    postgres::address::Address,
    process::{exit::ExitReason, number::within, open_files, shutdown},
};
use clap::Args;
use local::{Folder, LocalServers, LocalServersOptions, Obstacle};
use orders::TopicConfig;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use url::Url;

use self::config::{GivenDatabases, couriers_config, use_local_servers};
use crate::{
    load::{self, EndReason, LoadArgs, MAX_COURIERS, OnTimeout},
    output,
    serve::listen,
    tools::migrate::{Administrator, migrate_couriers, migrate_orders},
    usage::SEE_LONG_HELP,
};

const EXAMPLES: &str = "\
Examples:
  waybill up
      everything, with five orders a second
  waybill up --rate 0
      no generated orders: send your own with POST /order or `waybill load`
  waybill up --couriers 20
      too few couriers, so that orders wait in the queue
  waybill up --data-dir /tmp/other --postgres-port 25432 --kafka-port 29092 \\
    --orders-http-addr 127.0.0.1:9081 --couriers-http-addr 127.0.0.1:9082
      a second system beside the first
  DATABASE_URL=postgres://… KAFKA_BROKERS=kafka:9092 waybill up
      with your own PostgreSQL and Kafka
  ORDERS_DATABASE_URL=postgres://… waybill up
      with your own database for the order service; the courier service gets
      one in the local PostgreSQL

`waybill --help` explains the configuration and the exit codes.";

/// Bounds the shutdown of all parts together. Unfinished records are redelivered at the next start.
const TOTAL_SHUTDOWN_TIMEOUT: Duration = Duration::from_millis(4_500);

/// Run everything on this machine, with generated orders.
///
/// The command starts a local PostgreSQL and a local Kafka, creates the databases and their tables,
/// runs the order service and the courier service, registers couriers, sends generated orders and
/// simulates their statuses. It prints the addresses of everything.
///
/// A server whose address you give is not started: Kafka with --kafka-brokers, PostgreSQL with
/// --database-url or with an address for each service. All data is in one folder, and the next start
/// continues with it. Ctrl-C stops everything within 5 seconds.
///
/// The programs of PostgreSQL and a Java runtime (17 or newer) must be installed; PG_BIN_DIR and
/// JAVA_HOME name their folders if they are not found. Kafka is downloaded once with Maven, unless
/// KAFKA_HOME names the folder of an Apache Kafka installation.
#[derive(Args)]
#[command(
    after_help = SEE_LONG_HELP,
    after_long_help = EXAMPLES,
    mut_arg("admin_database_url", |option| option.hide_short_help(true))
)]
pub(crate) struct UpArgs {
    /// Generated orders a second, from 0 to 10000; 0 sends none.
    #[arg(
        long,
        default_value_t = 5,
        value_name = "N",
        value_parser = within::<u32>(0..=10_000),
        help_heading = "Generated orders"
    )]
    rate: u32,
    /// Number of couriers to register, from 0 to 1000000 [default: 20 times the rate, plus 4].
    ///
    /// With the default, most orders get a courier at once, and only a few wait in the queue.
    /// Couriers of an earlier start are not registered again.
    #[arg(
        long,
        value_name = "N",
        value_parser = within::<u64>(0..=MAX_COURIERS),
        help_heading = "Generated orders"
    )]
    couriers: Option<u64>,
    /// Folder of the data of the local PostgreSQL and the local Kafka.
    ///
    /// Only one `waybill up` can use a folder at a time. Delete the folder to start without data.
    /// Kafka does not accept a comma in its name.
    #[arg(long, default_value = ".waybill", value_name = "DIR", help_heading = "Local servers")]
    data_dir: PathBuf,
    /// Port of the local PostgreSQL, from 0 to 65535; 0 chooses a free port.
    #[arg(
        long,
        default_value_t = 15432,
        value_name = "PORT",
        value_parser = within::<u16>(0..=65_535),
        help_heading = "Local servers",
        hide_short_help = true
    )]
    postgres_port: u16,
    /// Port of the local Kafka, from 0 to 65535; 0 chooses a free port.
    #[arg(
        long,
        default_value_t = 19092,
        value_name = "PORT",
        value_parser = within::<u16>(0..=65_535),
        help_heading = "Local servers",
        hide_short_help = true
    )]
    kafka_port: u16,
    #[command(flatten)]
    orders: orders::Config,
    #[command(flatten)]
    deliveries: couriers::Options,
    #[command(flatten)]
    administrator: Administrator,
}

struct Listeners {
    orders: TcpListener,
    couriers: TcpListener,
}

/// The addresses of the services for a browser on this machine, without a trailing slash.
struct Addresses {
    orders: String,
    couriers: String,
}

pub(crate) async fn run(args: UpArgs) -> anyhow::Result<()> {
    run_all(args).await.map_err(|error| {
        if error.is::<Obstacle>() { error.context(ExitReason::Configuration) } else { error }
    })
}

async fn run_all(args: UpArgs) -> anyhow::Result<()> {
    args.orders.topics.check().context(ExitReason::Configuration)?;
    let given = GivenDatabases::check(&args).context(ExitReason::Configuration)?;
    let shutdown = shutdown::on_signals(TOTAL_SHUTDOWN_TIMEOUT)?;
    let options = LocalServersOptions {
        data_dir: args.data_dir.clone(),
        postgres_port: (!given.orders || !given.couriers).then_some(args.postgres_port),
        kafka_port: (!args.orders.kafka.is_given()).then_some(args.kafka_port),
    };
    options.check()?;
    let needs_folder = options.postgres_port.is_some() || options.kafka_port.is_some();
    // The lock comes before the ports. A second `up` on the same folder usually uses the same ports
    // too; its error must name the folder and the process that uses it, not a port. The lock is
    // held until this function returns, after the servers have stopped.
    let _folder = if needs_folder { Some(Folder::open(&args.data_dir).await?) } else { None };
    // Both ports are bound before a server starts, because starting takes seconds: a port in use is
    // reported at once, and no other process can take a port in the meantime.
    let listeners = Listeners {
        orders: listen(args.orders.orders_http_addr, "--orders-http-addr").await?,
        couriers: listen(args.deliveries.couriers_http_addr, "--couriers-http-addr").await?,
    };
    // A signal during the start drops the servers that have started: each one is then stopped by
    // its watcher process (see `local`).
    let progress = |line: &str| tracing::info!("{line}");
    let starting = LocalServers::start(&options, &progress);
    let Some(servers) = shutdown.run_until_cancelled(starting).await else { return Ok(()) };
    let mut servers = servers?;
    // The servers stop last, and also after an error. Unless stopping timed out, the services have
    // written their last batches and committed their offsets by now.
    let outcome = run_with_servers(&mut servers, args, given, listeners, &shutdown).await;
    let stopped = servers.stop().await;
    outcome.and(stopped)
}

async fn run_with_servers(
    servers: &mut LocalServers,
    mut args: UpArgs,
    given: GivenDatabases,
    listeners: Listeners,
    shutdown: &CancellationToken,
) -> anyhow::Result<()> {
    let administrator = args.administrator.address().context(ExitReason::Configuration)?;
    let administrator = administrator.map(|address| address.options());
    let superuser = servers.postgres.as_ref();
    let superuser = superuser.map(|postgres| Address::parse_local(&postgres.url())).transpose()?;
    let superuser = superuser.map(|address| address.options());
    let administrator_of =
        |is_given| if is_given { administrator.as_ref() } else { superuser.as_ref() };
    use_local_servers(&mut args, servers, given);
    let addresses = Addresses {
        orders: format!("http://{}", reachable_from_here(listeners.orders.local_addr()?)),
        couriers: format!("http://{}", reachable_from_here(listeners.couriers.local_addr()?)),
    };
    let couriers_url: Url =
        addresses.couriers.parse().context("parsing the courier service's URL")?;
    args.orders.couriers_url.get_or_insert_with(|| couriers_url.clone());
    let orders_url: Url = addresses.orders.parse().context("parsing the order service's URL")?;
    let orders_url = args.orders.orders_url.get_or_insert(orders_url).clone();
    // The local servers have started, with the limit of the shell.
    let connections = open_files::allow_connections(args.orders.http.connections, 2);
    args.orders.http.connections = connections;
    let couriers = couriers_config(&args, orders_url);
    let (database, postgres) = (&couriers.own.database, &couriers.postgres);
    // The banner is printed after the migration. Its addresses already work: early connections wait
    // in the queue of the bound port.
    migrate_orders(&args.orders.database, administrator_of(given.orders)).await?;
    migrate_couriers(database, postgres, administrator_of(given.couriers)).await?;

    // The services need no reader of the banner.
    if let Err(error) = output::print(&banner::text(servers, &args, given, &addresses)) {
        tracing::warn!("{error:#}");
    }
    run_services(servers, args, couriers, couriers_url, listeners, shutdown).await
}

/// Runs both services and the generator until shutdown, or until a service or a local server ends.
async fn run_services(
    servers: &mut LocalServers,
    args: UpArgs,
    couriers: couriers::Config,
    couriers_url: Url,
    listeners: Listeners,
    shutdown: &CancellationToken,
) -> anyhow::Result<()> {
    let count = args.couriers.unwrap_or_else(|| enough_couriers(args.rate));
    let load = LoadArgs::unending(args.rate, count, couriers_url);
    let (kafka, topics) = (args.orders.kafka.clone(), args.orders.topics.clone());
    let stop_services = shutdown.child_token();
    let serving = run_both_services(
        orders::run(args.orders, listeners.orders, stop_services.clone()),
        couriers::run(couriers, listeners.couriers, stop_services.clone()),
        &stop_services,
    );
    // The generator may end before the services: at rate 0, or after a failure that it has logged.
    // The services then continue. An error of `generate` stops them.
    let generating = async {
        generate(&load, &kafka, &topics, &stop_services).await?;
        shutdown.cancelled().await;
        anyhow::Ok(())
    };
    serve_until_first_end(serving, servers.died(), generating, &stop_services).await
}

/// Waits until the services end. If a local server or the generator fails first, stops the services and
/// returns that failure.
async fn serve_until_first_end(
    serving: impl Future<Output = anyhow::Result<()>>,
    died: impl Future<Output = anyhow::Error>,
    generating: impl Future<Output = anyhow::Result<()>>,
    stop_services: &CancellationToken,
) -> anyhow::Result<()> {
    let mut serving = pin!(serving);
    let failure = tokio::select! {
        // The services end at the shutdown, or when one of them fails. Dropping the generator loses
        // nothing: orders that Kafka has acknowledged are on the topic.
        ended = &mut serving => return ended,
        died = died => died,
        generated = generating => match generated {
            // The generator ended first at the shutdown: the services finish their batches.
            Ok(()) => return serving.await,
            Err(failure) => failure,
        },
    };
    stop_services.cancel();
    // A service may wait forever for the failed server. Only a signal starts the shutdown timeout,
    // so there is one here.
    match tokio::time::timeout(TOTAL_SHUTDOWN_TIMEOUT, serving).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!("stopping the services: {error:#}"),
        Err(_) => tracing::warn!("the services did not stop within {TOTAL_SHUTDOWN_TIMEOUT:?}"),
    }
    Err(failure)
}

/// Registers couriers and sends orders until `stop_services` is cancelled; at rate 0, registers
/// couriers only.
async fn generate(
    load: &LoadArgs,
    kafka: &KafkaConfig,
    topics: &TopicConfig,
    stop_services: &CancellationToken,
) -> anyhow::Result<()> {
    if load.rate == Some(0) {
        let registering =
            load::register_couriers(&load.couriers_url, &load.http, load.couriers, OnTimeout::Wait);
        stop_services.run_until_cancelled(registering).await.unwrap_or(Ok(0))?;
        return Ok(());
    }
    // The services create the topics too, but the generator may be faster.
    topics::ensure(kafka, &[topics.orders(), &topics.kafka_status_topic]).await?;
    let summary = load::run(load, kafka, topics, stop_services.clone()).await?;
    if !matches!(summary.ended, EndReason::Done | EndReason::Stopped) {
        tracing::warn!("the generator sends no more orders: it {}", summary.ended);
    }
    Ok(())
}

/// Returns 20 couriers for each order a second, and 4 more. A delivery takes about 19 seconds, so
/// orders seldom wait.
pub(crate) fn enough_couriers(rate: u32) -> u64 {
    u64::from(rate) * 20 + 4
}

/// Runs both services until they end. If one fails, stops the other one, and waits for it.
async fn run_both_services(
    one: impl Future<Output = anyhow::Result<()>>,
    other: impl Future<Output = anyhow::Result<()>>,
    stop_services: &CancellationToken,
) -> anyhow::Result<()> {
    let stop_both = |_: &anyhow::Error| stop_services.cancel();
    let one = async { one.await.inspect_err(stop_both) };
    let other = async { other.await.inspect_err(stop_both) };
    let (one, other) = tokio::join!(one, other);
    one.and(other)
}

/// Returns the address for a browser on this machine: 0.0.0.0 and :: become loopback.
fn reachable_from_here(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(match address.ip() {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    address
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn after_a_failure_the_services_finish_their_batches() {
        let finished = std::cell::Cell::new(false);
        for generator_fails in [true, false] {
            let stop_services = CancellationToken::new();
            let serving = async {
                stop_services.cancelled().await;
                // Their last batches take some time.
                tokio::time::sleep(Duration::from_millis(50)).await;
                finished.set(true);
                anyhow::Ok(())
            };
            let failure = || anyhow::anyhow!("the failure");
            let died =
                async { if generator_fails { std::future::pending().await } else { failure() } };
            let generating = async {
                if generator_fails { Err(failure()) } else { std::future::pending().await }
            };
            let ended = serve_until_first_end(serving, died, generating, &stop_services).await;
            assert_eq!(ended.unwrap_err().to_string(), "the failure");
            assert!(finished.replace(false), "the services wrote their last batches");
        }
    }

    #[test]
    fn the_unspecified_address_is_reached_at_loopback() {
        for (listens, reached) in [
            ("0.0.0.0:8081", "127.0.0.1:8081"),
            ("[::]:8081", "[::1]:8081"),
            ("192.0.2.1:8081", "192.0.2.1:8081"),
        ] {
            assert_eq!(reachable_from_here(listens.parse().unwrap()).to_string(), reached);
        }
    }
}
