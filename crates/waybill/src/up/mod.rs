//! `waybill up`: everything on this machine.
//!
//! ```text
//! check the arguments ─▶ lock the folder ─▶ bind both ports ─▶ start PostgreSQL and Kafka
//!   ─▶ migrate ─▶ banner ─▶ order service, courier service, generator ─▶ stop in reverse order
//! ```
//!
//! A server whose address is given is not started. There is no other difference to production.

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
    http::web_address,
    kafka::config::KafkaConfig,
    kafka::topics,
    process::{exit::ExitReason, shutdown},
};
use clap::Args;
use local::{Folder, LocalServers, LocalServersOptions, Obstacle};
use orders::TopicConfig;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use url::Url;

use self::config::{GivenDatabases, couriers_config, use_local_servers};
use crate::{
    load::{self, EndReason, LoadArgs, OnTimeout},
    output,
    serve::listen,
    tools::migrate::{Administrator, migrate_couriers, migrate_orders},
};

const EXAMPLES: &str = "\
Examples:
  waybill up                                   all of it, five orders a second
  waybill up --rate 0                          no orders but yours
  waybill up --couriers 20                     far too few couriers: watch the queue
  waybill up --data-dir /tmp/other --postgres-port 25432 --kafka-port 29092 \\
             --orders-http-addr 127.0.0.1:9081 --couriers-http-addr 127.0.0.1:9082
                                               a second one beside the first
  DATABASE_URL=postgres://… KAFKA_BROKERS=… waybill up
                                               with your own PostgreSQL and Kafka
  ORDERS_DATABASE_URL=postgres://… waybill up  with your own database for one service: the local
                                               PostgreSQL has the other's";

/// Bounds the shutdown of all parts together; unfinished work is resumed at the next start.
const TOTAL_SHUTDOWN_TIMEOUT: Duration = Duration::from_millis(4_500);

/// What `up` starts, and where.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct UpArgs {
    /// Orders a second that the generator sends; 0 sends none.
    #[arg(long, default_value_t = 5, value_name = "N")]
    rate: u32,
    /// Couriers that the generator enlists [default: enough for most orders, now and then a queue]
    #[arg(long, value_name = "N")]
    couriers: Option<u64>,
    /// The folder of the local PostgreSQL's and Kafka's data.
    #[arg(long, default_value = ".waybill", value_name = "DIR")]
    data_dir: PathBuf,
    /// The local PostgreSQL's port.
    #[arg(long, default_value_t = 15432, value_name = "PORT")]
    postgres_port: u16,
    /// The local Kafka's port.
    #[arg(long, default_value_t = 19092, value_name = "PORT")]
    kafka_port: u16,
    #[command(flatten)]
    administrator: Administrator,
    #[command(flatten)]
    orders: orders::Config,
    /// The order service as browsers reach it: its pages, and no others, may ask the courier
    /// service who delivers [default: where it listens]
    #[arg(long, env = "ORDERS_URL", value_name = "URL", value_parser = web_address)]
    orders_url: Option<Url>,
    #[command(flatten)]
    deliveries: couriers::Options,
}

struct Listeners {
    orders: TcpListener,
    couriers: TcpListener,
}

/// The addresses of the services for a browser on this machine, without a final slash.
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
    let needs_folder = options.postgres_port.is_some() || options.kafka_port.is_some();
    // The lock comes before the ports: a second `up` on the same folder usually has the same ports
    // too, and its error message must name the folder.
    let _folder = if needs_folder { Some(Folder::open(&args.data_dir).await?) } else { None };
    let listeners = Listeners {
        orders: listen(args.orders.orders_http_addr, "--orders-http-addr").await?,
        couriers: listen(args.deliveries.couriers_http_addr, "--couriers-http-addr").await?,
    };
    let progress = |line: &str| tracing::info!("{line}");
    let starting = LocalServers::start(&options, &progress);
    let Some(servers) = shutdown.run_until_cancelled(starting).await else { return Ok(()) };
    let mut servers = servers?;
    let outcome = run_on(&mut servers, args, given, listeners, &shutdown).await;
    let stopped = servers.stop().await;
    outcome.and(stopped)
}

async fn run_on(
    servers: &mut LocalServers,
    mut args: UpArgs,
    given: GivenDatabases,
    listeners: Listeners,
    shutdown: &CancellationToken,
) -> anyhow::Result<()> {
    let administrator = args.administrator.options().context(ExitReason::Configuration)?;
    let superuser = servers.postgres.as_ref().map(|postgres| postgres.url().parse()).transpose();
    let superuser = superuser.context("the local PostgreSQL's address")?;
    let administrator_of =
        |is_given| if is_given { administrator.as_ref() } else { superuser.as_ref() };
    use_local_servers(&mut args, servers, given);
    let addresses = Addresses {
        orders: format!("http://{}", reachable_from_here(listeners.orders.local_addr()?)),
        couriers: format!("http://{}", reachable_from_here(listeners.couriers.local_addr()?)),
    };
    let couriers_url: Url = addresses.couriers.parse().context("the couriers' address")?;
    args.orders.couriers_url.get_or_insert_with(|| couriers_url.clone());
    let orders_url = match args.orders_url.take() {
        Some(given) => given,
        None => addresses.orders.parse().context("the order service's address")?,
    };
    let couriers = couriers_config(&args, orders_url);
    let (database, postgres) = (&couriers.own.database, &couriers.postgres);
    migrate_orders(&args.orders.database, administrator_of(given.orders)).await?;
    migrate_couriers(database, postgres, administrator_of(given.couriers)).await?;

    output::print(&banner::text(servers, &args, given, &addresses));
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
    let services = shutdown.child_token();
    let mut serving = pin!(both(
        orders::run(args.orders, listeners.orders, services.clone()),
        couriers::run(couriers, listeners.couriers, services.clone()),
        &services,
    ));
    let generating = async {
        generate(&load, &kafka, &topics, &services).await?;
        shutdown.cancelled().await;
        anyhow::Ok(())
    };
    tokio::select! {
        ended = &mut serving => return ended,
        died = servers.died() => {
            services.cancel();
            if let Err(error) = serving.await {
                tracing::warn!("stopping the services: {error:#}");
            }
            return Err(died);
        }
        ended = generating => ended?,
    }
    serving.await
}

/// Registers couriers and sends orders until `services` is cancelled; at rate 0, registers couriers
/// only.
async fn generate(
    load: &LoadArgs,
    kafka: &KafkaConfig,
    topics: &TopicConfig,
    services: &CancellationToken,
) -> anyhow::Result<()> {
    if load.rate == Some(0) {
        let registering =
            load::register_couriers(&load.couriers_url, load.couriers, OnTimeout::Wait);
        services.run_until_cancelled(registering).await.unwrap_or(Ok(0))?;
        return Ok(());
    }
    topics::ensure(&kafka, &[topics.orders(), &topics.kafka_status_topic]).await?;
    let summary = load::run(load, kafka, topics, services.clone()).await?;
    if !matches!(summary.ended, EndReason::Done | EndReason::Stopped) {
        tracing::warn!("no more orders are sent; the generator {}", summary.ended);
    }
    Ok(())
}

/// Returns a number of couriers that is just enough: a courier carries an order for some 19
/// seconds, and there are four more than orders on their way, so that a queue forms only now and
/// then.
pub(crate) fn enough_couriers(rate: u32) -> u64 {
    u64::from(rate) * 20 + 4
}

/// Runs both services to their end. If one fails, the other one is stopped.
async fn both(
    one: impl Future<Output = anyhow::Result<()>>,
    other: impl Future<Output = anyhow::Result<()>>,
    services: &CancellationToken,
) -> anyhow::Result<()> {
    let stop_both = |_: &anyhow::Error| services.cancel();
    let one = async { one.await.inspect_err(stop_both) };
    let other = async { other.await.inspect_err(stop_both) };
    let (one, other) = tokio::join!(one, other);
    one.and(other)
}

/// Returns the address for a browser on this machine: the unspecified address becomes loopback.
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
