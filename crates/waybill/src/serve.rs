//! The commands `orders` and `couriers`: each binds its port and runs its service until a signal.

use std::{net::SocketAddr, time::Duration};

use anyhow::Context;
use chassis::process::{exit::ExitReason, failpoint, open_files, shutdown};
use clap::{Args, Subcommand};
use tokio::net::TcpListener;

use crate::tools;

pub(crate) const ORDERS_EXAMPLES: &str = "\
Examples:
  KAFKA_BROKERS=kafka:9092 \\
    ORDERS_DATABASE_URL=postgres://waybill_orders:…@db/waybill_orders \\
    waybill orders --orders-http-addr 0.0.0.0:8081
      one replica; start as many as you need, with the same settings
  waybill orders --redis-url redis://cache:6379 \\
    --couriers-url https://couriers.example.com
      with a second cache level, and with the courier on an order's page
  RUST_LOG=debug waybill orders
      with a detailed log

Health checks are GET /livez and GET /readyz; GET /metrics is for Prometheus.
`waybill --help` explains the configuration and the exit codes.";

pub(crate) const COURIERS_EXAMPLES: &str = "\
Examples:
  KAFKA_BROKERS=kafka:9092 \\
    COURIERS_DATABASE_URL=postgres://waybill_couriers:…@db/waybill_couriers \\
    waybill couriers --couriers-http-addr 0.0.0.0:8082
      one replica; start as many as you need, with the same settings
  waybill couriers --orders-url https://orders.example.com
      browsers reach the order service at this address
  waybill couriers import couriers.csv
      not a replica: adds the couriers of a file to a running service
  waybill couriers --delivery-time-car 10m --overdue-grace 30m
      with later deadlines for cars, and more time for late couriers

Health checks are GET /livez and GET /readyz; GET /metrics is for Prometheus.
`waybill --help` explains the configuration and the exit codes.";

/// Bounds the shutdown of a service, which usually takes a second or two. Without a limit it could
/// wait forever for a dependency that is down. Unfinished records are redelivered at the next start.
pub(crate) const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(10);

/// The arguments of `waybill couriers`: the options of the service, or a tool.
#[derive(Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct CouriersArgs {
    #[command(flatten)]
    pub(crate) config: couriers::Config,
    #[command(subcommand)]
    pub(crate) tool: Option<CouriersTool>,
}

#[derive(Subcommand)]
pub(crate) enum CouriersTool {
    Import(tools::import::ImportArgs),
}

pub(crate) async fn orders(mut config: orders::Config) -> anyhow::Result<()> {
    // A wrong configuration ends the process before it binds its port and waits for anything.
    config.check().context(ExitReason::Configuration)?;
    // The signals are handled before the service waits for its dependencies, so that a service that
    // still waits can be stopped as well.
    let shutdown = shutdown::on_signals(SHUTDOWN_TIMEOUT)?;
    config.http.connections = open_files::allow_connections(config.http.connections, 1);
    let listener = listen(config.orders_http_addr, "--orders-http-addr").await?;
    tracing::info!("the order service listens on http://{}", listener.local_addr()?);
    orders::run(config, listener, shutdown).await
}

pub(crate) async fn couriers(mut config: couriers::Config) -> anyhow::Result<()> {
    config.check().context(ExitReason::Configuration)?;
    let shutdown = shutdown::on_signals(SHUTDOWN_TIMEOUT)?;
    config.http.connections = open_files::allow_connections(config.http.connections, 1);
    let listener = listen(config.own.couriers_http_addr, "--couriers-http-addr").await?;
    tracing::info!("the courier service listens on http://{}", listener.local_addr()?);
    couriers::run(config, listener, shutdown).await
}

/// Binds the address of a service. The error message names `flag`, the option for the address.
pub(crate) async fn listen(address: SocketAddr, flag: &str) -> anyhow::Result<TcpListener> {
    failpoint::async_point("before-listening").await;
    TcpListener::bind(address)
        .await
        .with_context(|| format!("listening on {address}; set another address with {flag}"))
        .context(ExitReason::Configuration)
}
