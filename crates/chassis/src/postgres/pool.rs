//! PostgreSQL: where it is, a pool of connections, and whether a failure is the data's or the
//! weather's.

use std::{fmt, path::PathBuf, time::Duration};

use anyhow::{Context, bail};
use clap::Args;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{MetricType, gauge::ConstGauge},
    registry::Registry,
};
use sqlx::{
    ConnectOptions, Connection, PgPool, Postgres, Transaction,
    postgres::{PgConnectOptions, PgPoolOptions},
};

use super::errors::is_refusal;
use crate::process::{exit::ExitReason, retry::Backoff, secret};

/// How long a tool waits for PostgreSQL.
const PATIENCE: Duration = Duration::from_secs(10);

/// How to reach PostgreSQL when a service has no address of its own.
#[derive(Clone, Args)]
pub struct PostgresConfig {
    /// The database of every service that has none of its own.
    #[arg(long, env = "DATABASE_URL", value_name = "URL", hide_env_values = true)]
    database_url: Option<String>,
    /// A file that holds DATABASE_URL.
    #[arg(long, env = "DATABASE_URL_FILE", value_name = "FILE")]
    database_url_file: Option<PathBuf>,
    /// PostgreSQL's host, if there is no URL.
    #[arg(long, env = "POSTGRES_HOST", value_name = "HOST")]
    database_host: Option<String>,
    /// PostgreSQL's port.
    #[arg(long, env = "POSTGRES_PORT", value_name = "PORT", default_value_t = 5432)]
    database_port: u16,
    /// The user.
    #[arg(long, env = "POSTGRES_USER", value_name = "NAME")]
    database_user: Option<String>,
    /// The user's password.
    #[arg(long, env = "POSTGRES_PASSWORD", value_name = "SECRET", hide_env_values = true)]
    database_password: Option<String>,
    /// A file that holds the user's password.
    #[arg(long, env = "POSTGRES_PASSWORD_FILE", value_name = "FILE")]
    database_password_file: Option<PathBuf>,
    /// The database.
    #[arg(long, env = "POSTGRES_DB", value_name = "NAME")]
    database_name: Option<String>,
    /// The most connections of one service.
    #[arg(long, env = "POSTGRES_CONNECTIONS", default_value_t = 10, value_name = "N")]
    pub postgres_connections: u32,
}

impl std::fmt::Debug for PostgresConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PostgresConfig").finish_non_exhaustive()
    }
}

impl PostgresConfig {
    /// Has anybody said where PostgreSQL is?
    #[must_use]
    pub fn is_given(&self) -> bool {
        self.database_url.is_some()
            || self.database_url_file.is_some()
            || self.database_host.is_some()
    }

    /// The address: `own` if given, else `DATABASE_URL`, else the `POSTGRES_*` parts.
    pub fn options(&self, own: Option<&str>, own_name: &str) -> anyhow::Result<PgConnectOptions> {
        if let Some(url) = own {
            return url.parse().with_context(|| format!("{own_name} is not a PostgreSQL address"));
        }
        if let Some(url) = self.url()? {
            return url.parse().context("DATABASE_URL is not a PostgreSQL address");
        }
        let Some(host) = &self.database_host else {
            bail!("no database is given: set {own_name} (or DATABASE_URL, or POSTGRES_HOST)");
        };
        let mut options = PgConnectOptions::new().host(host).port(self.database_port);
        if let Some(user) = &self.database_user {
            options = options.username(user);
        }
        if let Some(password) = self.password()? {
            options = options.password(&password);
        }
        if let Some(database) = &self.database_name {
            options = options.database(database);
        }
        Ok(options)
    }

    fn url(&self) -> anyhow::Result<Option<String>> {
        let file = self.database_url_file.as_deref();
        secret::read("DATABASE_URL", self.database_url.as_deref(), file)
    }

    fn password(&self) -> anyhow::Result<Option<String>> {
        let file = self.database_password_file.as_deref();
        secret::read("POSTGRES_PASSWORD", self.database_password.as_deref(), file)
    }
}

/// Who a service is in its database.
#[derive(Clone)]
pub struct Login {
    /// The user's name.
    pub user: String,
    /// The user's password, if one is given.
    pub password: Option<String>,
    /// The database's name.
    pub database: String,
}

impl PostgresConfig {
    /// Whom [`options`](Self::options) logs in as.
    pub fn login(&self, own: Option<&str>, own_name: &str) -> anyhow::Result<Login> {
        let options = self.options(own, own_name)?;
        let url = match own {
            Some(own) => Some(own.to_owned()),
            None => self.url()?,
        };
        let password = match url {
            Some(url) => {
                let url = url::Url::parse(&url)
                    .with_context(|| format!("{own_name} is not a PostgreSQL address"))?;
                url.password().map(|text| {
                    percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned()
                })
            }
            None => self.password()?,
        };
        let user = options.get_username().to_owned();
        let database = options.get_database().unwrap_or(&user).to_owned();
        Ok(Login { user, password, database })
    }
}

/// A pool that connects when first asked: PostgreSQL need not be there yet. Names without a schema
/// are those of `schema`. A statement that runs longer than 30 s and a transaction that idles for
/// 10 s are ended by the server.
///
/// Every question of the services has its index. A planner that knows nothing yet of a table that
/// grows would read all of it instead, and keep to that plan; nor is any of them worth compiling.
#[must_use]
pub fn pool(
    options: PgConnectOptions,
    connections: u32,
    application: &str,
    schema: &str,
) -> PgPool {
    let options = options.application_name(application).options([
        ("search_path", schema),
        ("statement_timeout", "30s"),
        ("idle_in_transaction_session_timeout", "10s"),
        ("enable_seqscan", "off"),
        ("jit", "off"),
    ]);
    PgPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(Duration::from_secs(3))
        .idle_timeout(Duration::from_secs(300))
        .max_lifetime(Duration::from_secs(1_800))
        .test_before_acquire(false)
        .connect_lazy_with(options)
}

/// A transaction that changes nothing and sees one moment: several questions, one truth.
pub async fn snapshot(pool: &PgPool) -> Result<Transaction<'static, Postgres>, sqlx::Error> {
    pool.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await
}

/// Has `registry` tell how many connections the pool has, whenever that is asked for.
pub fn tell_connections(pool: PgPool, registry: &mut Registry) {
    registry.register_collector(Box::new(Connections(pool)));
}

#[derive(Debug)]
struct Connections(PgPool);

impl Collector for Connections {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let idle = u32::try_from(self.0.num_idle()).unwrap_or(u32::MAX);
        let used = self.0.size().saturating_sub(idle);
        let help = "Connections to PostgreSQL";
        let name = "db_client_connection_count";
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (state, count) in [("idle", idle), ("used", used)] {
            let labels = [("db_client_connection_state", state)];
            ConstGauge::new(count).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

/// For tools: waits until PostgreSQL lets us in, but for 10 seconds only. What it refuses for good
/// is not tried again.
pub async fn reach(options: &PgConnectOptions) -> anyhow::Result<()> {
    let mut last = None;
    let mut backoff = Backoff::default();
    let trying = async {
        loop {
            match options.connect().await {
                Ok(connection) => return connection.close().await,
                Err(error) if is_refusal(&error) => return Err(error),
                Err(error) => last = Some(error),
            }
            backoff.pause().await;
        }
    };
    match tokio::time::timeout(PATIENCE, trying).await {
        Ok(outcome) => {
            outcome.context("connecting to PostgreSQL").context(ExitReason::Configuration)
        }
        Err(_) => {
            let address = format!("{}:{}", options.get_host(), options.get_port());
            let last = last.map_or_else(|| anyhow::anyhow!("no answer"), anyhow::Error::new);
            Err(last.context(ExitReason::Unreachable(format!(
                "PostgreSQL at {address} was silent for 10 seconds; start it, or give another address"
            ))))
        }
    }
}
