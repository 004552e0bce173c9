//! The orders that wait for a courier, or are held.

use sqlx::PgConnection;
use time::OffsetDateTime;

use crate::delivery::WaitReason;

/// An order that waits for a courier, or is held.
#[derive(Debug, Clone, PartialEq)]
pub struct Queued {
    pub order_id: String,
    /// The place among the waiting orders, from 1; `None` if the order is held.
    pub position: Option<i64>,
    pub waiting_since: OffsetDateTime,
    pub held_at: Option<OffsetDateTime>,
    /// The time that the order has waited, by the database's clock.
    pub age_seconds: f64,
    pub reason: WaitReason,
}

/// The first orders of the queue, and the number of all.
#[derive(Debug, Clone, PartialEq)]
pub struct Queue {
    pub waiting: i64,
    pub held: i64,
    /// The waiting orders, oldest first, then the held ones.
    pub orders: Vec<Queued>,
}

/// Returns the queue, with at most `limit` waiting and as many held orders. The caller passes a
/// [`snapshot`](chassis::postgres::read::snapshot), so that the several queries agree.
pub async fn queue(connection: &mut PgConnection, limit: i64) -> Result<Queue, sqlx::Error> {
    let counts = sqlx::query!(
        r#"-- count_queue
        SELECT
            (SELECT count(*) FROM couriers.order_states
                WHERE waiting_since IS NOT NULL AND held_at IS NULL) AS "waiting!",
            (SELECT count(*) FROM couriers.order_states WHERE held_at IS NOT NULL) AS "held!""#
    )
    .fetch_one(&mut *connection)
    .await?;
    let reason = find_wait_reason(&mut *connection).await?;
    let rows = list_queue(connection, limit).await?;
    // The rows begin with the waiting orders in the order of the queue, so the index of a waiting
    // order is its place. The snapshot guarantees that the counts and the reason belong to the same
    // state.
    let orders = (1..).zip(rows).map(|(place, row)| Queued {
        order_id: row.order_id,
        position: row.held_at.is_none().then_some(place),
        waiting_since: row.waiting_since,
        held_at: row.held_at,
        age_seconds: row.age_seconds.max(0.0),
        reason: row.held_at.map_or(reason, |_| WaitReason::HeldManually),
    });
    Ok(Queue { waiting: counts.waiting, held: counts.held, orders: orders.collect() })
}

struct QueuedRow {
    order_id: String,
    waiting_since: OffsetDateTime,
    held_at: Option<OffsetDateTime>,
    age_seconds: f64,
}

/// Returns the waiting orders, then the held ones, at most `limit` of each.
async fn list_queue(
    connection: &mut PgConnection,
    limit: i64,
) -> Result<Vec<QueuedRow>, sqlx::Error> {
    sqlx::query_as!(
        QueuedRow,
        r#"-- list_queue
        SELECT order_id AS "order_id!", waiting_since AS "waiting_since!", held_at,
            extract(epoch FROM clock_timestamp() - waiting_since)::double precision AS "age_seconds!"
        FROM (
            (SELECT order_id, waiting_since, held_at FROM couriers.order_states
                WHERE waiting_since IS NOT NULL AND held_at IS NULL
                ORDER BY waiting_since, order_id LIMIT $1)
            UNION ALL
            (SELECT order_id, waiting_since, held_at FROM couriers.order_states
                WHERE held_at IS NOT NULL ORDER BY held_at, order_id LIMIT $1)
        ) AS queue
        ORDER BY held_at NULLS FIRST, CASE WHEN held_at IS NULL THEN waiting_since END, order_id"#,
        limit,
    )
    .fetch_all(connection)
    .await
}

/// Returns the reason why a waiting order has no courier.
pub(super) async fn find_wait_reason(
    connection: &mut PgConnection,
) -> Result<WaitReason, sqlx::Error> {
    let there_are = sqlx::query!(
        r#"-- find_wait_reason
        SELECT EXISTS (SELECT FROM couriers.couriers WHERE status = 'available') AS "available!",
            EXISTS (SELECT FROM couriers.couriers WHERE status = 'busy') AS "busy!",
            EXISTS (SELECT FROM couriers.couriers) AS "any!""#
    )
    .fetch_one(connection)
    .await?;
    Ok(match there_are {
        there_are if there_are.available => WaitReason::InTurn,
        there_are if there_are.busy => WaitReason::AllBusy,
        there_are if there_are.any => WaitReason::AllPaused,
        _ => WaitReason::NoCouriers,
    })
}
