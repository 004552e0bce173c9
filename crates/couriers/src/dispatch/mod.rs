//! Dispatch: orders that wait are matched with couriers who are free.
//!
//! ```text
//! an event, a hand, a new or resumed courier ─commit─▶ wake ─┐
//!                                                    sweep ──┴▶ match, until there is no pair left
//! ```
//!
//! The match itself is one statement, `queries/match.sql`; the Rust around it is a loop. One matcher
//! at a time per database: two at once would each skip what the other has locked, and so could
//! leave a pair unmatched.

use std::{
    sync::{Arc, Mutex, PoisonError, atomic::AtomicU64},
    time::Duration,
};

use chassis::{postgres::transaction::transact, process::retry::Backoff};
use prometheus_client::metrics::{
    counter::Counter,
    gauge::Gauge,
    histogram::{Histogram, exponential_buckets},
};
use sqlx::{PgConnection, PgPool};
use time::{OffsetDateTime, macros::datetime};
use tokio::{sync::Notify, time::MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use crate::delivery::DeliveryTimes;

/// The most pairs, or releases, of one transaction: as the two statements have it.
pub const MATCH_ROWS: i64 = 2_000;
/// How often the queue is measured.
const MEASURE: Duration = Duration::from_secs(5);

/// How early in the two lines somebody may stand whom no match has seen yet: an order in the line of
/// those that wait, by the time since when, and a courier in the line of those who are available, by
/// his deliveries. The database keeps before which places nobody stands; a match begins there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Front {
    /// Since when an order waits.
    pub waiting_since: OffsetDateTime,
    /// How many deliveries a courier has had.
    pub deliveries: i64,
}

impl Front {
    /// Anywhere.
    pub const START: Self = Self { waiting_since: OffsetDateTime::UNIX_EPOCH, deliveries: 0 };
    /// Nowhere: nobody is new.
    pub const END: Self =
        Self { waiting_since: datetime!(9999-01-01 0:00 UTC), deliveries: i64::MAX };

    /// The earlier of each.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            waiting_since: self.waiting_since.min(other.waiting_since),
            deliveries: self.deliveries.min(other.deliveries),
        }
    }
}

/// Wakes dispatch. To be called after each commit that could make a match, and also after a
/// transaction that merely locked a waiting order or a courier, for a matcher may have skipped it.
#[derive(Debug, Clone)]
pub struct Wake(Arc<(Notify, Mutex<Front>)>);

impl Default for Wake {
    fn default() -> Self {
        Self(Arc::new((Notify::new(), Mutex::new(Front::END))))
    }
}

impl Wake {
    /// Something has happened, and whoever is new stands at `front` or behind it. Never lost:
    /// dispatch looks again even if it is at work.
    pub fn wake(&self, front: Front) {
        let (notify, so_far) = &*self.0;
        let mut so_far = so_far.lock().unwrap_or_else(PoisonError::into_inner);
        *so_far = so_far.and(front);
        notify.notify_one();
    }

    /// Waits until something has happened.
    async fn woken(&self) -> Front {
        let (notify, so_far) = &*self.0;
        notify.notified().await;
        std::mem::replace(&mut *so_far.lock().unwrap_or_else(PoisonError::into_inner), Front::END)
    }
}

chassis::metrics! {
    pub struct Metrics {
        /// Orders given to couriers by dispatch
        assigned: Counter = "waybill_deliveries_assigned",
        /// Couriers freed long after a deadline
        released: Counter = "waybill_deliveries_released",
        /// From an order's created event to its courier, seconds
        wait_seconds: Histogram = "waybill_order_wait_seconds"
            from Histogram::new(exponential_buckets(0.005, 2.5, 14)),
        /// Orders that wait for a courier
        waiting: Gauge = "waybill_orders_waiting",
        /// How long the first of the queue has waited, seconds
        oldest_wait_seconds: Gauge<f64, AtomicU64> = "waybill_oldest_wait_seconds",
    }
}

/// How to dispatch.
#[derive(Debug, Clone, Copy)]
pub struct Policy {
    /// How long deliveries may take.
    pub times: DeliveryTimes,
    /// So long after its deadline a delivery no longer binds its courier.
    pub grace: Duration,
    /// How often to look though nothing has happened.
    pub sweep: Duration,
}

/// An order that was given to a courier.
#[derive(Debug, Clone, PartialEq)]
pub struct Match {
    /// The order.
    pub order_id: String,
    /// The courier.
    pub courier_id: i64,
    /// How long the order had waited; below zero if Kafka's clock is ahead of the database's.
    pub waited_seconds: f64,
}

/// Runs until `shutdown`, and calls `matched` whenever it was woken and has matched what there was
/// to match. The weather is waited out.
pub async fn run(
    pool: &PgPool,
    policy: Policy,
    wake: &Wake,
    metrics: &Metrics,
    matched: impl Fn(),
    shutdown: CancellationToken,
) {
    let mut sweep = tokio::time::interval(policy.sweep);
    sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut measure = tokio::time::interval(MEASURE);
    measure.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut backoff = Backoff::default();
    loop {
        let done = tokio::select! {
            () = shutdown.cancelled() => return,
            front = wake.woken() => {
                match_all(pool, &policy.times, front, metrics).await.inspect(|()| matched())
            }
            _ = sweep.tick() => look_again(pool, &policy, metrics).await,
            _ = measure.tick() => measure_queue(pool, metrics).await,
        };
        match done {
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
                // What was to be done now is done by a sweep.
                shutdown.run_until_cancelled(backoff.pause()).await;
            }
        }
    }
}

/// What no event tells: couriers whose delivery is long overdue, and whatever was missed.
async fn look_again(pool: &PgPool, policy: &Policy, metrics: &Metrics) -> Result<(), sqlx::Error> {
    loop {
        let released =
            transact(pool, async |connection| release_overdue(connection, policy.grace).await)
                .await?;
        metrics.released.inc_by(released);
        if released < MATCH_ROWS as u64 {
            break;
        }
    }
    match_all(pool, &policy.times, Front::START, metrics).await
}

async fn match_all(
    pool: &PgPool,
    times: &DeliveryTimes,
    mut front: Front,
    metrics: &Metrics,
) -> Result<(), sqlx::Error> {
    loop {
        let matches =
            transact(pool, async |connection| match_orders(connection, times, front).await).await?;
        front = Front::END;
        for one in &matches {
            metrics.assigned.inc();
            metrics.wait_seconds.observe(one.waited_seconds.max(0.0));
            tracing::debug!(
                order.id = one.order_id,
                courier.id = one.courier_id,
                "assigned an order"
            );
        }
        if (matches.len() as i64) < MATCH_ROWS {
            return Ok(());
        }
    }
}

/// Waits until nobody else matches, until the end of this transaction. A statement of its own: the
/// one that matches must see all that was committed until then.
pub(crate) async fn take_turn(transaction: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "-- take_turn\n\
         SELECT pg_advisory_xact_lock(hashtextextended('couriers.dispatch', 0)) AS turn"
    )
    .fetch_one(transaction)
    .await?;
    Ok(())
}

/// Matches up to [`MATCH_ROWS`] waiting orders, oldest first, with as many couriers, within a
/// transaction. If there are fewer pairs than that, none is left. `front` tells where somebody new
/// may stand.
pub async fn match_orders(
    transaction: &mut PgConnection,
    times: &DeliveryTimes,
    front: Front,
) -> Result<Vec<Match>, sqlx::Error> {
    take_turn(&mut *transaction).await?;
    sqlx::query_file_as!(
        Match,
        "queries/match.sql",
        times.on_foot.as_secs_f64(),
        times.scooter.as_secs_f64(),
        times.car.as_secs_f64(),
        (front.waiting_since.unix_timestamp_nanos() / 1_000) as i64,
        front.deliveries,
    )
    .fetch_all(transaction)
    .await
}

/// Frees up to [`MATCH_ROWS`] couriers whose delivery nobody has completed `grace` after its
/// deadline, within a transaction, and tells how many.
pub async fn release_overdue(
    transaction: &mut PgConnection,
    grace: Duration,
) -> Result<u64, sqlx::Error> {
    let released = sqlx::query_file!("queries/release_overdue.sql", grace.as_secs_f64())
        .fetch_all(transaction)
        .await?;
    for delivery in &released {
        tracing::info!(
            order.id = delivery.order_id,
            courier.id = delivery.courier_id,
            "freed a courier: his delivery is long overdue"
        );
    }
    Ok(released.len() as u64)
}

async fn measure_queue(pool: &PgPool, metrics: &Metrics) -> Result<(), sqlx::Error> {
    let queue = sqlx::query!(
        "-- measure_queue\n\
         SELECT count(*) AS \"waiting!\", \
             coalesce(extract(epoch FROM now() - min(waiting_since)), 0)::double precision AS \"oldest!\" \
         FROM couriers.order_states WHERE waiting_since IS NOT NULL AND held_at IS NULL"
    )
    .fetch_one(pool)
    .await?;
    metrics.waiting.set(queue.waiting);
    metrics.oldest_wait_seconds.set(queue.oldest.max(0.0));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn wake_ups_that_nobody_waited_for_are_one_with_the_earliest_front() {
        let wake = Wake::default();
        let (early, late) = (datetime!(2026-01-01 0:00 UTC), datetime!(2026-01-02 0:00 UTC));
        wake.wake(Front { waiting_since: late, deliveries: 3 });
        wake.wake(Front { waiting_since: early, deliveries: 7 });
        assert_eq!(wake.woken().await, Front { waiting_since: early, deliveries: 3 });
        wake.wake(Front::END);
        assert_eq!(wake.woken().await, Front::END);
    }
}
