//! Classes of PostgreSQL's errors: permanent, transient, or a refusal that an operator must
//! resolve. This module only classifies; [`transaction`](super::transaction) retries.

use std::{io, str::FromStr, time::Duration};

use sqlx::{
    Connection as _, PgConnection, PgPool,
    postgres::{PgConnectOptions, PgDatabaseError, PgSeverity},
};
use tokio::sync::Mutex;

use super::address::shown;
use crate::process::{certificate::distrust, exit::ExitReason, failpoint::Injected};

/// The advice for a command that needs a session of its own.
pub(super) const NEEDS_POSTGRESQL: &str = "a pooler such as PgBouncer is at this address; this \
                                           command needs the address of PostgreSQL itself";

/// The longest wait for the reason why no connection is free.
const REASON_TIMEOUT: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorClass {
    /// PostgreSQL refuses a value (SQLSTATE classes 22, 23, 54): a retry fails again.
    Permanent,
    /// A lost connection, a deadlock, a full disk, a read-only server, a timeout, or an unknown
    /// error: a retry may succeed.
    Transient,
}

impl From<Injected> for sqlx::Error {
    fn from(error: Injected) -> Self {
        Self::Io(io::Error::other(error))
    }
}

/// Classifies an error by its SQLSTATE.
#[must_use]
pub fn classify(error: &sqlx::Error) -> ErrorClass {
    match error {
        sqlx::Error::Database(database)
            if database
                .code()
                .is_some_and(|code| ["22", "23", "54"].contains(&&code[..2.min(code.len())])) =>
        {
            ErrorClass::Permanent
        }
        // An unknown error counts as transient: to wait and report is safe, and to reject a valid
        // record is not.
        _ => ErrorClass::Transient,
    }
}

/// Returns true if the connection can no longer be used: it is broken, or the server has ended its
/// session.
#[must_use]
pub fn is_connection_lost(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::Protocol(_) => true,
        sqlx::Error::Database(database) => database
            .try_downcast_ref::<PgDatabaseError>()
            .is_some_and(|error| matches!(error.severity(), PgSeverity::Fatal | PgSeverity::Panic)),
        _ => false,
    }
}

/// Returns the error for a server that does not answer within the limit of time.
pub fn no_answer(options: &PgConnectOptions) -> sqlx::Error {
    let text = format!("PostgreSQL at {} did not answer within the time limit", shown(options));
    sqlx::Error::Io(io::Error::new(io::ErrorKind::TimedOut, text))
}

/// Returns true for the error of [`no_answer`], also if it was wrapped because the outcome of a commit
/// is unknown.
pub(super) fn is_timeout(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::Io(error) if error.kind() == io::ErrorKind::TimedOut)
}

/// Returns the error for a pool whose connections are all in use.
pub(super) fn all_in_use(pool: &PgPool) -> sqlx::Error {
    let (count, address) = (pool.size(), shown(&pool.connect_options()));
    let text = format!("all {count} connections to PostgreSQL at {address} are in use");
    sqlx::Error::Io(io::Error::new(io::ErrorKind::WouldBlock, text))
}

/// Returns true if other requests use all connections of the pool.
#[must_use]
pub fn is_all_in_use(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::Io(error) if error.kind() == io::ErrorKind::WouldBlock)
}

/// Returns the error if no connection of the pool was free within the limit of time. The pool does
/// not say why, so one connection is tried to learn the reason.
pub(super) async fn no_connection(pool: &PgPool) -> sqlx::Error {
    /// One attempt at a time: a server that has too many connections already gets one more only.
    static ATTEMPT: Mutex<()> = Mutex::const_new(());
    let options = pool.connect_options();
    let Ok(_alone) = ATTEMPT.try_lock() else { return no_answer(&options) };
    let attempt = async { PgConnection::connect_with(&options).await?.close().await };
    let reason = match tokio::time::timeout(REASON_TIMEOUT, attempt).await {
        Ok(Ok(())) => format!("all {} are in use", pool.size()),
        Ok(Err(error)) => return cannot_connect(&options, error),
        Err(_) => return no_answer(&options),
    };
    let text = format!("no connection to PostgreSQL at {}: {reason}", shown(&options));
    sqlx::Error::Io(io::Error::new(io::ErrorKind::TimedOut, text))
}

/// Returns the error with the address of the server; a [refusal](is_refusal) as it is.
pub(super) fn cannot_connect(options: &PgConnectOptions, error: sqlx::Error) -> sqlx::Error {
    if is_refusal(&error) || is_refused_parameter(&error) {
        return error;
    }
    // Without the words that sqlx puts before it, which come again before this text.
    let reason = match error {
        sqlx::Error::Io(error) => error.to_string(),
        error => error.to_string(),
    };
    let text = format!("no connection to PostgreSQL at {}: {reason}", shown(options));
    sqlx::Error::Io(io::Error::new(io::ErrorKind::NotConnected, text))
}

/// Returns true if a server or a pooler refuses a parameter of the start of a connection.
#[must_use]
pub fn is_refused_parameter(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(|error| {
        error.code().is_some_and(|code| code == "08P01") && error.message().contains("parameter")
    })
}

/// The connection was lost, or the server did not answer, after the commit was sent: the
/// transaction may be committed or not.
#[derive(Debug, thiserror::Error)]
#[error("PostgreSQL did not confirm a commit: {0}")]
struct OutcomeUnknown(String);

/// Returns the error for a commit that failed with `error`.
pub(super) fn outcome_unknown(error: &sqlx::Error) -> sqlx::Error {
    let kind = match error {
        sqlx::Error::Io(error) => error.kind(),
        _ => io::ErrorKind::Other,
    };
    sqlx::Error::Io(io::Error::new(kind, OutcomeUnknown(error.to_string())))
}

/// Returns true if a transaction failed and may be committed nevertheless.
#[must_use]
pub fn is_outcome_unknown(error: &sqlx::Error) -> bool {
    let sqlx::Error::Io(error) = error else { return false };
    error.get_ref().is_some_and(|cause| cause.is::<OutcomeUnknown>())
}

/// Returns the error for a stored value that the service never writes. `column` is
/// `schema.table.column`.
pub fn bad_column(column: &str, source: impl Into<sqlx::error::BoxDynError>) -> sqlx::Error {
    sqlx::Error::ColumnDecode { index: column.to_owned(), source: source.into() }
}

/// Parses a stored text, which the service has written in this form. `column` is
/// `schema.table.column`.
pub fn parse_column<T>(text: &str, column: &str) -> Result<T, sqlx::Error>
where
    T: FromStr<Err: Into<sqlx::error::BoxDynError>>,
{
    text.parse().map_err(|error| bad_column(column, error))
}

/// Returns true if PostgreSQL refuses the service because of wrong credentials, a missing database
/// or missing permissions, or if its certificate is not trusted. Waiting does not help then.
#[must_use]
pub fn is_refusal(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Database(database) => database
            .code()
            .is_some_and(|code| code.starts_with("28") || code == "3D000" || code == "42501"),
        // The server offers no TLS, or a file of certificates cannot be used.
        sqlx::Error::Tls(_) => true,
        error => distrust(error).is_some(),
    }
}

/// Marks a [refusal](is_refusal) as bad configuration: the process ends with exit code 78 instead
/// of waiting.
#[must_use]
pub fn mark_refusal(error: anyhow::Error) -> anyhow::Error {
    let Some(cause) = error.downcast_ref::<sqlx::Error>().filter(|error| is_refusal(error)) else {
        return error;
    };
    let advice = match (cause, distrust(cause)) {
        (_, Some(reason)) => format!(
            "the certificate of PostgreSQL is not trusted ({reason}): check the host and sslrootcert \
             in its address"
        ),
        (sqlx::Error::Tls(_), None) => {
            "PostgreSQL cannot be used with TLS: check sslmode and the files in its address"
                .to_owned()
        }
        _ => "PostgreSQL refuses the service: check its user, password and database; `waybill \
              migrate` grants its permissions"
            .to_owned(),
    };
    error.context(advice).context(ExitReason::Configuration)
}
