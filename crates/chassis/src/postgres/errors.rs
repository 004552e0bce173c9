//! Whether an error of PostgreSQL is the data's, passes by itself, or needs an operator.

use crate::process::exit::ExitReason;

/// Whose fault a failure is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorClass {
    /// A value that PostgreSQL refuses (SQLSTATE classes 22, 23, 54): the same again would fail
    /// again.
    Permanent,
    /// Connection, deadlock, disk full, read-only, time-out, unknown: to be tried again, for ever.
    Transient,
}

/// Tells data from weather by SQLSTATE.
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

/// Wrong credentials, no such database, missing rights: nothing that waiting would mend.
#[must_use]
pub fn is_refusal(error: &sqlx::Error) -> bool {
    let sqlx::Error::Database(database) = error else { return false };
    database.code().is_some_and(|code| code.starts_with("28") || code == "3D000" || code == "42501")
}

/// Marks a [refusal](is_refusal) as bad configuration, so that the process ends with 78 instead of
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
