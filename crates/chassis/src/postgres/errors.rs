//! Classes of PostgreSQL's errors: permanent, transient, or a refusal that an operator must
//! resolve. This module only classifies; [`transaction`](super::transaction) retries.

use crate::process::exit::ExitReason;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorClass {
    /// PostgreSQL refuses a value (SQLSTATE classes 22, 23, 54): a retry fails again.
    Permanent,
    /// A lost connection, a deadlock, a full disk, a read-only server, a timeout, or an unknown
    /// error: a retry may succeed.
    Transient,
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

/// Returns the error for a stored value that the service never writes. `column` is
/// `schema.table.column`.
pub fn bad_column(column: &str, source: impl Into<sqlx::error::BoxDynError>) -> sqlx::Error {
    sqlx::Error::ColumnDecode { index: column.to_owned(), source: source.into() }
}

/// Returns true if PostgreSQL refuses the service because of wrong credentials, a missing database
/// or missing permissions. Waiting does not help then.
#[must_use]
pub fn is_refusal(error: &sqlx::Error) -> bool {
    let sqlx::Error::Database(database) = error else { return false };
    database.code().is_some_and(|code| code.starts_with("28") || code == "3D000" || code == "42501")
}

/// Marks a [refusal](is_refusal) as bad configuration: the process ends with exit code 78 instead
/// of waiting.
#[must_use]
pub fn mark_refusal(error: anyhow::Error) -> anyhow::Error {
    if !error.downcast_ref().is_some_and(is_refusal) {
        return error;
    }
    error
        .context(
            "PostgreSQL refuses the service: check its user, password and database; `waybill \
             migrate` grants its permissions",
        )
        .context(ExitReason::Configuration)
}
