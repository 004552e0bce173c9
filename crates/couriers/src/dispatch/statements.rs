//! The statements of dispatch, and the lock of the match. Each runs in the caller's
//! transaction.

use std::time::Duration;

use chassis::postgres::{read::read, time_limit::BACKGROUND};
use sqlx::{PgConnection, PgPool};
use time::OffsetDateTime;

use crate::{delivery::DeliveryTimes, dispatch::MatchCursor};

/// The maximum number of pairs per match, and of deliveries per release. The statements contain the
/// same number as a constant.
pub const MATCH_ROWS: usize = 2_000;

/// An order that was assigned to a courier.
#[derive(Debug, Clone, PartialEq)]
pub struct Match {
    pub order_id: String,
    pub courier_id: i64,
    /// The time that the order waited; below zero if Kafka's clock is ahead of the database's
    /// clock.
    pub waited_seconds: f64,
}

/// The treatment of rows that contradict each other: an order that waits and has a delivery, and a
/// courier who is available and carries an order. The service never writes such rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Contradictions {
    /// They are not looked for, which is faster. A pair with such a row violates a unique index, and
    /// the match fails.
    Fail,
    /// They are looked for, and skipped.
    Skip,
}

/// Waits until no other transaction matches, and keeps all others from matching until this
/// transaction ends.
///
/// This is a separate statement: under READ COMMITTED each statement has a new snapshot, so the
/// statement that matches sees all that was committed while this one waited for the lock.
// The lock belongs to the transaction: PostgreSQL releases it at the commit, at a rollback, and
// when the connection is lost. So a replica that crashes during a match does not block the others.
pub(crate) async fn lock_match(transaction: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "-- lock_match\n\
         SELECT pg_advisory_xact_lock(hashtextextended('couriers.dispatch', 0)) AS turn"
    )
    .fetch_one(transaction)
    .await?;
    Ok(())
}

/// Matches up to [`MATCH_ROWS`] waiting orders, oldest first, with the same number of available
/// couriers. If it returns fewer pairs than that, no pair of unlocked rows is left. New entries of
/// the queues are at `cursor` or after it.
pub(super) async fn match_orders(
    transaction: &mut PgConnection,
    times: &DeliveryTimes,
    cursor: MatchCursor,
    contradictions: Contradictions,
) -> Result<Vec<Match>, sqlx::Error> {
    // One matcher at a time: the statement skips locked rows, so two at once would each skip the
    // rows of the other and could leave a pair unmatched.
    lock_match(&mut *transaction).await?;
    let mut matches = match_requeued(&mut *transaction, times).await?;
    let others = sqlx::query_file_as!(
        Match,
        "queries/match.sql",
        times.on_foot.as_secs_f64(),
        times.scooter.as_secs_f64(),
        times.car.as_secs_f64(),
        (cursor.waiting_since.unix_timestamp_nanos() / 1_000) as i64,
        cursor.deliveries,
        contradictions == Contradictions::Skip,
    )
    .fetch_all(transaction)
    .await?;
    matches.extend(others);
    Ok(matches)
}

/// Matches orders that were queued again, oldest first, each with the first available courier other
/// than the one it was taken from.
// They come before the other orders: such an order has waited since it was created, so almost always
// the others are newer. There are few of them, so each may take a statement.
async fn match_requeued(
    transaction: &mut PgConnection,
    times: &DeliveryTimes,
) -> Result<Vec<Match>, sqlx::Error> {
    let requeued = sqlx::query!(
        r#"-- find_requeued
        SELECT order_id, taken_from AS "taken_from!" FROM couriers.order_states
        WHERE waiting_since IS NOT NULL AND held_at IS NULL AND taken_from IS NOT NULL
        ORDER BY waiting_since, order_id LIMIT 1000
        FOR NO KEY UPDATE SKIP LOCKED"#
    )
    .fetch_all(&mut *transaction)
    .await?;
    let mut matches = Vec::new();
    let mut only_free = None;
    for order in requeued {
        // No other courier than this one is free, if any is.
        if only_free == Some(order.taken_from) {
            continue;
        }
        let row = sqlx::query_file!(
            "queries/assign.sql",
            order.order_id,
            times.on_foot.as_secs_f64(),
            times.scooter.as_secs_f64(),
            times.car.as_secs_f64(),
            None::<&str>,
            Some(order.taken_from),
            false,
        )
        .fetch_optional(&mut *transaction)
        .await?;
        match row {
            Some(row) => matches.push(Match {
                order_id: order.order_id,
                courier_id: row.courier_id,
                waited_seconds: row.waited_seconds,
            }),
            // Two failures with different exceptions: no courier is free.
            None if only_free.is_some() => break,
            None => only_free = Some(order.taken_from),
        }
    }
    Ok(matches)
}

/// The deliveries that are due for release.
pub(super) struct Due {
    /// The time of the count, by the database's clock.
    pub(super) at: OffsetDateTime,
    pub(super) deliveries: i64,
}

/// Counts the overdue deliveries that are not completed `grace` after their deadline.
pub(super) async fn count_due(pool: &PgPool, grace: Duration) -> Result<Due, sqlx::Error> {
    read(pool, BACKGROUND, async |connection| {
        sqlx::query_as!(
            Due,
            "-- count_due\n\
         SELECT now() AS \"at!\", count(*) AS \"deliveries!\" FROM couriers.active_deliveries \
         WHERE overdue_at IS NOT NULL AND deadline < now() - make_interval(secs => $1)",
            grace.as_secs_f64(),
        )
        .fetch_one(connection)
        .await
    })
    .await
}

/// Notes up to [`MATCH_ROWS`] active deliveries as overdue, each once. Returns their number.
pub async fn mark_overdue(transaction: &mut PgConnection) -> Result<usize, sqlx::Error> {
    let marked = sqlx::query_file!("queries/mark_overdue.sql").fetch_all(transaction).await?;
    Ok(marked.len())
}

/// Queues released orders again, each at most twice, and returns the number of those that are queued.
/// The orders were released in this transaction.
pub async fn requeue(
    transaction: &mut PgConnection,
    released: &[Released],
) -> Result<usize, sqlx::Error> {
    let order_ids: Vec<String> = released.iter().map(|one| one.order_id.clone()).collect();
    let queued =
        sqlx::query_file!("queries/requeue.sql", &order_ids).fetch_all(transaction).await?;
    Ok(queued.len())
}

/// A delivery that was released, and the courier who was freed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Released {
    pub order_id: String,
    pub courier_id: i64,
}

/// Releases up to [`MATCH_ROWS`] overdue deliveries that were not completed `grace` after their
/// deadline at the time `due_before`, and frees their couriers.
// This needs no lock of the match. Two replicas may sweep at the same time: each skips the orders
// whose rows in `order_states` the other has locked, so a delivery is released once.
pub async fn release_overdue(
    transaction: &mut PgConnection,
    grace: Duration,
    due_before: OffsetDateTime,
) -> Result<Vec<Released>, sqlx::Error> {
    sqlx::query_file_as!(Released, "queries/release_overdue.sql", grace.as_secs_f64(), due_before,)
        .fetch_all(transaction)
        .await
}

/// Replaces the rows of `totals` by their sum.
// Rows that another replica has locked are skipped. A row is deleted and added to the sum in one
// statement, so the totals are the same before and after it.
pub(super) async fn fold_totals(transaction: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query_file!("queries/fold_totals.sql").execute(transaction).await?;
    Ok(())
}
