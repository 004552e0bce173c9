//! `waybill up`: everything on this machine. A PostgreSQL and a Kafka of its own are started unless
//! addresses are given; nothing else differs from production.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::PathBuf,
    pin::pin,
    time::Duration,
};

use anyhow::Context;
use chassis::{http::web_address, process::exit::ExitReason};
use clap::Args;
use local::{Folder, LocalServers, LocalServersOptions, Obstacle};
use sqlx::postgres::PgConnectOptions;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use url::Url;

use crate::{
    Administrator, listen,
    load::{self, Ended, LoadArgs, WhenSilent},
    say,
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

/// How long everything may take to stop; what was not finished is taken up again at the next start.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_millis(4_500);

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

/// Where the services listen.
struct Listeners {
    orders: TcpListener,
    couriers: TcpListener,
}

/// Which services have a database of yours; the local PostgreSQL has that of the others.
#[derive(Clone, Copy)]
struct Given {
    orders: bool,
    couriers: bool,
}

impl Given {
    /// Looks at all addresses that are given, so that none is found wrong once something runs.
    fn check(args: &UpArgs) -> anyhow::Result<Self> {
        let (orders, couriers) = (&args.orders.database, &args.deliveries.database);
        let given =
            Self { orders: orders.is_given(), couriers: couriers.is_given(&orders.postgres) };
        if given.orders {
            orders.options()?;
        }
        if given.couriers {
            couriers.options(&orders.postgres)?;
        }
        args.administrator.options()?;
        Ok(given)
    }
}

pub(crate) async fn run(args: UpArgs) -> anyhow::Result<()> {
    run_all(args).await.map_err(|error| {
        if error.is::<Obstacle>() { error.context(ExitReason::Configuration) } else { error }
    })
}

async fn run_all(args: UpArgs) -> anyhow::Result<()> {
    args.orders.topics.check().context(ExitReason::Configuration)?;
    let given = Given::check(&args).context(ExitReason::Configuration)?;
    let shutdown = chassis::process::shutdown::on_signals(SHUTDOWN_TIMEOUT)?;
    let wants_folder = !given.orders || !given.couriers || !args.orders.kafka.is_given();
    // Before any port: a second `up` has all of them in common with the first, and is to be told of
    // the folder.
    let _folder = if wants_folder { Some(Folder::open(&args.data_dir).await?) } else { None };
    let listeners = Listeners {
        orders: listen(args.orders.orders_http_addr, "--orders-http-addr").await?,
        couriers: listen(args.deliveries.couriers_http_addr, "--couriers-http-addr").await?,
    };
    let options = LocalServersOptions {
        data_dir: args.data_dir.clone(),
        postgres_port: (!given.orders || !given.couriers).then_some(args.postgres_port),
        kafka_port: (!args.orders.kafka.is_given()).then_some(args.kafka_port),
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
    given: Given,
    listeners: Listeners,
    shutdown: &CancellationToken,
) -> anyhow::Result<()> {
    let administrator = args.administrator.options().context(ExitReason::Configuration)?;
    let (mut of_orders, mut of_couriers) = (administrator.clone(), administrator);
    if let Some(postgres) = &servers.postgres {
        let local: PgConnectOptions =
            postgres.url().parse().context("the local PostgreSQL's address")?;
        // The server listens on loopback and trusts it: the password keeps nobody out.
        let url = |name| format!("postgres://{name}:waybill@127.0.0.1:{}/{name}", postgres.port());
        if !given.orders {
            args.orders.database.orders_database_url = Some(url("waybill_orders"));
            of_orders = Some(local.clone());
        }
        if !given.couriers {
            args.deliveries.database.couriers_database_url = Some(url("waybill_couriers"));
            of_couriers = Some(local);
        }
    }
    if let Some(kafka) = &servers.kafka {
        args.orders.kafka = args.orders.kafka.clone().with_brokers(kafka.brokers());
    }
    let orders_url = format!("http://{}", from_here(listeners.orders.local_addr()?));
    let couriers_url = format!("http://{}", from_here(listeners.couriers.local_addr()?));
    let couriers_at: Url = couriers_url.parse().context("the couriers' address")?;
    if args.orders.couriers_url.is_none() {
        args.orders.couriers_url = Some(couriers_at.clone());
    }
    let from = match args.orders_url.take() {
        Some(given) => given,
        None => orders_url.parse().context("the order service's address")?,
    };
    let couriers = couriers_config(&args, from);
    let service = args.orders.database.options().context(ExitReason::Configuration)?;
    chassis::postgres::pool::reach(of_orders.as_ref().unwrap_or(&service)).await?;
    orders::migrate(&args.orders.database, of_orders.as_ref()).await?;
    let database = &couriers.own.database;
    let service = database.options(&couriers.postgres).context(ExitReason::Configuration)?;
    chassis::postgres::pool::reach(of_couriers.as_ref().unwrap_or(&service)).await?;
    couriers::migrate(database, &couriers.postgres, of_couriers.as_ref()).await?;

    say(&banner(servers, &args, given, &orders_url, &couriers_url));
    let topics = args.orders.topics.clone();
    let kafka = args.orders.kafka.clone();
    let services = shutdown.child_token();
    let enlisted = args.couriers.unwrap_or_else(|| enough_couriers(args.rate));
    let generator = LoadArgs::unending(args.rate, enlisted, couriers_at.clone());
    let rate = args.rate;
    let mut serving = pin!(both(
        orders::run(args.orders, listeners.orders, services.clone()),
        couriers::run(couriers, listeners.couriers, services.clone()),
        &services,
    ));
    let generating = async {
        if rate > 0 {
            kafka.create_topics(&[topics.orders(), &topics.kafka_status_topic]).await?;
            let summary = load::run(&generator, &kafka, &topics, services.clone()).await?;
            if !matches!(summary.ended, Ended::Done | Ended::Stopped) {
                tracing::warn!("no more orders are sent; the generator {}", summary.ended);
            }
        } else {
            let enlisting = load::enlist(&couriers_at, enlisted, WhenSilent::Wait);
            services.run_until_cancelled(enlisting).await.unwrap_or(Ok(0))?;
        }
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

/// How a browser on this machine reaches what listens there: "all addresses" is none to go to.
fn from_here(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(match address.ip() {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    address
}

/// What both services are told alike comes from the order service's configuration.
fn couriers_config(args: &UpArgs, orders_url: Url) -> couriers::Config {
    let orders = &args.orders;
    couriers::Config {
        kafka: orders.kafka.clone(),
        topics: couriers::TopicConfig::named(orders.topics.kafka_status_topic.clone()),
        postgres: orders.database.postgres.clone(),
        batch: orders.batch,
        lanes: orders.lanes,
        http_connections: orders.http_connections,
        orders_url,
        own: args.deliveries.clone(),
    }
}

/// An order is carried for some nineteen seconds; with a courier more for each order in flight
/// than that needs, chance still makes a queue now and then.
pub(crate) fn enough_couriers(rate: u32) -> u64 {
    u64::from(rate) * 20 + 4
}

/// Runs both to their end. When one has failed, the other is told to end.
async fn both(
    one: impl Future<Output = anyhow::Result<()>>,
    other: impl Future<Output = anyhow::Result<()>>,
    services: &CancellationToken,
) -> anyhow::Result<()> {
    let (one, other) =
        tokio::join!(async { one.await.inspect_err(|_| services.cancel()) }, async {
            other.await.inspect_err(|_| services.cancel())
        },);
    one.and(other)
}

fn banner(
    servers: &LocalServers,
    args: &UpArgs,
    given: Given,
    orders_url: &str,
    couriers_url: &str,
) -> String {
    let mut lines = vec![
        String::new(),
        "  Waybill is up.".to_owned(),
        String::new(),
        format!("  orders      {orders_url}"),
        format!("  couriers    {couriers_url}"),
        format!("  API         {orders_url}/docs  {couriers_url}/docs"),
        format!("  metrics     {orders_url}/metrics  {couriers_url}/metrics"),
    ];
    if let Some(postgres) = &servers.postgres {
        let databases = [(given.orders, "waybill_orders"), (given.couriers, "waybill_couriers")];
        for (_, database) in databases.into_iter().filter(|(given, _)| !given) {
            let url = postgres.url().replace("/postgres", &format!("/{database}"));
            lines.push(format!("  PostgreSQL  psql {url}"));
        }
    }
    let brokers = servers
        .kafka
        .as_ref()
        .map_or_else(|| args.orders.kafka.brokers().to_owned(), local::Kafka::brokers);
    lines.push(format!("  Kafka       kcat -b {brokers} -t {}", args.orders.topics.orders()));
    lines.push(format!("  data        {}", args.data_dir.display()));
    lines.push(String::new());
    lines.push(match args.rate {
        0 => "  No orders are sent: start again with --rate 5 for some. Ctrl-C stops everything."
            .to_owned(),
        rate => format!("  {rate} orders a second are sent. Ctrl-C stops everything."),
    });
    lines.push(String::new());
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_listens_everywhere_is_reached_here() {
        for (listens, reached) in [
            ("0.0.0.0:8081", "127.0.0.1:8081"),
            ("[::]:8081", "[::1]:8081"),
            ("192.0.2.1:8081", "192.0.2.1:8081"),
        ] {
            assert_eq!(from_here(listens.parse().unwrap()).to_string(), reached);
        }
    }
}
