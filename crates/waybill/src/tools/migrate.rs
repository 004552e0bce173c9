//! `waybill migrate`: creates the tables of each service whose database is given, or brings them up to
//! date; with an administrator's address, creates the database and its users first.

use std::path::PathBuf;

use anyhow::Context;
use chassis::{
    postgres::{
        address::Address,
        pool::{PostgresConfig, reach},
    },
    process::{exit::ExitReason, secret},
};
use clap::{Args, builder::NonEmptyStringValueParser};
use sqlx::postgres::PgConnectOptions;

use crate::usage::{SEE_LONG_HELP, hide};

const EXAMPLES: &str = "\
Examples:
  ADMIN_DATABASE_URL=postgres://admin:…@db/postgres \\
    ORDERS_DATABASE_URL=postgres://waybill_orders:…@db/waybill_orders \\
    COURIERS_DATABASE_URL=postgres://waybill_couriers:…@db/waybill_couriers \\
    waybill migrate
      create both databases, their users and their tables
  ORDERS_DATABASE_URL=postgres://waybill_orders:…@db/waybill_orders \\
    waybill migrate
      bring the tables of the order service up to date, as its own user
  waybill migrate --orders-database-url-file /run/secrets/orders \\
    --admin-database-url-file /run/secrets/admin
      with addresses from files

Exit codes: 0 the tables are up to date, 2 wrong command line, 69 PostgreSQL
did not answer for 10 seconds, 78 wrong configuration, credentials or
permissions, 1 any other failure.";

/// Create the databases, users and tables, or bring them up to date.
///
/// The command migrates each service whose database address is given. Without an administrator's
/// address it only creates or changes the tables, as the service's own user. With one, it first
/// creates what is missing: the database, the role that owns the tables, the service's user with the
/// password of its address, and the permissions.
///
/// Run it once for each new version, before the services of that version start; those of the previous
/// version may be running. Running it again changes nothing.
#[derive(Args)]
#[command(
    after_help = SEE_LONG_HELP,
    after_long_help = EXAMPLES,
    mut_args(|option| hide(option, &["postgres_connections"]))
)]
pub(crate) struct MigrateArgs {
    #[command(flatten)]
    orders: orders::DatabaseConfig,
    #[command(flatten)]
    couriers: couriers::DatabaseConfig,
    #[command(flatten)]
    administrator: Administrator,
}

#[derive(Args)]
#[command(next_help_heading = "PostgreSQL")]
pub(crate) struct Administrator {
    /// PostgreSQL address of an administrator, who may create databases and users.
    ///
    /// With it, `migrate` and `up` create a service's database, its users and their permissions, if
    /// they are missing. The services themselves never need it.
    #[arg(
        long,
        env = "ADMIN_DATABASE_URL",
        value_name = "URL",
        value_parser = NonEmptyStringValueParser::new(),
        hide_env_values = true
    )]
    admin_database_url: Option<String>,
    /// File that contains ADMIN_DATABASE_URL; overrides the variable.
    #[arg(long, env = "ADMIN_DATABASE_URL_FILE", value_name = "FILE", hide_short_help = true)]
    admin_database_url_file: Option<PathBuf>,
}

impl Administrator {
    pub(crate) fn address(&self) -> anyhow::Result<Option<Address>> {
        let file = self.admin_database_url_file.as_deref();
        let url = secret::read("ADMIN_DATABASE_URL", self.admin_database_url.as_deref(), file)?;
        url.map(|url| Address::parse("ADMIN_DATABASE_URL", &url)).transpose()
    }
}

/// Migrates each service whose database is given. If none is given, the error names the order
/// service's variables.
pub(crate) async fn run(args: MigrateArgs) -> anyhow::Result<()> {
    let MigrateArgs { orders, couriers, administrator } = args;
    let administrator = administrator.address().context(ExitReason::Configuration)?;
    if let Some(administrator) = &administrator {
        administrator.warn();
    }
    let administrator = administrator.map(|address| address.options());
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
    let service = database.address().context(ExitReason::Configuration)?.options();
    reach(administrator.unwrap_or(&service)).await?;
    orders::migrate(database, administrator).await
}

pub(crate) async fn migrate_couriers(
    database: &couriers::DatabaseConfig,
    postgres: &PostgresConfig,
    administrator: Option<&PgConnectOptions>,
) -> anyhow::Result<()> {
    let service = database.address(postgres).context(ExitReason::Configuration)?.options();
    reach(administrator.unwrap_or(&service)).await?;
    couriers::migrate(database, postgres, administrator).await
}
