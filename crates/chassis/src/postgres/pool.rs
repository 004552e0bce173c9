//! Connections to PostgreSQL: the options for the address of a service's database, and its pool.

use std::{fmt, path::PathBuf, time::Duration};

use anyhow::{Context, bail, ensure};
use clap::{
    Args,
    builder::{NonEmptyStringValueParser, PossibleValuesParser},
};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{MetricType, gauge::ConstGauge},
    registry::Registry,
};
use sqlx::{
    ConnectOptions, Connection, PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};

use super::{
    address::{Address, SSL_MODES, shown},
    errors::{NEEDS_POSTGRESQL, is_refusal, is_refused_parameter},
    session,
};
use crate::process::{exit::ExitReason, number::within, retry::Backoff, secret};

/// Bounds the time for which a tool waits for PostgreSQL.
const REACH_TIMEOUT: Duration = Duration::from_secs(10);

/// The address of PostgreSQL for each service that has no address of its own, and the size of the
/// pools. In the help, the addresses of the services come first.
#[derive(Clone, Args)]
#[command(next_help_heading = "PostgreSQL", next_display_order = 10)]
pub struct PostgresConfig {
    /// PostgreSQL address for each service without an address of its own.
    ///
    /// It has the form `postgres://user:password@host:port/database`. Parts that are missing come
    /// from PGUSER, PGPASSWORD, PGSSLMODE and the other variables that psql reads. To require TLS,
    /// append `?sslmode=verify-full`, and `&sslrootcert=FILE` for a private certificate authority;
    /// otherwise TLS is used if the server offers it, and the server's certificate is not verified.
    /// Unknown parameters, and those that would protect the connection and are not supported, are
    /// errors.
    #[arg(
        long,
        env = "DATABASE_URL",
        value_name = "URL",
        value_parser = NonEmptyStringValueParser::new(),
        hide_env_values = true
    )]
    database_url: Option<String>,
    /// File that contains DATABASE_URL; overrides the variable.
    #[arg(long, env = "DATABASE_URL_FILE", value_name = "FILE", hide_short_help = true)]
    database_url_file: Option<PathBuf>,
    /// Host of PostgreSQL, if no URL is given.
    ///
    /// This option and the next ones give the address in parts, instead of DATABASE_URL. Only the
    /// host is required.
    #[arg(
        long,
        env = "POSTGRES_HOST",
        value_name = "HOST",
        value_parser = NonEmptyStringValueParser::new(),
        hide_short_help = true
    )]
    database_host: Option<String>,
    /// Port of PostgreSQL, from 1 to 65535.
    #[arg(
        long,
        env = "POSTGRES_PORT",
        value_name = "PORT",
        value_parser = within::<u16>(1..=65_535),
        default_value_t = 5432,
        hide_short_help = true
    )]
    database_port: u16,
    /// User name in PostgreSQL.
    #[arg(
        long,
        env = "POSTGRES_USER",
        value_name = "NAME",
        value_parser = NonEmptyStringValueParser::new(),
        hide_short_help = true
    )]
    database_user: Option<String>,
    /// Password of the user.
    #[arg(
        long,
        env = "POSTGRES_PASSWORD",
        value_name = "SECRET",
        hide_env_values = true,
        hide_short_help = true
    )]
    database_password: Option<String>,
    /// File that contains the password; overrides POSTGRES_PASSWORD.
    #[arg(long, env = "POSTGRES_PASSWORD_FILE", value_name = "FILE", hide_short_help = true)]
    database_password_file: Option<PathBuf>,
    /// Name of the database.
    #[arg(
        long,
        env = "POSTGRES_DB",
        value_name = "NAME",
        value_parser = NonEmptyStringValueParser::new(),
        hide_short_help = true
    )]
    database_name: Option<String>,
    /// Protection of the connection: disable, allow, prefer, require, verify-ca or verify-full.
    ///
    /// The default is PGSSLMODE, or else prefer. Only verify-full verifies the server's certificate
    /// and its name; PGSSLROOTCERT names the file of a private certificate authority. A URL has the
    /// parameter sslmode instead.
    #[arg(
        long,
        env = "POSTGRES_SSLMODE",
        value_name = "MODE",
        value_parser = PossibleValuesParser::new(SSL_MODES),
        ignore_case = true,
        hide_possible_values = true,
        hide_short_help = true
    )]
    database_sslmode: Option<String>,
    /// Maximum number of connections to PostgreSQL, for each service, from 1 to 10000.
    ///
    /// A third of them, at least one, is only for HTTP requests, and the others are for lanes: use
    /// several more connections than lanes. If it is 1, all share the one connection. All replicas
    /// together must stay below `max_connections` of the server.
    #[arg(
        long,
        env = "POSTGRES_CONNECTIONS",
        default_value_t = 10,
        value_name = "N",
        value_parser = within::<u32>(1..=10_000),
        hide_short_help = true
    )]
    pub postgres_connections: u32,
}

impl std::fmt::Debug for PostgresConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PostgresConfig").finish_non_exhaustive()
    }
}

impl PostgresConfig {
    /// Returns true if the user gave an address of PostgreSQL.
    #[must_use]
    pub fn is_given(&self) -> bool {
        self.database_url.is_some()
            || self.database_url_file.is_some()
            || self.database_host.is_some()
    }

    /// Returns the address: `own` if given, else `DATABASE_URL`, else the `POSTGRES_*` parts.
    pub fn address(&self, own: Option<&str>, own_name: &str) -> anyhow::Result<Address> {
        if let Some(url) = own {
            return self.of_url(own_name, url);
        }
        if let Some(url) = self.url()? {
            return self.of_url("DATABASE_URL", &url);
        }
        let Some(host) = self.database_host.as_deref() else {
            bail!("no PostgreSQL address is given; set {own_name}, DATABASE_URL or POSTGRES_HOST");
        };
        let (port, password) = (self.database_port.to_string(), self.password()?);
        Address::of_parts(&[
            ("host", "POSTGRES_HOST", Some(host)),
            ("port", "POSTGRES_PORT", Some(&port)),
            ("user", "POSTGRES_USER", self.database_user.as_deref()),
            ("password", "POSTGRES_PASSWORD", password.as_deref()),
            ("dbname", "POSTGRES_DB", self.database_name.as_deref()),
            ("sslmode", "POSTGRES_SSLMODE", self.database_sslmode.as_deref()),
        ])
    }

    fn of_url(&self, name: &str, url: &str) -> anyhow::Result<Address> {
        let address = Address::parse(name, url)?;
        ensure!(
            address.has_sslmode() || self.database_sslmode.is_none(),
            "POSTGRES_SSLMODE has no effect on the address in {name}; append ?sslmode=… to it, or \
             remove POSTGRES_SSLMODE"
        );
        Ok(address)
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

/// The connections of a service. Requests have their own, so that neither requests nor the work on
/// records can take the connections of the other.
#[derive(Debug, Clone)]
pub struct Pools {
    /// For HTTP requests.
    pub requests: PgPool,
    /// For everything else: batches, dispatch, the warm-up.
    pub work: PgPool,
}

/// Opens the pools of a service, whose tables are in the schema of the same name. They connect when
/// the first query is run, so PostgreSQL may still be unreachable. The server ends a statement after
/// 30 s, and a transaction that is idle for 10 s.
///
/// If this process or its machine disappears, or if it gives up on a statement and closes the
/// connection, the server notices that within seconds, or a minute without a network, and ends the
/// session and its locks. In the other direction, sqlx cannot set TCP keepalives: the limits of
/// [`read`](super::read) and [`transaction`](super::transaction) detect a server that does not
/// answer.
///
/// Each query of the services has its index. Sequential scans are off because the planner would
/// choose them for a table that is still small, and would keep to that plan while the table grows.
/// No query is long enough to be worth compiling.
#[must_use]
pub fn open(
    options: PgConnectOptions,
    connections: u32,
    service: &str,
    registry: &mut Registry,
) -> Pools {
    let options = session::direct(options, service);
    let pool = |connections: u32| {
        PgPoolOptions::new()
            .max_connections(connections)
            .acquire_timeout(Duration::from_secs(3))
            .idle_timeout(Duration::from_secs(300))
            .max_lifetime(Duration::from_secs(1_800))
            .test_before_acquire(false)
            .connect_lazy_with(options.clone())
    };
    let pools = match connections {
        // The only connection cannot be divided.
        1 => {
            let shared = pool(1);
            Pools { requests: shared.clone(), work: shared }
        }
        _ => {
            let for_requests = for_requests(connections);
            Pools { requests: pool(for_requests), work: pool(connections - for_requests) }
        }
    };
    registry.register_collector(Box::new(Connections(pools.clone())));
    pools
}

/// Returns the number of connections for requests, of this number in all.
pub(crate) fn for_requests(connections: u32) -> u32 {
    (connections / 3).max(1)
}

/// Counts the connections of both pools whenever the metrics are read.
#[derive(Debug)]
struct Connections(Pools);

impl Collector for Connections {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Connections to PostgreSQL";
        let name = "db_client_connection_count";
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (pool_name, pool) in [("requests", &self.0.requests), ("work", &self.0.work)] {
            let idle = u32::try_from(pool.num_idle()).unwrap_or(u32::MAX);
            let used = pool.size().saturating_sub(idle);
            for (state, count) in [("idle", idle), ("used", used)] {
                let labels = [
                    ("db_client_connection_pool_name", pool_name),
                    ("db_client_connection_state", state),
                ];
                ConstGauge::new(count).encode(family.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }
}

/// For tools: waits until PostgreSQL accepts a connection, for [`REACH_TIMEOUT`] at most. A permanent
/// error, such as a wrong password, ends the wait at once.
pub async fn reach(options: &PgConnectOptions) -> anyhow::Result<()> {
    let mut last = None;
    let mut backoff = Backoff::default();
    let trying = async {
        loop {
            match options.connect().await {
                Ok(connection) => return connection.close().await,
                Err(error) if is_refusal(&error) || is_refused_parameter(&error) => {
                    return Err(error);
                }
                Err(error) => last = Some(error),
            }
            backoff.pause().await;
        }
    };
    match tokio::time::timeout(REACH_TIMEOUT, trying).await {
        Ok(Err(error)) if is_refused_parameter(&error) => Err(anyhow::Error::new(error)
            .context(NEEDS_POSTGRESQL)
            .context(ExitReason::Configuration)),
        Ok(outcome) => {
            outcome.context("connecting to PostgreSQL").context(ExitReason::Configuration)
        }
        Err(_) => {
            let address = shown(options);
            let last = last.map_or_else(|| anyhow::anyhow!("no answer"), anyhow::Error::new);
            Err(last.context(ExitReason::Unreachable(format!(
                "PostgreSQL at {address} did not answer for 10 seconds; start it, or set another address"
            ))))
        }
    }
}
