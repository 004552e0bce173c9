//! Transactions: [`change`] runs one unit of work, and [`commit`] writes a batch of records.
//!
//! Both are limited in time. [`change`] does not retry; it returns the error. [`commit`] retries transient errors without limit. If the database refuses a value, or if writing
//! panics, it splits the batch in halves, each a transaction of its own, until the record at fault
//! is alone and becomes a rejection. So no record is refused because of another one. If each record
//! of a batch fails alone, no record is at fault, and the batch ends with an error. What is written
//! is not decided here: see the [`Writer`] of a service.

use std::{
    panic::AssertUnwindSafe,
    time::{Duration, Instant},
};

use anyhow::{anyhow, bail};
use futures_util::FutureExt as _;
use prometheus_client::metrics::{
    counter::Counter,
    gauge::Gauge,
    histogram::{Histogram, exponential_buckets},
};
use sqlx::{PgConnection, PgPool};

use crate::{
    postgres::{
        errors::{
            ErrorClass, classify, is_connection_lost, is_timeout, no_answer, no_connection,
            outcome_unknown,
        },
        lease::{Lease, close_idle},
        session,
        time_limit::TimeLimit,
    },
    process::{
        failpoint::{self, Injected},
        retry::Backoff,
    },
};

/// The longest time from the start of a batch's transaction to its end: of the first attempt, which
/// usually takes milliseconds. So a connection that never answers delays its lane only for seconds.
const FIRST_TRANSACTION_TIMEOUT: Duration = Duration::from_secs(5);
/// The same limit after several attempts, each of which has twice the time of the one before. It is
/// longer than PostgreSQL's own limits, so a slow server that answers can commit every batch.
const MAX_TRANSACTION_TIMEOUT: Duration = Duration::from_secs(40);

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

/// Runs `work` in a transaction, and commits it unless `work` fails. If it cannot be known whether
/// the transaction was committed, the error is one for which
/// [`is_outcome_unknown`](super::errors::is_outcome_unknown) is true; after any other error nothing
/// was changed.
pub async fn change<T, E: TransactionError>(
    pool: &PgPool,
    limit: TimeLimit,
    work: impl AsyncFnOnce(&mut PgConnection) -> Result<T, E>,
) -> Result<T, E> {
    let deadline = Instant::now() + limit.total;
    // The connection is tested first, because the work is not repeated after an error.
    let lease = Lease::acquire_tested(pool, limit.wait);
    let mut lease = match tokio::time::timeout(limit.total, lease).await {
        Ok(lease) => lease?,
        Err(_) => return Err(no_connection(pool).await.into()),
    };
    let left = deadline.saturating_duration_since(Instant::now());
    transact(pool, &mut lease, left, work).await
}

async fn transact<T, E: TransactionError>(
    pool: &PgPool,
    lease: &mut Lease,
    limit: Duration,
    work: impl AsyncFnOnce(&mut PgConnection) -> Result<T, E>,
) -> Result<T, E> {
    let mut is_committing = false;
    let attempt = async {
        let mut transaction = session::begin(pool, lease, "BEGIN").await?;
        let outcome = work(&mut transaction).await;
        match outcome {
            Ok(_) => {
                is_committing = true;
                transaction.commit().await?;
            }
            // The rollback is awaited, so the row locks are released before the caller sees the
            // error: a task that the caller wakes next may skip locked rows. If the rollback fails,
            // the connection is broken: the server rolls back, and the pool closes the connection
            // when it is returned.
            Err(_) => drop(transaction.rollback().await),
        }
        outcome
    };
    let outcome = tokio::time::timeout(limit, attempt).await;
    let is_timeout = outcome.is_err();
    let outcome = outcome.unwrap_or_else(|_| Err(no_answer(&pool.connect_options()).into()));
    let error = outcome.as_ref().err().and_then(E::database);
    let Some(error) = error.filter(|error| classify(error) == ErrorClass::Transient) else {
        return outcome;
    };
    // Before the commit is sent, the server can only roll back. After that, only its answer says
    // whether it has committed.
    let unknown = (is_committing && is_connection_lost(error)).then(|| outcome_unknown(error));
    // After a failover the next transaction needs a connection to another server. After a timeout
    // this connection may still run a statement, so it must not return to the pool.
    lease.discard();
    if is_timeout {
        close_idle(pool);
    }
    unknown.map_or(outcome, |unknown| Err(unknown.into()))
}

crate::metrics! {
    pub struct CommitMetrics {
        /// Seconds of a batch's transaction, whether it was committed or failed
        seconds: Histogram = "db_client_operation_duration_seconds"
            from Histogram::new(exponential_buckets(0.000_5, 2.0, 16)),
        /// Transactions of batches that were retried after an error of the database
        retries: Counter = "waybill_batch_retries",
        /// Splits of a batch, or of a part of it, after the database refused a value or the code panicked
        splits: Counter = "waybill_batch_splits",
        /// Batches that wait for PostgreSQL: their last transaction failed, and is retried
        waiting: Gauge = "waybill_batches_waiting",
    }
}

/// A batch that waits for PostgreSQL. Dropping it means that it is written, or given up at the
/// shutdown.
struct WaitingBatch(Gauge);

impl WaitingBatch {
    fn counted_in(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for WaitingBatch {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// The reason why records were not written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// A row that was sent with `COPY` is already stored. The next attempt uses `INSERT`.
    #[error("a row is already stored")]
    KnownRow,
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

impl From<Injected> for WriteError {
    fn from(error: Injected) -> Self {
        Self::Database(error.into())
    }
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

    /// Turns a record that cannot be written into a rejection.
    fn reject(&self, item: &mut Self::Item, fault: &Fault);
}

/// The permanent reason why a record cannot be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The database refused a value, with this SQLSTATE.
    #[error("the database refused this record's data (SQLSTATE {0})")]
    Refused(String),
    /// The code panicked while it parsed or wrote the record.
    #[error(
        "Waybill failed while it processed this record; please report this as a fault of Waybill"
    )]
    Panic,
}

impl Fault {
    /// Every code that [`code`](Self::code) returns.
    pub const CODES: [&'static str; 2] = ["refused_by_database", "internal_error"];

    /// Returns the reason of the rejection.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Refused(_) => Self::CODES[0],
            Self::Panic => Self::CODES[1],
        }
    }
}

/// A committed part of a batch.
#[derive(Debug)]
pub struct Part<W: Writer> {
    pub items: Vec<W::Item>,
    pub outcome: W::Outcome,
}

/// Commits a batch: in one part, unless a record of it cannot be written.
pub async fn commit<W: Writer>(
    pool: &PgPool,
    writer: &W,
    metrics: &CommitMetrics,
    batch: Vec<W::Item>,
) -> anyhow::Result<Vec<Part<W>>> {
    let records = batch.len();
    let mut committed = Vec::with_capacity(1);
    let mut faulty = Vec::new();
    // A stack: the first half is popped before the second, so the valid parts are committed in the
    // order of their records. If the process ends between two parts, no offset of the batch is
    // stored yet, and the whole batch is read again.
    let mut parts = vec![batch];
    while let Some(mut items) = parts.pop() {
        match commit_part(pool, writer, metrics, &items, OnFault::Return).await {
            Ok(outcome) => committed.push(Part { items, outcome }),
            Err(fault) if items.len() == 1 => faulty.push((items, fault)),
            Err(_) => {
                metrics.splits.inc();
                failpoint::async_point("split").await;
                let second = items.split_off(items.len() / 2);
                if !failpoint::is_skipped("guard.both-halves") {
                    parts.push(second);
                }
                parts.push(items);
            }
        }
    }
    // Rejections are written last, when it is known that other records of the batch can be written.
    // Otherwise a fault of the table or of the code would reject all records of the topic.
    if let (true, [(_, fault), _, ..]) = (committed.is_empty(), &faulty[..]) {
        bail!(
            "none of the {records} records of a batch can be written, so no record is at fault, but \
             probably Waybill or its tables: {fault}"
        );
    }
    for (mut items, fault) in faulty {
        failpoint::async_point("before-rejecting").await;
        items.iter_mut().for_each(|item| writer.reject(item, &fault));
        let outcome = commit_part(pool, writer, metrics, &items, OnFault::Retry).await;
        let outcome = outcome.map_err(|fault| anyhow!("writing a rejection: {fault}"))?;
        committed.push(Part { items, outcome });
    }
    Ok(committed)
}

/// The reaction to a part that the database refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum OnFault {
    Return,
    /// Retries: for a rejection, whose values the database should not refuse. If it does, an
    /// operator must repair the database, and no record is skipped until then. A panic is returned
    /// here, too.
    Retry,
}

async fn commit_part<W: Writer>(
    pool: &PgPool,
    writer: &W,
    metrics: &CommitMetrics,
    part: &[W::Item],
    on_fault: OnFault,
) -> Result<W::Outcome, Fault> {
    let mut backoff = Backoff::default();
    let mut limit = FIRST_TRANSACTION_TIMEOUT;
    let mut waiting = None;
    loop {
        // A panic leaves no partial state: its connection is closed, which rolls the transaction
        // back. A writer keeps no result of an attempt, only hints for choosing the faster
        // statements, such as COPY or INSERT.
        let attempt = AssertUnwindSafe(attempt(pool, writer, metrics, part, limit));
        let attempt = attempt.catch_unwind().await;
        let error = match attempt {
            Ok(Ok(outcome)) => {
                if !backoff.is_first() {
                    tracing::info!(records = part.len(), "PostgreSQL accepts batches again");
                }
                return Ok(outcome);
            }
            // Without a pause: the server works, and the next attempt does not copy but inserts.
            Ok(Err(WriteError::KnownRow)) => continue,
            Ok(Err(WriteError::Database(error))) => error,
            Err(_) => {
                tracing::error!(records = part.len(), "writing records panicked");
                return Err(Fault::Panic);
            }
        };
        let is_permanent = classify(&error) == ErrorClass::Permanent
            || failpoint::is_skipped("guard.transient-retried");
        if is_permanent && on_fault == OnFault::Return {
            let code = error.as_database_error().and_then(|error| error.code());
            let code = code.map_or_else(|| "unknown".to_owned(), |code| code.into_owned());
            return Err(Fault::Refused(code));
        }
        if is_timeout(&error) {
            limit = (limit * 2).min(MAX_TRANSACTION_TIMEOUT);
        }
        if backoff.is_first() {
            tracing::warn!(
                records = part.len(),
                "waiting for PostgreSQL to accept a batch: {error}"
            );
            waiting.get_or_insert_with(|| WaitingBatch::counted_in(&metrics.waiting));
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
    limit: Duration,
) -> Result<W::Outcome, WriteError> {
    // The pool has its own limit, and the batch is retried.
    let mut lease = Lease::acquire(pool, Duration::MAX).await?;
    failpoint::try_async_point("begin").await?;
    let started = Instant::now();
    let outcome = transact(pool, &mut lease, limit, async |transaction| {
        let outcome = writer.write(transaction, part).await?;
        failpoint::try_async_point("before-commit").await?;
        Ok(outcome)
    })
    .await;
    metrics.seconds.observe(started.elapsed().as_secs_f64());
    if outcome.is_ok() {
        // An error means that the outcome of the commit is not known.
        failpoint::try_async_point("after-commit").await?;
    }
    outcome
}
