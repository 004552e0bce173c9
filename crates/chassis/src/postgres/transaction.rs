//! Transactions: of any work, and of a batch of records.
//!
//! [`transact`] limits the time of a transaction. [`commit`] commits a batch and retries transient
//! errors without limit. If the database refuses a value, it splits the batch in halves, each a
//! transaction of its own, until the record at fault is alone and becomes a rejection. So no record
//! is refused because of another one. What is written is not decided here: see the [`Writer`] of a
//! service.

use std::time::{Duration, Instant};

use prometheus_client::metrics::{
    counter::Counter,
    histogram::{Histogram, exponential_buckets},
};
use sqlx::{Connection, PgConnection, PgPool, Postgres, pool::PoolConnection};

use crate::{
    postgres::errors::{ErrorClass, classify},
    process::{crash, retry::Backoff},
};

/// The longest time from the start of a transaction to its end. It is longer than PostgreSQL's own
/// limits, so only a server that does not answer reaches it.
const TRANSACTION_TIMEOUT: Duration = Duration::from_secs(40);

/// An error of work in a transaction.
pub trait TransactionError: From<sqlx::Error> {
    /// Returns the error of PostgreSQL; `None` if the work itself ended the transaction.
    fn database(&self) -> Option<&sqlx::Error>;
}

impl TransactionError for sqlx::Error {
    fn database(&self) -> Option<&sqlx::Error> {
        Some(self)
    }
}

/// Runs `work` in a transaction, and commits it unless `work` fails. A timeout is a transient error
/// with an unknown outcome: the transaction may have been committed.
pub async fn transact<T, E: TransactionError>(
    pool: &PgPool,
    work: impl AsyncFnOnce(&mut PgConnection) -> Result<T, E>,
) -> Result<T, E> {
    transact_on(&mut pool.acquire().await?, work).await
}

async fn transact_on<T, E: TransactionError>(
    connection: &mut PoolConnection<Postgres>,
    work: impl AsyncFnOnce(&mut PgConnection) -> Result<T, E>,
) -> Result<T, E> {
    let attempt = async {
        let mut transaction = connection.begin().await?;
        let outcome = work(&mut transaction).await;
        match outcome {
            Ok(_) => transaction.commit().await?,
            // The rollback is awaited, so the row locks are released before the caller sees the
            // error: a task that the caller wakes next may skip locked rows. If the rollback fails,
            // the connection is broken: the server rolls back, and the pool drops the connection.
            Err(_) => drop(transaction.rollback().await),
        }
        outcome
    };
    let outcome = tokio::time::timeout(TRANSACTION_TIMEOUT, attempt).await;
    let outcome = outcome.unwrap_or_else(|_| Err(sqlx::Error::PoolTimedOut.into()));
    let database = outcome.as_ref().err().and_then(E::database);
    if database.is_some_and(|error| classify(error) == ErrorClass::Transient) {
        // After a failover the next transaction needs a connection to another server. After a
        // timeout this connection may still run a statement, so it must not return to the pool.
        connection.close_on_drop();
    }
    outcome
}

crate::metrics! {
    pub struct CommitMetrics {
        /// Seconds of a batch's transaction, whether it was committed or failed
        seconds: Histogram = "db_client_operation_duration_seconds"
            from Histogram::new(exponential_buckets(0.000_5, 2.0, 16)),
        /// Transactions retried after a transient error
        retries: Counter = "waybill_batch_retries",
        /// Batches split in halves because the database refused a value
        splits: Counter = "waybill_batch_splits",
    }
}

/// The reason why records were not written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// A copied row was already stored. The next attempt inserts the rows instead.
    #[error("a row is already stored")]
    KnownRow,
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

impl TransactionError for WriteError {
    fn database(&self) -> Option<&sqlx::Error> {
        let Self::Database(error) = self else { return None };
        Some(error)
    }
}

/// Writes the records of a service.
pub trait Writer: Sync {
    /// A decoded record: a valid item or a rejection.
    type Item: Send + Sync;
    /// The result of writing some records.
    type Outcome: Send;

    /// Writes records within a transaction. It may be called again with records that are already
    /// stored, because the outcome of an earlier transaction may be unknown.
    fn write(
        &self,
        transaction: &mut PgConnection,
        part: &[Self::Item],
    ) -> impl Future<Output = Result<Self::Outcome, WriteError>> + Send;

    /// Turns a record into a rejection. `sqlstate` is the code of the database's error.
    fn refuse(&self, item: &mut Self::Item, sqlstate: &str);
}

/// A committed part of a batch.
#[derive(Debug)]
pub struct Part<W: Writer> {
    pub items: Vec<W::Item>,
    pub outcome: W::Outcome,
}

/// Commits a batch; in one part, if the database refuses no value of it.
pub async fn commit<W: Writer>(
    pool: &PgPool,
    writer: &W,
    metrics: &CommitMetrics,
    batch: Vec<W::Item>,
) -> Vec<Part<W>> {
    let mut committed = Vec::with_capacity(1);
    // A stack: the first half is popped before the second, so the parts are committed in the order
    // of their records. If the process ends between two parts, no offset of the batch is stored
    // yet, and the whole batch is read again.
    let mut parts = vec![(batch, OnRefusal::Split)];
    while let Some((mut items, on_refusal)) = parts.pop() {
        match commit_part(pool, writer, metrics, &items, on_refusal).await {
            Ok(outcome) => committed.push(Part { items, outcome }),
            Err(Refused(sqlstate)) if items.len() == 1 => {
                items.iter_mut().for_each(|item| writer.refuse(item, &sqlstate));
                parts.push((items, OnRefusal::Retry));
            }
            Err(Refused(_)) => {
                metrics.splits.inc();
                let second = items.split_off(items.len() / 2);
                parts.push((second, OnRefusal::Split));
                parts.push((items, OnRefusal::Split));
            }
        }
    }
    committed
}

/// The reaction to a refusal of the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum OnRefusal {
    Split,
    /// Retries: for a rejection, whose values the database should not refuse. If it does, an
    /// operator must repair the database, and no record is skipped until then.
    Retry,
}

/// The refusal of a value by the database, with its SQLSTATE.
struct Refused(String);

async fn commit_part<W: Writer>(
    pool: &PgPool,
    writer: &W,
    metrics: &CommitMetrics,
    part: &[W::Item],
    on_refusal: OnRefusal,
) -> Result<W::Outcome, Refused> {
    let mut backoff = Backoff::default();
    loop {
        let error = match attempt(pool, writer, metrics, part).await {
            Ok(outcome) => {
                if !backoff.is_first() {
                    tracing::info!(records = part.len(), "PostgreSQL accepts batches again");
                }
                return Ok(outcome);
            }
            // Without a pause: the server works, and the next attempt does not copy but inserts.
            Err(WriteError::KnownRow) => continue,
            Err(WriteError::Database(error)) => error,
        };
        if classify(&error) == ErrorClass::Permanent && on_refusal == OnRefusal::Split {
            let code = error.as_database_error().and_then(|error| error.code());
            return Err(Refused(
                code.map_or_else(|| "unknown".to_owned(), |code| code.into_owned()),
            ));
        }
        if backoff.is_first() {
            tracing::warn!(
                records = part.len(),
                "waiting for PostgreSQL to accept a batch: {error}"
            );
        }
        // The failed attempt may have been committed. Writing the same records again is harmless: a
        // writer changes nothing for a record that is already stored.
        metrics.retries.inc();
        backoff.pause().await;
    }
}

async fn attempt<W: Writer>(
    pool: &PgPool,
    writer: &W,
    metrics: &CommitMetrics,
    part: &[W::Item],
) -> Result<W::Outcome, WriteError> {
    let mut connection = pool.acquire().await?;
    let started = Instant::now();
    let outcome = transact_on(&mut connection, async |transaction| {
        let outcome = writer.write(transaction, part).await?;
        crash::point("before-commit");
        Ok(outcome)
    })
    .await;
    metrics.seconds.observe(started.elapsed().as_secs_f64());
    if outcome.is_ok() {
        crash::point("after-commit");
    }
    outcome
}
