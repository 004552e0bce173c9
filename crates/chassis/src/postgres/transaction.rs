//! Committing a batch: one transaction, whatever the weather, and no record refused for the sake of
//! another.
//!
//! Weather is waited out for ever. When the database refuses a value, the batch is split in halves,
//! each a transaction of its own, until the guilty record is alone and its owner makes a rejection
//! of it. What is written, and what came of it, the service's [`Writer`] says.

use std::time::{Duration, Instant};

use prometheus_client::{
    metrics::{
        counter::Counter,
        histogram::{Histogram, exponential_buckets},
    },
    registry::Registry,
};
use sqlx::{Connection, PgConnection, PgPool};

use crate::{
    postgres::errors::{ErrorClass, classify},
    process::{crash, retry::Backoff},
};

/// A transaction that has been silent for so long is given up and tried again: its outcome is
/// unknown, and that is harmless.
const SILENCE: Duration = Duration::from_secs(40);

/// What committing counts.
#[derive(Debug, Clone)]
pub struct Metrics {
    seconds: Histogram,
    retries: Counter,
    splits: Counter,
}

impl Metrics {
    /// Makes them known to `registry`.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            seconds: Histogram::new(exponential_buckets(0.000_5, 2.0, 16)),
            retries: Counter::default(),
            splits: Counter::default(),
        };
        registry.register(
            "db_client_operation_duration_seconds",
            "A batch's transaction, whatever came of it, seconds",
            metrics.seconds.clone(),
        );
        registry.register(
            "waybill_batch_retries",
            "Transactions tried again for the weather's sake",
            metrics.retries.clone(),
        );
        registry.register(
            "waybill_batch_splits",
            "Batches split in halves because the database refused a value",
            metrics.splits.clone(),
        );
        metrics
    }
}

/// Why records were not written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// A row that was copied as new is there already; the next attempt inserts with care.
    #[error("a row is there already")]
    NotNew,
    /// What the database says, or what keeps it from answering.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

/// How a service writes its records.
pub trait Writer: Sync {
    /// What a record turned out to be.
    type Item: Send + Sync;
    /// What writing some of them told.
    type Outcome: Send;

    /// Writes records within a transaction; may be called again with the same ones.
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
    /// Its records.
    pub items: Vec<W::Item>,
    /// What writing them told.
    pub outcome: W::Outcome,
}

/// Commits a batch, in one part if the database takes all of it.
pub async fn commit<W: Writer>(
    pool: &PgPool,
    writer: &W,
    metrics: &Metrics,
    batch: Vec<W::Item>,
) -> Vec<Part<W>> {
    let mut committed = Vec::with_capacity(1);
    let mut parts = vec![(batch, Refusals::Possible)];
    while let Some((mut items, refusals)) = parts.pop() {
        match commit_part(pool, writer, metrics, &items, refusals).await {
            Ok(outcome) => committed.push(Part { items, outcome }),
            Err(Refused(sqlstate)) if items.len() == 1 => {
                items.iter_mut().for_each(|item| writer.refuse(item, &sqlstate));
                parts.push((items, Refusals::Weather));
            }
            Err(Refused(_)) => {
                metrics.splits.inc();
                let second = items.split_off(items.len() / 2);
                parts.push((second, Refusals::Possible));
                parts.push((items, Refusals::Possible));
            }
        }
    }
    committed
}

/// What to make of a refusal. A rejection holds nothing that could be refused; should it be all the
/// same, then somebody must mend the database, and until then nothing is skipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refusals {
    Possible,
    Weather,
}

/// The database's refusal of a value, by its SQLSTATE.
struct Refused(String);

async fn commit_part<W: Writer>(
    pool: &PgPool,
    writer: &W,
    metrics: &Metrics,
    part: &[W::Item],
    refusals: Refusals,
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
            Err(WriteError::NotNew) => continue,
            Err(WriteError::Database(error)) => error,
        };
        if classify(&error) == ErrorClass::Permanent && refusals == Refusals::Possible {
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
    metrics: &Metrics,
    part: &[W::Item],
) -> Result<W::Outcome, WriteError> {
    let mut connection = pool.acquire().await?;
    let started = Instant::now();
    let outcome = tokio::time::timeout(SILENCE, transact(&mut connection, writer, part)).await;
    metrics.seconds.observe(started.elapsed().as_secs_f64());
    let outcome = outcome.unwrap_or(Err(sqlx::Error::PoolTimedOut.into()));
    if matches!(&outcome, Err(WriteError::Database(error)) if classify(error) == ErrorClass::Transient)
    {
        // A connection to a server that failed over, or that is silent, is of no more use.
        connection.close_on_drop();
    }
    outcome
}

async fn transact<W: Writer>(
    connection: &mut PgConnection,
    writer: &W,
    part: &[W::Item],
) -> Result<W::Outcome, WriteError> {
    let mut transaction = connection.begin().await?;
    let outcome = writer.write(&mut transaction, part).await?;
    crash::point("before-commit");
    transaction.commit().await?;
    crash::point("after-commit");
    Ok(outcome)
}
