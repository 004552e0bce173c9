//! The settings of the sessions of a service. Usually a session has them from its start. Behind a
//! pooler in transaction mode, such as PgBouncer, each transaction may run in another session and the
//! pooler refuses or ignores the settings of a start; there each transaction sets them for itself.

use sqlx::{
    AssertSqlSafe, Connection as _, PgConnection, PgPool, Row as _, Transaction,
    postgres::{PgConnectOptions, PgRow},
};

use super::errors::NEEDS_POSTGRESQL;
use crate::process::exit::ExitReason;

/// Settings of the connection itself, which a pooler does not pass on.
const CONNECTION: [(&str, &str); 5] = [
    ("client_connection_check_interval", "2s"),
    ("tcp_keepalives_idle", "30"),
    ("tcp_keepalives_interval", "10"),
    ("tcp_keepalives_count", "3"),
    ("tcp_user_timeout", "60s"),
];
const STATEMENTS: [(&str, &str); 4] = [
    ("statement_timeout", "30s"),
    ("idle_in_transaction_session_timeout", "10s"),
    ("enable_seqscan", "off"),
    ("jit", "off"),
];

/// The ends of the application names of connections through a pooler. The pool has no other field
/// for this, and so the statistics of PostgreSQL show it as well.
const POOLED: &str = " (pooled)";
/// The pooler does not know prepared statements: each session may have those of another client.
const POOLED_WITHOUT_STATEMENTS: &str = " (pooled, without prepared statements)";

/// The support of a pooler for prepared statements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PreparedStatements {
    /// The pooler prepares them where they are used.
    Supported,
    Unknown,
}

/// Returns the options of a session that has its settings from its start.
pub(super) fn direct(options: PgConnectOptions, service: &str) -> PgConnectOptions {
    options
        .application_name(&format!("waybill {service}"))
        .options([("search_path", service)])
        .options(CONNECTION)
        .options(STATEMENTS)
}

/// Returns the options of a connection through a pooler.
pub(super) fn pooled(
    options: PgConnectOptions,
    service: &str,
    statements: PreparedStatements,
) -> PgConnectOptions {
    let options = plain(options);
    match statements {
        PreparedStatements::Supported => {
            options.application_name(&format!("waybill {service}{POOLED}"))
        }
        PreparedStatements::Unknown => options
            .application_name(&format!("waybill {service}{POOLED_WITHOUT_STATEMENTS}"))
            .statement_cache_capacity(0),
    }
}

/// Returns the options of a connection that every server and every pooler accepts.
pub(super) fn plain(options: PgConnectOptions) -> PgConnectOptions {
    options.extra_float_digits(None)
}

/// Returns true if the connections of the pool go through a pooler.
pub(super) fn is_pooled(pool: &PgPool) -> bool {
    transaction_settings(pool).is_some()
}

/// Returns the statements that each transaction begins with if the connections of the pool go
/// through a pooler.
fn transaction_settings(pool: &PgPool) -> Option<String> {
    let options = pool.connect_options();
    let name = options.get_application_name()?.strip_prefix("waybill ")?;
    let (service, statements) = match name.strip_suffix(POOLED_WITHOUT_STATEMENTS) {
        // Otherwise the names of the statements of this client could exist already.
        Some(service) => (service, "; DEALLOCATE ALL"),
        None => (name.strip_suffix(POOLED)?, ""),
    };
    let settings = STATEMENTS.iter().map(|(name, value)| format!("; SET LOCAL {name} = '{value}'"));
    let settings: String = settings.collect();
    Some(format!("{statements}; SET LOCAL search_path = {service}{settings}"))
}

/// Begins a transaction with `begin`; behind a pooler, with the settings in the same message.
pub(super) async fn begin<'a>(
    pool: &PgPool,
    connection: &'a mut PgConnection,
    begin: &'static str,
) -> Result<Transaction<'a, sqlx::Postgres>, sqlx::Error> {
    match transaction_settings(pool) {
        None => connection.begin_with(begin).await,
        // The settings contain only names and values from this file, and the service's name.
        Some(settings) => connection.begin_with(AssertSqlSafe(format!("{begin}{settings}"))).await,
    }
}

/// Begins a transaction if the connections go through a pooler, for one statement whose rows are
/// read on `connection` itself; [`end_pooled`] ends it.
pub async fn begin_pooled(pool: &PgPool, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    if let Some(settings) = transaction_settings(pool) {
        sqlx::raw_sql(AssertSqlSafe(format!("BEGIN{settings}"))).execute(connection).await?;
    }
    Ok(())
}

/// Ends the transaction of [`begin_pooled`].
pub async fn end_pooled(pool: &PgPool, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    if is_pooled(pool) {
        sqlx::raw_sql("COMMIT").execute(connection).await?;
    }
    Ok(())
}

/// Returns an error if the session does not have the `search_path` that its connection was opened
/// with: then a pooler has ignored the setting.
pub async fn check_not_pooled(
    connection: &mut PgConnection,
    search_path: &str,
) -> anyhow::Result<()> {
    anyhow::ensure!(
        has_search_path(connection, search_path).await?,
        anyhow::Error::msg(NEEDS_POSTGRESQL).context(ExitReason::Configuration)
    );
    Ok(())
}

/// Returns true if the session has this `search_path`.
pub(super) async fn has_search_path(
    connection: &mut PgConnection,
    search_path: &str,
) -> Result<bool, sqlx::Error> {
    let row = query(connection, "SELECT current_setting('search_path')").await?;
    Ok(row.try_get::<String, _>(0)? == search_path)
}

/// Runs a query without a prepared statement, which a pooler may not know.
pub(super) async fn query(
    connection: &mut PgConnection,
    statement: &'static str,
) -> Result<PgRow, sqlx::Error> {
    use sqlx::Executor as _;
    connection.fetch_one(sqlx::raw_sql(statement)).await
}
