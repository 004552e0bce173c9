//! A connection of the pool, for one piece of work.
//!
//! sqlx returns a dropped connection to the pool after it has answered a last message, and waits
//! for this answer without limit: a connection whose server never answers would keep its place in
//! the pool forever. A [`Lease`] limits this wait. A connection that is not returned is closed, and
//! its place is free at once, so the pool can open a new connection.

use std::{
    ops::{Deref, DerefMut},
    time::Duration,
};

use sqlx::{Connection as _, PgConnection, PgPool, Postgres, pool::PoolConnection};
use tokio::{runtime::Handle, time::timeout};

use super::errors::{all_in_use, no_connection};

/// The longest wait for a connection to confirm that it can be used again.
const RETURN_TIMEOUT: Duration = Duration::from_secs(1);
/// The longest wait for the answer of a connection that is tested before a change.
const TEST_TIMEOUT: Duration = Duration::from_secs(1);

const IN_USE: &str = "a lease has its connection until it is discarded or dropped";

/// A connection of the pool. Dropping it returns the connection, in a task of its own.
pub(super) struct Lease {
    connection: Option<PoolConnection<Postgres>>,
    /// True if the connection was idle: the server may have closed it, or may have stopped
    /// answering.
    pub(super) was_idle: bool,
}

impl Lease {
    /// Takes an idle connection, or opens a new one. If all connections are in use, it waits for at
    /// most `wait`.
    pub(super) async fn acquire(pool: &PgPool, wait: Duration) -> Result<Self, sqlx::Error> {
        // Idle connections are taken here and not by `acquire`, which does not say whether its
        // connection was idle. If none is idle, `acquire` opens a new connection, or waits for
        // one that another task returns, which has answered just now.
        if let Some(idle) = pool.try_acquire() {
            return Ok(Self { connection: Some(idle), was_idle: true });
        }
        let acquiring = acquire(pool);
        // Otherwise a new connection is opened, which may take longer than `wait`: the pool has a
        // limit of its own for that.
        let is_full = pool.size() >= pool.options().get_max_connections();
        let connection = if is_full {
            timeout(wait, acquiring).await.unwrap_or_else(|_| Err(all_in_use(pool)))?
        } else {
            acquiring.await?
        };
        Ok(Self { connection: Some(connection), was_idle: false })
    }

    /// Takes a connection that answers. Also one that another task has returned is tested: that task
    /// may have read its answer long after the server gave it.
    pub(super) async fn acquire_tested(pool: &PgPool, wait: Duration) -> Result<Self, sqlx::Error> {
        loop {
            let mut lease = Self::acquire(pool, wait).await?;
            match timeout(TEST_TIMEOUT, lease.ping()).await {
                Ok(Ok(())) => return Ok(lease),
                Ok(Err(_)) => lease.discard(),
                Err(_) => {
                    lease.discard();
                    close_idle(pool);
                }
            }
        }
    }

    /// Closes the connection at once, without a message to the server, which may not read it.
    pub(super) fn discard(&mut self) {
        drop(self.connection.take().map(PoolConnection::detach));
    }
}

/// Takes a connection of the pool. The error says why none is free.
pub async fn acquire(pool: &PgPool) -> Result<PoolConnection<Postgres>, sqlx::Error> {
    match pool.acquire().await {
        Err(sqlx::Error::PoolTimedOut) => Err(no_connection(pool).await),
        outcome => outcome,
    }
}

/// Closes all idle connections. After a timeout they probably do not answer either; otherwise each
/// of them would let one more call wait for its whole limit.
pub(super) fn close_idle(pool: &PgPool) {
    while let Some(idle) = pool.try_acquire() {
        drop(idle.detach());
    }
}

impl Deref for Lease {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        self.connection.as_ref().expect(IN_USE)
    }
}

impl DerefMut for Lease {
    fn deref_mut(&mut self) -> &mut PgConnection {
        self.connection.as_mut().expect(IN_USE)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        // A panic may interrupt a message of the protocol or leave a transaction open, so the
        // connection must not return to the pool.
        let runtime = Handle::try_current().ok().filter(|_| !std::thread::panicking());
        let Some(runtime) = runtime else { return self.discard() };
        let Some(mut connection) = self.connection.take() else { return };
        // If the work was interrupted, for example because a client has disconnected, the answer
        // comes after the rest of the current statement. After the timeout the connection is
        // dropped together with the future, and so is closed.
        let returning = connection.return_to_pool();
        runtime.spawn(async move { timeout(RETURN_TIMEOUT, returning).await });
    }
}
