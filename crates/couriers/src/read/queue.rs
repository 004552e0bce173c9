//! The orders without a courier: those that wait for one, are held, or were released.

use std::str::FromStr;

use sqlx::PgConnection;
use time::OffsetDateTime;

use super::figures::{CourierCounts, count_couriers, count_orders};
use crate::delivery::WaitReason;

/// The orders of a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueueState {
    Waiting,
    Held,
    Released,
}

impl QueueState {
    /// Returns the word in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Held => "held",
            Self::Released => "released",
        }
    }
}

impl FromStr for QueueState {
    type Err = &'static str;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        let all = [Self::Waiting, Self::Held, Self::Released];
        all.into_iter().find(|one| one.as_str() == word).ok_or("must be waiting, held or released")
    }
}

/// An order without a courier.
#[derive(Debug, Clone, PartialEq)]
pub struct Queued {
    pub order_id: String,
    /// The place among the waiting orders, from 1; `None` if the order does not wait.
    pub position: Option<i64>,
    /// The time from which it is in this list: its place in the queue, for a held order too, or its
    /// release.
    pub since: OffsetDateTime,
    pub state: QueueState,
    pub held_at: Option<OffsetDateTime>,
    /// The time since then, by the database's clock.
    pub age_seconds: f64,
    pub reason: WaitReason,
}

/// The first orders of the queue, and the number of all.
#[derive(Debug, Clone, PartialEq)]
pub struct Queue {
    pub waiting: i64,
    pub held: i64,
    pub released: i64,
    /// The waiting orders, oldest first, then the held ones; or the released ones.
    pub orders: Vec<Queued>,
}

/// Returns the queue, with at most `limit` waiting and as many held orders, or only those of `state`.
/// The caller passes a
/// [`snapshot`](chassis::postgres::read::snapshot), so that the several queries agree.
pub async fn queue(
    connection: &mut PgConnection,
    state: Option<QueueState>,
    limit: i64,
) -> Result<Queue, sqlx::Error> {
    let counts = count_orders(&mut *connection).await?;
    let reason = find_wait_reason(&mut *connection).await?;
    let rows = list_queue(connection, state, limit).await?;
    // The rows begin with the waiting orders in the order of the queue, so the index of a waiting
    // order is its place. The snapshot guarantees that the counts and the reason belong to the same
    // state.
    let orders = (1..).zip(rows).map(|(place, row)| {
        let (state, reason) = match (row.is_released, row.held_at) {
            (true, _) => (QueueState::Released, WaitReason::Released),
            (false, Some(_)) => (QueueState::Held, WaitReason::HeldManually),
            (false, None) => (QueueState::Waiting, reason),
        };
        Queued {
            order_id: row.order_id,
            position: (state == QueueState::Waiting).then_some(place),
            since: row.since,
            state,
            held_at: row.held_at,
            age_seconds: row.age_seconds.max(0.0),
            reason,
        }
    });
    let orders = orders.collect();
    Ok(Queue { waiting: counts.waiting, held: counts.held, released: counts.released, orders })
}

struct QueuedRow {
    order_id: String,
    since: OffsetDateTime,
    is_released: bool,
    held_at: Option<OffsetDateTime>,
    age_seconds: f64,
}

/// Returns the waiting orders, then the held ones, or only those of `state`; at most `limit` of each.
async fn list_queue(
    connection: &mut PgConnection,
    state: Option<QueueState>,
    limit: i64,
) -> Result<Vec<QueuedRow>, sqlx::Error> {
    sqlx::query_as!(
        QueuedRow,
        r#"-- list_queue
        SELECT order_id AS "order_id!", since AS "since!", is_released AS "is_released!", held_at,
            extract(epoch FROM clock_timestamp() - since)::double precision AS "age_seconds!"
        FROM (
            (SELECT order_id, waiting_since AS since, false AS is_released, held_at
                FROM couriers.order_states
                WHERE coalesce($1::text, 'waiting') = 'waiting'
                    AND waiting_since IS NOT NULL AND held_at IS NULL
                ORDER BY waiting_since, order_id LIMIT $2)
            UNION ALL
            (SELECT order_id, waiting_since, false, held_at FROM couriers.order_states
                WHERE coalesce($1, 'held') = 'held' AND held_at IS NOT NULL
                ORDER BY held_at, order_id LIMIT $2)
            UNION ALL
            (SELECT order_id, released_at, true, NULL FROM couriers.courier_orders
                WHERE $1 = 'released' AND released_at IS NOT NULL AND completed_at IS NULL
                ORDER BY released_at, order_id LIMIT $2)
        ) AS queue
        ORDER BY held_at NULLS FIRST, CASE WHEN held_at IS NULL THEN since END, order_id"#,
        state.map(QueueState::as_str),
        limit,
    )
    .fetch_all(connection)
    .await
}

/// Returns the reason why a waiting order has no courier.
pub(super) async fn find_wait_reason(
    connection: &mut PgConnection,
) -> Result<WaitReason, sqlx::Error> {
    Ok(match count_couriers(connection).await? {
        CourierCounts { available: 1.., .. } => WaitReason::InTurn,
        CourierCounts { busy: 1.., .. } => WaitReason::AllBusy,
        CourierCounts { paused: 1.., .. } => WaitReason::AllPaused,
        _ => WaitReason::NoCouriers,
    })
}
