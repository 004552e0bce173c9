//! Classes of PostgreSQL's errors: permanent, transient, or a refusal that needs an operator.

use crate::process::exit::ExitReason;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorClass {
    /// PostgreSQL refuses a value (SQLSTATE classes 22, 23, 54): a retry would fail again.
    Permanent,
    /// Connection, deadlock, disk full, read-only, time-out, unknown: retried without limit.
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
        _ => ErrorClass::Transient,
    }
}

/// Returns the error for a row that the database should never hold; `column` is
/// `schema.table.column`.
pub fn bad_column(column: &str, source: impl Into<sqlx::error::BoxDynError>) -> sqlx::Error {
    sqlx::Error::ColumnDecode { index: column.to_owned(), source: source.into() }
}

/// Returns whether PostgreSQL refuses the service because of wrong credentials, a missing database
/// or missing rights: waiting does not help.
#[must_use]
pub fn is_refusal(error: &sqlx::Error) -> bool {
    let sqlx::Error::Database(database) = error else { return false };
    database.code().is_some_and(|code| code.starts_with("28") || code == "3D000" || code == "42501")
}

/// Marks a [refusal](is_refusal) as bad configuration: the process ends with exit code 78 instead of
/// waiting.
#[must_use]
pub fn mark_refusal(error: anyhow::Error) -> anyhow::Error {
    if !error.downcast_ref().is_some_and(is_refusal) {
        return error;
    }
    error
        .context(
            "PostgreSQL refuses the service: check its user, password and database; `waybill \
             migrate` gives it its rights",
        )
        .context(ExitReason::Configuration)
}
