//! Dispatch: waiting orders are matched with available couriers, and overdue deliveries released.
//!
//! ```text
//! event, manual action, new or resumed courier ─commit─▶ wake ─▶ match ──────┐ until no pair is left
//!                                                        sweep ─▶ release ─▶ match
//! ```
//!
//! Each match and each release is one SQL statement, in `statements`; the Rust around it is a loop.

mod match_cursor;
mod metrics;
mod statements;
mod wake;

pub use match_cursor::MatchCursor;
pub use metrics::DispatchMetrics;
pub use statements::{MATCH_ROWS, Match, match_orders, release_overdue};
pub use wake::Wake;

pub(crate) use statements::lock_match;

use std::time::Duration;

use chassis::{postgres::transaction::transact, process::retry::Backoff};
use sqlx::PgPool;
use tokio::time::{Interval, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use crate::delivery::DeliveryTimes;

const MEASURE_INTERVAL: Duration = Duration::from_secs(5);

/// The configuration of dispatch.
#[derive(Debug, Clone, Copy)]
pub struct Policy {
    pub times: DeliveryTimes,
    /// The time after its deadline at which a delivery is released.
    pub grace: Duration,
    /// The interval between sweeps.
    pub sweep: Duration,
}

// The states are rows in the database; the loop below has no state but its cursor and its backoff.
//
//   waiting ──match──────────▶ active ──`completed`──▶ completed: the delivery stays and counts
//   held ─────manual assign──▶    │   ──`cancelled`──▶ ended without a delivery, for good
//     ▲                           │   ──sweep────────▶ released: deadline and grace period have passed
//     └───────manual unassign─────┘
//
// A courier is available, busy while they have an active delivery, or paused. A match needs a waiting
// order and an available courier, so only these changes make one possible: an order joins the queue,
// or a courier is added, freed or resumed. The code that commits such a change wakes the loop after
// the commit, because a match that began before it would not see the change. A transaction that only
// locked such a row wakes the loop too, because a match skips locked rows and does not return to them.
//
// A wake-up during a match is kept (see `Wake`) and causes another match. Each replica wakes its own
// loop. If a replica crashes between its commit and the wake-up, the sweep of another replica, which
// looks at both queues from their start, matches what it left. So an order is never lost because no
// courier is available: it waits in its row.

/// Matches and sweeps until `shutdown`, and calls `on_matched` after each match that was requested by
/// a wake-up. Errors are retried without limit.
pub async fn run(
    pool: &PgPool,
    policy: Policy,
    wake: &Wake,
    metrics: &DispatchMetrics,
    on_matched: impl Fn(),
    shutdown: CancellationToken,
) {
    let mut sweeps = interval(policy.sweep);
    let mut measurements = interval(MEASURE_INTERVAL);
    let mut backoff = Backoff::default();
    loop {
        let outcome = tokio::select! {
            () = shutdown.cancelled() => return,
            cursor = wake.woken() => {
                match_all(pool, &policy.times, cursor, metrics).await.inspect(|()| on_matched())
            }
            _ = sweeps.tick() => sweep(pool, &policy, metrics).await,
            _ = measurements.tick() => metrics.measure_queue(pool).await,
        };
        match outcome {
            Ok(()) => {
                if !backoff.is_first() {
                    tracing::info!("PostgreSQL lets orders be dispatched again");
                }
                backoff = Backoff::default();
            }
            Err(error) => {
                if backoff.is_first() {
                    tracing::warn!("waiting for PostgreSQL to dispatch orders: {error}");
                }
                // The cursor of a failed match is not kept: the next sweep looks from the start.
                shutdown.run_until_cancelled(backoff.pause()).await;
            }
        }
    }
}

fn interval(period: Duration) -> Interval {
    let mut interval = tokio::time::interval(period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}

/// Releases overdue deliveries, then matches the whole of both queues.
async fn sweep(
    pool: &PgPool,
    policy: &Policy,
    metrics: &DispatchMetrics,
) -> Result<(), sqlx::Error> {
    loop {
        let released =
            transact(pool, async |connection| release_overdue(connection, policy.grace).await)
                .await?;
        metrics.released.inc_by(released as u64);
        if released < MATCH_ROWS {
            break;
        }
    }
    match_all(pool, &policy.times, MatchCursor::START, metrics).await
}

/// Matches until no pair is left, one transaction per [`MATCH_ROWS`] pairs.
async fn match_all(
    pool: &PgPool,
    times: &DeliveryTimes,
    mut cursor: MatchCursor,
    metrics: &DispatchMetrics,
) -> Result<(), sqlx::Error> {
    loop {
        let matches =
            transact(pool, async |connection| match_orders(connection, times, cursor).await)
                .await?;
        // The database has the cursor now, and no entry is new to the next turn.
        cursor = MatchCursor::END;
        metrics.count(&matches);
        for one in &matches {
            tracing::debug!(
                order.id = one.order_id,
                courier.id = one.courier_id,
                "assigned an order"
            );
        }
        if matches.len() < MATCH_ROWS {
            return Ok(());
        }
    }
}
