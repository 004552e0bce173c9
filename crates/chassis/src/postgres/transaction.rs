//! Transactions: of any work, and of a batch of records.
//!
//! [`transact`] bounds the time of a transaction. [`commit`] commits a batch. It retries transient
//! errors without limit. When the database refuses a value, it splits the batch in halves, each a
//! transaction of its own, until the record at fault is alone and becomes a rejection: no record is
//! refused because of another one. The [`Writer`] of a service defines what is written.

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

/// The longest time from the begin of a transaction to its end. It is longer than PostgreSQL's own
/// limits, so only a server that does not answer reaches it.
const TRANSACTION_TIMEOUT: Duration = Duration::from_secs(40);

/// An error of work in a transaction.
pub trait TransactionError: From<sqlx::Error> {
    /// Returns the error of PostgreSQL; `None` if the work itself refused to go on.
    fn database(&self) -> Option<&sqlx::Error>;
}

impl TransactionError for sqlx::Error {
    fn database(&self) -> Option<&sqlx::Error> {
        Some(self)
    }
}

/// Runs `work` in a transaction, and commits it unless `work` fails. A time-out is a transient error
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
            // The locks are gone before the caller sees the error: a task that the caller wakes
            // then may skip locked rows. If the rollback fails, the connection is broken: the
            // server rolls back, and the pool drops the connection.
            Err(_) => drop(transaction.rollback().await),
        }
        outcome
    };
    let outcome = tokio::time::timeout(TRANSACTION_TIMEOUT, attempt).await;
    let outcome = outcome.unwrap_or_else(|_| Err(sqlx::Error::PoolTimedOut.into()));
    let database = outcome.as_ref().err().and_then(E::database);
    if database.is_some_and(|error| classify(error) == ErrorClass::Transient) {
        // After a failover the next transaction needs a connection to another server.
        connection.close_on_drop();
    }
    outcome
}

crate::metrics! {
    pub struct CommitMetrics {
        /// A batch's transaction, whatever came of it, seconds
        seconds: Histogram = "db_client_operation_duration_seconds"
            from Histogram::new(exponential_buckets(0.000_5, 2.0, 16)),
        /// Transactions tried again for the weather's sake
        retries: Counter = "waybill_batch_retries",
        /// Batches split in halves because the database refused a value
        splits: Counter = "waybill_batch_splits",
    }
}

/// The reason that records were not written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// A row that was copied as new was already stored; the next attempt inserts it.
    #[error("a row is there already")]
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
    /// A record, decoded: a valid item or a rejection.
    type Item: Send + Sync;
    /// The result of writing some records.
    type Outcome: Send;

    /// Writes records within a transaction. It may be called again with the same records.
    fn write(
        &self,
        transaction: &mut PgConnection,
        part: &[Self::Item],
    ) -> impl Future<Output = Result<Self::Outcome, WriteError>> + Send;

    /// Turns a record into its rejection, given the SQLSTATE.
    fn refuse(&self, item: &mut Self::Item, sqlstate: &str);
}

/// A part of a batch that is in the database.
#[derive(Debug)]
pub struct Part<W: Writer> {
    pub items: Vec<W::Item>,
    pub outcome: W::Outcome,
}

/// Commits a batch, in one part if the database takes all of it.
pub async fn commit<W: Writer>(
    pool: &PgPool,
    writer: &W,
    metrics: &CommitMetrics,
    batch: Vec<W::Item>,
) -> Vec<Part<W>> {
    let mut committed = Vec::with_capacity(1);
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

/// The treatment of a part that the database refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum OnRefusal {
    Split,
    /// For a rejection, which holds no value that could be refused. If it is refused all the same,
    /// an operator must repair the database, and nothing is skipped until then.
    Retry,
}

/// The database's refusal of a value, by its SQLSTATE.
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
                    tracing::info!(records = part.len(), "PostgreSQL takes batches again");
                }
                return Ok(outcome);
            }
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
            tracing::warn!(records = part.len(), "waiting for PostgreSQL to take a batch: {error}");
        }
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
