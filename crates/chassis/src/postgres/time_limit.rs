//! The limits of time for work on PostgreSQL. [`read`](super::read) and
//! [`transaction`](super::transaction) apply them.

use std::time::Duration;

use sqlx::PgConnection;

/// The longest wait of a request while all connections for requests are in use. It is short: a
/// client that is refused can try again, and requests that wait would use up the memory and the
/// HTTP connections of the service.
const REQUEST_WAIT: Duration = Duration::from_millis(250);

/// The limit of a request's read of one entry by its key.
pub const BY_KEY: TimeLimit = TimeLimit { wait: REQUEST_WAIT, total: Duration::from_secs(2) };
/// The limit of a request's read of a list, or of figures about many rows.
pub const LIST: TimeLimit = TimeLimit { wait: REQUEST_WAIT, total: Duration::from_secs(10) };
/// The limit of a request's change.
pub const CHANGE: TimeLimit = LIST;
/// The limit of a read or a change for which no client waits.
pub const BACKGROUND: TimeLimit =
    TimeLimit { wait: Duration::from_secs(10), total: Duration::from_secs(10) };

/// Limits the time of a piece of work on a connection.
#[derive(Debug, Clone, Copy)]
pub struct TimeLimit {
    /// The longest wait while all connections of the pool are in use.
    pub(super) wait: Duration,
    /// The longest time of all, with every wait.
    pub total: Duration,
}

/// Limits the wait for each lock of a person's change to 2 seconds, until the end of the transaction:
/// the change waits for no longer than that for a frozen transaction, and nor does work that needs a
/// lock that the change has already.
pub async fn limit_lock_wait(transaction: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query!("-- limit_lock_wait\nSET LOCAL lock_timeout = '2s'").execute(transaction).await?;
    Ok(())
}
