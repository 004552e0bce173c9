//! The databases of the services, and statements of an administrator in them.

use std::{
    path::Path,
    sync::atomic::{AtomicU16, Ordering},
};

use anyhow::{Context, Result, bail};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use tokio::process::Command;

use super::Role;

/// The addresses of the databases, on a PostgreSQL of this machine.
#[derive(Debug)]
pub(crate) struct Database {
    port: AtomicU16,
}

impl Database {
    pub(crate) fn new(port: u16) -> Self {
        Self { port: AtomicU16::new(port) }
    }

    /// Sets the port after a failover.
    pub(crate) fn set_port(&self, port: u16) {
        self.port.store(port, Ordering::Relaxed);
    }

    fn port(&self) -> u16 {
        self.port.load(Ordering::Relaxed)
    }

    /// The address of a service's own user, at this port.
    pub(crate) fn service_url(&self, role: Role, port: u16) -> String {
        let name = role.name();
        format!("postgres://soak_{name}:secret@127.0.0.1:{port}/soak_{name}?sslmode=disable")
    }

    pub(crate) fn administrator_url(&self, role: Role) -> String {
        self.administrator_url_of(&format!("soak_{}", role.name()))
    }

    pub(crate) async fn connect(&self, role: Role) -> Result<PgConnection> {
        PgConnection::connect(&self.administrator_url(role))
            .await
            .context("connecting to PostgreSQL")
    }

    /// Runs statements without parameters.
    pub(crate) async fn run(&self, role: Role, statements: &str) -> Result<()> {
        let mut connection = self.connect(role).await?;
        sqlx::raw_sql(AssertSqlSafe(statements.to_owned()))
            .execute(&mut connection)
            .await
            .with_context(|| format!("running {statements}"))?;
        Ok(())
    }

    /// Returns numbers that change with every order that is queued, assigned or ended.
    pub(crate) async fn dispatch_state(&self) -> Result<(i64, i64, i64)> {
        let mut connection = self.connect(Role::Couriers).await?;
        let state = sqlx::query_as(
            "SELECT (SELECT count(*) FROM couriers.order_states WHERE waiting_since IS NOT NULL),
                    (SELECT count(*) FROM couriers.courier_orders),
                    (SELECT count(*) FROM couriers.couriers WHERE status = 'available')",
        )
        .fetch_one(&mut connection)
        .await
        .context("reading the state of dispatch")?;
        connection.close().await?;
        Ok(state)
    }

    /// Returns an order that waits for a courier.
    pub(crate) async fn waiting_order(&self) -> Result<Option<String>> {
        self.order(
            "SELECT order_id FROM couriers.order_states
             WHERE waiting_since IS NOT NULL LIMIT 1",
        )
        .await
    }

    /// Returns an order that a courier carries.
    pub(crate) async fn active_order(&self) -> Result<Option<String>> {
        self.order(
            "SELECT order_id FROM couriers.courier_orders
             WHERE completed_at IS NULL AND released_at IS NULL LIMIT 1",
        )
        .await
    }

    async fn order(&self, query: &'static str) -> Result<Option<String>> {
        let mut connection = self.connect(Role::Couriers).await?;
        let order = sqlx::query_scalar(query).fetch_optional(&mut connection).await?;
        connection.close().await?;
        Ok(order)
    }

    /// Moves some active deliveries into the past, so that they are overdue for longer than the grace.
    pub(crate) async fn make_deliveries_overdue(&self) -> Result<()> {
        self.run(
            Role::Couriers,
            "UPDATE couriers.courier_orders
             SET assigned_at = assigned_at - interval '3 hours',
                 deadline = assigned_at - interval '2 hours'
             WHERE order_id IN (
                 SELECT order_id FROM couriers.courier_orders
                 WHERE completed_at IS NULL AND released_at IS NULL
                 LIMIT 10 FOR UPDATE SKIP LOCKED)",
        )
        .await
    }

    /// Creates both databases with the program itself.
    pub(crate) async fn migrate(&self, program: &Path, folder: &Path) -> Result<()> {
        let output = Command::new(program)
            .arg("migrate")
            .env("ADMIN_DATABASE_URL", self.administrator_url_of("postgres"))
            .env("ORDERS_DATABASE_URL", self.service_url(Role::Orders, self.port()))
            .env("COURIERS_DATABASE_URL", self.service_url(Role::Couriers, self.port()))
            .current_dir(folder)
            .kill_on_drop(true)
            .output()
            .await
            .with_context(|| format!("starting {}", program.display()))?;
        if !output.status.success() {
            bail!("waybill migrate failed:\n{}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(())
    }

    fn administrator_url_of(&self, database: &str) -> String {
        format!("postgres://waybill_admin@127.0.0.1:{}/{database}?sslmode=disable", self.port())
    }
}
