//! The two statements of dispatch, each within the caller's transaction.

use std::time::Duration;

use sqlx::PgConnection;

use crate::{delivery::DeliveryTimes, dispatch::MatchCursor};

/// The most pairs of one match, and the most releases of one sweep, as the two statements have it.
pub const MATCH_ROWS: usize = 2_000;

/// An order that was assigned to a courier.
#[derive(Debug, Clone, PartialEq)]
pub struct Match {
    pub order_id: String,
    pub courier_id: i64,
    /// The order's wait; below zero if Kafka's clock is ahead of the database's.
    pub waited_seconds: f64,
}

/// Waits until no other transaction matches, and keeps all others from matching until this
/// transaction ends.
///
/// This is a statement of its own: under READ COMMITTED each statement has a new snapshot, so the
/// statement that matches sees all that was committed while this one waited for the lock.
pub(crate) async fn lock_match(transaction: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "-- lock_match\n\
         SELECT pg_advisory_xact_lock(hashtextextended('couriers.dispatch', 0)) AS turn"
    )
    .fetch_one(transaction)
    .await?;
    Ok(())
}

/// Matches up to [`MATCH_ROWS`] waiting orders, oldest first, with as many available couriers. After
/// fewer pairs than that, none is left. New entries of the queues are at `cursor` or behind it.
pub async fn match_orders(
    transaction: &mut PgConnection,
    times: &DeliveryTimes,
    cursor: MatchCursor,
) -> Result<Vec<Match>, sqlx::Error> {
    // One matcher at a time: the statement skips locked rows, so two at once would each skip the
    // rows of the other and could leave a pair unmatched.
    lock_match(&mut *transaction).await?;
    sqlx::query_file_as!(
        Match,
        "queries/match.sql",
        times.on_foot.as_secs_f64(),
        times.scooter.as_secs_f64(),
        times.car.as_secs_f64(),
        (cursor.waiting_since.unix_timestamp_nanos() / 1_000) as i64,
        cursor.deliveries,
    )
    .fetch_all(transaction)
    .await
}

/// Releases up to [`MATCH_ROWS`] deliveries that are not completed `grace` after their deadline, and
/// frees their couriers. Returns the number of released deliveries.
pub async fn release_overdue(
    transaction: &mut PgConnection,
    grace: Duration,
) -> Result<usize, sqlx::Error> {
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
    Ok(released.len())
}
