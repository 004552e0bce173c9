//! Dispatch: matches waiting orders with available couriers, and releases overdue deliveries.
//!
//! ```text
//! event, manual action, new or resumed courier ─commit─▶ wake ──▶ match, until no pair is left
//!                                                        sweep ──▶ match, until no pair is left
//!                        sweep ─▶ note what is overdue ─▶ release ─commit─▶ wake
//! ```
//!
//! The rows of a match, or of a release, are changed by one SQL statement, in `statements`; the Rust
//! code around it is a loop. Dispatch reads no events and serves no calls: intake and the handlers of
//! calls commit their changes, and then wake it.

mod match_cursor;
mod metrics;
mod releases;
mod skipped;
mod statements;
mod wake;

pub use match_cursor::MatchCursor;
pub use metrics::DispatchMetrics;
pub use releases::run_releases;
pub use statements::{MATCH_ROWS, Match, Released, mark_overdue, release_overdue, requeue};
pub use wake::Wake;

pub(crate) use statements::lock_match;

use std::time::Duration;

use chassis::{
    postgres::{time_limit::BACKGROUND, transaction::change},
    process::{failpoint, retry::Backoff},
};
use sqlx::{PgPool, error::DatabaseError};
use tokio::time::{Interval, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use crate::delivery::{DeliveryTimes, ReleasedOrders};
use skipped::Skipped;
use statements::{Contradictions, match_orders};

const MEASURE_INTERVAL: Duration = Duration::from_secs(5);

/// The configuration of dispatch.
#[derive(Debug, Clone, Copy)]
pub struct Policy {
    pub times: DeliveryTimes,
    /// The time after its deadline from which a delivery may be released.
    pub grace: Duration,
    pub released: ReleasedOrders,
    /// The interval between sweeps.
    pub sweep: Duration,
}

// All states are in the rows of the database; the loop below keeps nothing that a restart needs.
//
//   waiting ─────────── match or manual assign ──────────▶ active
//   held ────────────── manual assign ───────────────────▶ active
//   active, released ── manual unassign ─────────────────▶ held
//   active ──────────── deadline and grace period passed ▶ released, and the courier is freed
//   released ────────── manual assign ───────────────────▶ active
//   released ────────── RELEASED_ORDERS=requeue, twice ──▶ waiting
//   any of the above ── `completed` ─────────────────────▶ completed: its delivery, if any, counts
//   any of the above ── `cancelled` ─────────────────────▶ cancelled: its delivery, if any, is deleted
//
// A courier is available, busy while they have an active delivery, or paused. A match needs a
// waiting order and an available courier, so only these changes make one possible: an order joins
// the queue, or a courier is added, freed or resumed. The code that commits such a change wakes the
// loop after the commit, because a match that began before it would not see the change. A
// transaction that only locked such a row wakes the loop too, because a match skips locked rows and
// does not return to them.
//
// A wake-up during a match is kept (see `Wake`) and causes another match. Each replica wakes its
// own loop. If a replica crashes between its commit and the wake-up, the next sweep of any replica
// finds the order and the courier, because a sweep searches both queues from their start. An order
// for which no courier is available stays in its row and waits.

/// Matches and sweeps until `shutdown`. Calls `on_change` after each match that was requested by a
/// wake-up, and after a sweep that has matched an order. Errors are retried without limit.
pub async fn run(
    pool: &PgPool,
    policy: Policy,
    wake: &Wake,
    metrics: &DispatchMetrics,
    on_change: impl Fn(),
    shutdown: CancellationToken,
) {
    // `select!` stops at the shutdown only between two steps: the code after `=>` is not cancelled,
    // so a match or a sweep that has begun runs to its end.
    let mut sweeps = interval(policy.sweep);
    let mut measurements = interval(MEASURE_INTERVAL);
    let mut backoff = Backoff::default();
    let mut skipped = Skipped::default();
    loop {
        let outcome = tokio::select! {
            () = shutdown.cancelled() => return,
            cursor = wake.woken() => {
                // Also without a match: the change that caused the wake-up also changes the board.
                match_all(pool, &policy.times, cursor, metrics).await.map(|_| on_change())
            }
            // From the start, to find all entries whose wake-up was lost.
            _ = sweeps.tick() => {
                match_all(pool, &policy.times, MatchCursor::START, metrics).await.map(|matched| {
                    if matched > 0 {
                        on_change();
                    }
                })
            }
            _ = measurements.tick() => measure(pool, metrics, &mut skipped).await,
        };
        match outcome {
            Ok(()) => {
                if !backoff.is_first() {
                    tracing::info!("dispatch works again");
                }
                metrics.failing.set(0);
                backoff = Backoff::default();
            }
            Err(error) => {
                if backoff.is_first() {
                    tracing::warn!("dispatch failed, retrying: {error}");
                }
                metrics.failing.set(1);
                // The outcome may be unknown, for example if the connection was lost at the commit.
                // Both outcomes are correct: an assigned order no longer waits, and any other order
                // still does. The cursor of the failed match is not kept: the next sweep searches
                // from the start. Wake-ups during the pause are kept by `Wake`.
                shutdown.run_until_cancelled(backoff.pause()).await;
            }
        }
    }
}

fn interval(period: Duration) -> Interval {
    let mut interval = tokio::time::interval(period);
    // After a late tick the next one comes a whole period later: no burst of sweeps after a slow
    // one.
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}

async fn measure(
    pool: &PgPool,
    metrics: &DispatchMetrics,
    skipped: &mut Skipped,
) -> Result<(), sqlx::Error> {
    change(pool, BACKGROUND, statements::fold_totals).await?;
    metrics.measure(pool).await?;
    skipped.report(pool, metrics).await
}

/// Matches up to [`MATCH_ROWS`] pairs in a transaction of its own.
pub async fn match_pairs(
    pool: &PgPool,
    times: &DeliveryTimes,
    cursor: MatchCursor,
) -> Result<Vec<Match>, sqlx::Error> {
    let attempt = async |contradictions| {
        change(pool, BACKGROUND, async |connection| {
            let matches = match_orders(connection, times, cursor, contradictions).await?;
            failpoint::try_async_point("match").await?;
            Ok::<_, sqlx::Error>(matches)
        })
        .await
    };
    let outcome = attempt(Contradictions::Fail).await;
    let error = outcome.as_ref().err().and_then(sqlx::Error::as_database_error);
    if error.is_some_and(DatabaseError::is_unique_violation) {
        return attempt(Contradictions::Skip).await;
    }
    outcome
}

/// Matches until no pair is left, one transaction per [`MATCH_ROWS`] pairs. Returns the number of
/// pairs.
async fn match_all(
    pool: &PgPool,
    times: &DeliveryTimes,
    mut cursor: MatchCursor,
    metrics: &DispatchMetrics,
) -> Result<usize, sqlx::Error> {
    let mut matched = 0;
    loop {
        let matches = match_pairs(pool, times, cursor).await?;
        failpoint::async_point("matched").await;
        // The match has applied `cursor` to the stored cursor. END: the next match does not move
        // the stored cursor back.
        cursor = MatchCursor::END;
        matched += matches.len();
        metrics.count(&matches);
        for one in &matches {
            tracing::debug!(
                order.id = one.order_id,
                courier.id = one.courier_id,
                "assigned an order"
            );
        }
        // Fewer pairs than the limit: no pair is left except with rows that another transaction has
        // locked, and that transaction causes a wake-up when it ends.
        if matches.len() < MATCH_ROWS {
            return Ok(matched);
        }
    }
}
