//! Reads within a limit of time, with the wait for a connection.
//!
//! A connection may stay open and never answer: the server is stopped, or a firewall has forgotten
//! the connection. Then the limit ends the read, the connection is closed, and the pool opens a new
//! one. If the server has closed an idle connection, for example at its restart, the read is
//! repeated on another connection: a read changes nothing, so it may run twice.

use std::time::Duration;

use sqlx::{PgConnection, PgPool};
use tokio::time::{Instant, timeout_at};

use super::{
    errors::{is_connection_lost, no_answer, no_connection},
    lease::{Lease, close_idle},
    session,
};

/// The limit of a read of one entry by its key.
pub const BY_KEY: Duration = Duration::from_secs(2);
/// The limit of a read of a list, or of figures about many rows.
pub const LIST: Duration = Duration::from_secs(10);

/// Runs `work`, which must only read, on a connection of the pool.
pub async fn read<T>(
    pool: &PgPool,
    limit: Duration,
    work: impl AsyncFnOnce(&mut PgConnection) -> Result<T, sqlx::Error> + Clone,
) -> Result<T, sqlx::Error> {
    Reader::new(pool, limit).read(work).await
}

/// Runs `work` in a read-only transaction whose queries all see the same state of the database.
pub async fn snapshot<T>(
    pool: &PgPool,
    limit: Duration,
    work: impl AsyncFnOnce(&mut PgConnection) -> Result<T, sqlx::Error> + Clone,
) -> Result<T, sqlx::Error> {
    let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
    Reader::new(pool, limit)
        .read_in(async |connection| in_transaction(pool, connection, begin, work).await)
        .await
}

async fn in_transaction<T>(
    pool: &PgPool,
    connection: &mut PgConnection,
    begin: &'static str,
    work: impl AsyncFnOnce(&mut PgConnection) -> Result<T, sqlx::Error>,
) -> Result<T, sqlx::Error> {
    let mut transaction = session::begin(pool, connection, begin).await?;
    let outcome = work(&mut transaction).await?;
    // Nothing was written: the commit only ends the transaction.
    transaction.commit().await?;
    Ok(outcome)
}

/// Several reads, one after another, which keep their connection. Each has the whole limit.
pub struct Reader<'a> {
    pool: &'a PgPool,
    limit: Duration,
    kept: Option<Lease>,
}

impl<'a> Reader<'a> {
    #[must_use]
    pub fn new(pool: &'a PgPool, limit: Duration) -> Self {
        Self { pool, limit, kept: None }
    }

    /// Runs `work`, which must only read.
    pub async fn read<T>(
        &mut self,
        work: impl AsyncFnOnce(&mut PgConnection) -> Result<T, sqlx::Error> + Clone,
    ) -> Result<T, sqlx::Error> {
        if !session::is_pooled(self.pool) {
            return self.read_in(work).await;
        }
        let pool = self.pool;
        self.read_in(async |connection| in_transaction(pool, connection, "BEGIN", work).await).await
    }

    async fn read_in<T>(
        &mut self,
        work: impl AsyncFnOnce(&mut PgConnection) -> Result<T, sqlx::Error> + Clone,
    ) -> Result<T, sqlx::Error> {
        let deadline = Instant::now() + self.limit;
        loop {
            // Moved out of `self` while it is in use: if this future is dropped or `work` panics,
            // the next read takes another connection.
            let (mut lease, was_idle) = match self.kept.take() {
                Some(kept) => (kept, true),
                None => {
                    let lease = match timeout_at(deadline, Lease::acquire(self.pool)).await {
                        Ok(lease) => lease?,
                        Err(_) => return Err(no_connection(self.pool).await),
                    };
                    let was_idle = lease.was_idle;
                    (lease, was_idle)
                }
            };
            match timeout_at(deadline, work.clone()(&mut lease)).await {
                Err(_) => {
                    // The connection may still get the answer to this read, so no other work may
                    // use it.
                    lease.discard();
                    close_idle(self.pool);
                    return Err(no_answer(&self.pool.connect_options()));
                }
                Ok(Err(error)) if is_connection_lost(&error) => {
                    lease.discard();
                    // Other idle connections may be closed, too. Each turn of the loop removes one
                    // of them, and the last turn uses a new connection.
                    if !was_idle {
                        return Err(error);
                    }
                }
                Ok(outcome) => {
                    self.kept = Some(lease);
                    return outcome;
                }
            }
        }
    }
}
