//! `waybill migrate`: creates databases, users and tables, for each service whose database is
//! given.

use std::path::PathBuf;

use anyhow::Context;
use chassis::{
    postgres::pool::{PostgresConfig, reach},
    process::{exit::ExitReason, secret},
};
use clap::Args;
use sqlx::postgres::PgConnectOptions;

/// Each service whose database is given. Without an administrator's address only the tables are
/// made or brought up to date, by the service's own user. With one, its database, the owning role,
/// the user and the grants come first.
#[derive(Args)]
pub(crate) struct MigrateArgs {
    #[command(flatten)]
    orders: orders::DatabaseConfig,
    #[command(flatten)]
    couriers: couriers::DatabaseConfig,
    #[command(flatten)]
    administrator: Administrator,
}

#[derive(Args)]
pub(crate) struct Administrator {
    /// An administrator's database, for making databases and users.
    #[arg(long, env = "ADMIN_DATABASE_URL", value_name = "URL", hide_env_values = true)]
    admin_database_url: Option<String>,
    /// A file that holds ADMIN_DATABASE_URL.
    #[arg(long, env = "ADMIN_DATABASE_URL_FILE", value_name = "FILE")]
    admin_database_url_file: Option<PathBuf>,
}

impl Administrator {
    pub(crate) fn options(&self) -> anyhow::Result<Option<PgConnectOptions>> {
        let file = self.admin_database_url_file.as_deref();
        let url = secret::read("ADMIN_DATABASE_URL", self.admin_database_url.as_deref(), file)?;
        url.map(|url| url.parse().context("ADMIN_DATABASE_URL is not a PostgreSQL address"))
            .transpose()
    }
}

/// Migrates each service whose database is given. If none is, the error is about the order
/// service's.
pub(crate) async fn run(args: MigrateArgs) -> anyhow::Result<()> {
    let MigrateArgs { orders, couriers, administrator } = args;
    let administrator = administrator.options().context(ExitReason::Configuration)?;
    let with_couriers = couriers.is_given(&orders.postgres);
    if orders.is_given() || !with_couriers {
        migrate_orders(&orders, administrator.as_ref()).await?;
        tracing::info!("the order service's database is ready");
    }
    if with_couriers {
        migrate_couriers(&couriers, &orders.postgres, administrator.as_ref()).await?;
        tracing::info!("the courier service's database is ready");
    }
    Ok(())
}

pub(crate) async fn migrate_orders(
    database: &orders::DatabaseConfig,
    administrator: Option<&PgConnectOptions>,
) -> anyhow::Result<()> {
    let service = database.options().context(ExitReason::Configuration)?;
    reach(administrator.unwrap_or(&service)).await?;
    orders::migrate(database, administrator).await
}

pub(crate) async fn migrate_couriers(
    database: &couriers::DatabaseConfig,
    postgres: &PostgresConfig,
    administrator: Option<&PgConnectOptions>,
) -> anyhow::Result<()> {
    let service = database.options(postgres).context(ExitReason::Configuration)?;
    reach(administrator.unwrap_or(&service)).await?;
    couriers::migrate(database, postgres, administrator).await
}
