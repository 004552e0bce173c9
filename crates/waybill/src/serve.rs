//! The roles `orders` and `couriers`: each binds its port and runs its service until a signal.

use std::{net::SocketAddr, time::Duration};

use anyhow::Context;
use chassis::process::{exit::ExitReason, shutdown};
use tokio::net::TcpListener;

/// Bounds the shutdown of a role. It usually takes a second or two, but it could wait for ever for
/// a dependency that is down. Unfinished work is delivered again.
pub(crate) const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(10);

pub(crate) async fn orders(config: orders::Config) -> anyhow::Result<()> {
    config.topics.check().context(ExitReason::Configuration)?;
    config.database.options().context(ExitReason::Configuration)?;
    let shutdown = shutdown::on_signals(SHUTDOWN_TIMEOUT)?;
    let listener = listen(config.orders_http_addr, "--orders-http-addr").await?;
    tracing::info!("the order service listens on http://{}", listener.local_addr()?);
    orders::run(config, listener, shutdown).await
}

pub(crate) async fn couriers(config: couriers::Config) -> anyhow::Result<()> {
    config.own.database.options(&config.postgres).context(ExitReason::Configuration)?;
    let shutdown = shutdown::on_signals(SHUTDOWN_TIMEOUT)?;
    let listener = listen(config.own.couriers_http_addr, "--couriers-http-addr").await?;
    tracing::info!("the courier service listens on http://{}", listener.local_addr()?);
    couriers::run(config, listener, shutdown).await
}

/// Binds the address of a service; the error message names `flag`, which sets another address.
pub(crate) async fn listen(address: SocketAddr, flag: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .with_context(|| format!("listening on {address}; {flag} chooses another address"))
        .context(ExitReason::Configuration)
}
