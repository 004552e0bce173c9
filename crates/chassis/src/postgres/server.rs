//! The checks of PostgreSQL when a service starts: its version, the encoding of the database, and
//! whether a pooler is in between.

use std::time::Duration;

use anyhow::{Context, ensure};
use sqlx::{Connection as _, PgConnection, PgPool, Row as _, postgres::PgConnectOptions};
use tokio::time::Instant;

use super::{
    address::{Address, shown},
    errors::{cannot_connect, is_refused_parameter, mark_refusal, no_answer},
    lease::close_idle,
    read::LIST,
    session::{self, PreparedStatements},
};
use crate::process::exit::ExitReason;

/// The oldest version of PostgreSQL that Waybill is tested with.
const OLDEST_VERSION: i32 = 15;
/// SQLSTATE `duplicate_prepared_statement`.
const DUPLICATE_STATEMENT: &str = "42P05";
/// The longest wait for connections from before the check to be returned.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// Checks the server, once. An error with an [`ExitReason`] is bad configuration; after any other
/// error, the check may be repeated. If a pooler is found, the pool uses it from then on.
pub async fn check(pool: &PgPool, address: &Address, service: &str) -> anyhow::Result<()> {
    let checking = async {
        let options = session::plain(address.options()).application_name("waybill");
        let mut connection = connect(&options).await?;
        check_database(&mut connection, &options).await?;
        connection.close().await?;
        if !session::is_pooled(pool) && !accepts_settings(pool, service).await? {
            use_pooler(pool, address, service).await?;
        }
        Ok(())
    };
    let checked = tokio::time::timeout(LIST, checking).await;
    checked.unwrap_or_else(|_| Err(no_answer(&pool.connect_options()).into())).map_err(mark_refusal)
}

async fn connect(options: &PgConnectOptions) -> anyhow::Result<PgConnection> {
    PgConnection::connect_with(options).await.map_err(|error| {
        if is_refused_parameter(&error) {
            let text = "a pooler such as PgBouncer refuses a parameter of the connection: remove \
                        PGOPTIONS, and the parameter options of the address";
            anyhow::Error::new(error).context(text).context(ExitReason::Configuration)
        } else {
            cannot_connect(options, error).into()
        }
    })
}

/// Checks what every query depends on.
async fn check_database(
    connection: &mut PgConnection,
    options: &PgConnectOptions,
) -> anyhow::Result<()> {
    let statement = "SELECT current_setting('server_version_num'), \
                     current_setting('server_encoding'), current_database()";
    let row = session::query(connection, statement).await?;
    let text = |index: usize| row.try_get::<String, _>(index);
    let (version, encoding, database) = (text(0)?, text(1)?, text(2)?);
    let address = shown(options);
    let version = version.parse::<i32>().context("reading the version of PostgreSQL")? / 10_000;
    let check = || {
        ensure!(
            version >= OLDEST_VERSION,
            "PostgreSQL at {address} has version {version}; Waybill needs {OLDEST_VERSION} or newer"
        );
        ensure!(
            encoding == "UTF8",
            "the database {database} at {address} has the encoding {encoding}; Waybill needs UTF8: \
             create it with `CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0`"
        );
        Ok(())
    };
    check().context(ExitReason::Configuration)
}

/// Returns whether a session gets the settings of its start.
async fn accepts_settings(pool: &PgPool, service: &str) -> anyhow::Result<bool> {
    match PgConnection::connect_with(&pool.connect_options()).await {
        Ok(mut connection) => {
            let accepted = session::has_search_path(&mut connection, service).await?;
            connection.close().await?;
            Ok(accepted)
        }
        Err(error) if is_refused_parameter(&error) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Makes the pool set the settings in each transaction.
async fn use_pooler(pool: &PgPool, address: &Address, service: &str) -> anyhow::Result<()> {
    let options = session::plain(address.options()).application_name("waybill");
    let mut connection = connect(&options).await?;
    let statements = prepared_statements(&mut connection).await?;
    connection.close().await?;
    pool.set_connect_options(session::pooled(address.options(), service, statements));
    tracing::info!(
        "a pooler is at {}: each transaction sets its own settings, which takes a little longer",
        shown(&options)
    );
    // A connection from before may have prepared statements in a session that now belongs to another
    // client. Nothing waits for this: such a connection only gets an error, and is closed then.
    let deadline = Instant::now() + CLOSE_TIMEOUT;
    while pool.size() > 0 && Instant::now() < deadline {
        close_idle(pool);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}

/// Returns whether the pooler gives prepared statements names of its own, and so prepares them in
/// each session in which they are used.
async fn prepared_statements(connection: &mut PgConnection) -> anyhow::Result<PreparedStatements> {
    // The transaction keeps the session until the names of its statements are known.
    let mut transaction = connection.begin().await?;
    if let Err(error) = sqlx::query("SELECT 1").execute(&mut *transaction).await {
        // Another client has left a statement with the same name.
        let code = error.as_database_error().and_then(|error| error.code());
        ensure!(code.is_some_and(|code| code == DUPLICATE_STATEMENT), error);
        return Ok(PreparedStatements::Unknown);
    }
    let statement =
        "SELECT count(*) FILTER (WHERE name LIKE 'sqlx%')::text FROM pg_prepared_statements";
    let row = session::query(&mut transaction, statement).await?;
    let own: String = row.try_get(0)?;
    transaction.rollback().await?;
    Ok(if own == "0" { PreparedStatements::Supported } else { PreparedStatements::Unknown })
}
