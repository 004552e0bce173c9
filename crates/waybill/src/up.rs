//! `waybill up`: everything on this machine. A PostgreSQL and a Kafka of its own are started unless
//! addresses are given; nothing else differs from production.

use std::{path::PathBuf, pin::pin, time::Duration};

use anyhow::Context;
use clap::Args;
use local::{Stand, StandOptions};
use tokio_util::sync::CancellationToken;

use crate::{
    Administrator, BadConfiguration,
    load::{self, LoadArgs},
    say,
};

const EXAMPLES: &str = "\
Examples:
  waybill up                                   all of it, five orders a second
  waybill up --rate 0                          no orders but yours
  waybill up --data-dir /tmp/other --postgres-port 25432 --kafka-port 29092 \\
             --orders-http-addr 127.0.0.1:9081 a second one beside the first
  DATABASE_URL=postgres://… KAFKA_BROKERS=… waybill up
                                               with your own PostgreSQL and Kafka";

/// How long everything may take to stop; what was not finished is taken up again at the next start.
const FAREWELL: Duration = Duration::from_millis(4_500);

/// What `up` starts, and where.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct UpArgs {
    /// Orders a second that the generator sends; 0 sends none.
    #[arg(long, default_value_t = 5, value_name = "N")]
    rate: u32,
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
}

pub(crate) async fn run(args: UpArgs) -> anyhow::Result<()> {
    args.orders.topics.check().context(BadConfiguration)?;
    let shutdown = chassis::shutdown::on_signals(FAREWELL)?;
    let address = args.orders.orders_http_addr;
    let listener = tokio::net::TcpListener::bind(address)
        .await
        .with_context(|| {
            format!("listening on {address}; --orders-http-addr chooses another address")
        })
        .context(BadConfiguration)?;
    let options = StandOptions {
        data_dir: args.data_dir.clone(),
        postgres_port: (!args.orders.database.is_given()).then_some(args.postgres_port),
        kafka_port: (!args.orders.kafka.is_given()).then_some(args.kafka_port),
    };
    let progress = |line: &str| tracing::info!("{line}");
    let starting = Stand::start(&options, &progress);
    let Some(stand) = shutdown.run_until_cancelled(starting).await else { return Ok(()) };
    let mut stand = stand?;
    let outcome = run_on(&mut stand, args, listener, &shutdown).await;
    let stopped = stand.stop().await;
    outcome.and(stopped)
}

async fn run_on(
    stand: &mut Stand,
    mut args: UpArgs,
    listener: tokio::net::TcpListener,
    shutdown: &CancellationToken,
) -> anyhow::Result<()> {
    let mut administrator = args.administrator.options().context(BadConfiguration)?;
    if let Some(postgres) = &stand.postgres {
        administrator = Some(postgres.url().parse().context("the local PostgreSQL's address")?);
        // The server listens on loopback and trusts it: the password keeps nobody out.
        args.orders.database.orders_database_url = Some(format!(
            "postgres://waybill_orders:waybill@127.0.0.1:{}/waybill_orders",
            postgres.port()
        ));
    }
    if let Some(kafka) = &stand.kafka {
        args.orders.kafka = args.orders.kafka.clone().with_brokers(kafka.brokers());
    }
    orders::migrate(&args.orders.database, administrator.as_ref()).await?;

    let page = listener.local_addr()?;
    say(&banner(stand, &args, page));
    let topic = args.orders.topics.orders().to_owned();
    let kafka = args.orders.kafka.clone();
    let services = shutdown.child_token();
    let mut serving = pin!(orders::run(args.orders, listener, services.clone()));
    let generator = LoadArgs::unending(args.rate);
    let generating = async {
        if args.rate > 0 {
            kafka.create_topics(&[&topic]).await?;
            load::run(&generator, &kafka, &topic, services.clone()).await?;
        }
        shutdown.cancelled().await;
        anyhow::Ok(())
    };
    tokio::select! {
        ended = &mut serving => return ended,
        died = stand.died() => {
            services.cancel();
            if let Err(error) = serving.await {
                tracing::warn!("stopping the order service: {error:#}");
            }
            return Err(died);
        }
        ended = generating => ended?,
    }
    serving.await
}

fn banner(stand: &Stand, args: &UpArgs, page: std::net::SocketAddr) -> String {
    let mut lines = vec![
        String::new(),
        "  Waybill is up.".to_owned(),
        String::new(),
        format!("  page        http://{page}"),
        format!("  API         http://{page}/docs"),
        format!("  metrics     http://{page}/metrics"),
    ];
    if let Some(postgres) = &stand.postgres {
        lines.push(format!(
            "  PostgreSQL  psql {}",
            postgres.url().replace("/postgres", "/waybill_orders")
        ));
    }
    let brokers = stand
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
