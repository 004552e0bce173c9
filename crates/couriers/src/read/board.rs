//! The content of the board, read in one snapshot.

use chassis::postgres::{read::snapshot, time_limit::LIST};
use sqlx::{PgConnection, PgPool};
use time::OffsetDateTime;

use super::{
    delivery::AssignmentRow,
    figures::{CourierCounts, Statistics, count_couriers, statistics},
    queue::{Queue, queue},
};
use crate::{
    delivery::{Assignment, courier::Courier},
    store::CourierRow,
};

/// A courier, and the delivery that they carry, if any.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CourierOnBoard {
    pub courier: Courier,
    pub order_id: Option<String>,
    pub assignment: Option<Assignment>,
}

/// The content of the board: all of it is from one snapshot of the database.
#[derive(Debug, Clone, PartialEq)]
pub struct Board {
    /// The time at which the transaction of the snapshot began, by the database's clock.
    pub at: OffsetDateTime,
    pub counts: CourierCounts,
    pub statistics: Statistics,
    pub queue: Queue,
    /// The couriers who carry an order, earliest deadline first, then the available couriers, then
    /// the paused ones.
    pub couriers: Vec<CourierOnBoard>,
}

/// Returns the board with at most `rows` couriers who carry an order, `rows` who do not, `rows`
/// waiting orders and `rows` held orders.
pub async fn board(pool: &PgPool, rows: i64) -> Result<Board, sqlx::Error> {
    snapshot(pool, LIST, async |snapshot| {
        let counts = count_couriers(snapshot).await?;
        let statistics = statistics(snapshot).await?;
        let queue = queue(snapshot, None, rows).await?;
        let mut couriers = list_carrying(snapshot, rows).await?;
        couriers.extend(list_idle(snapshot, rows).await?);
        // `now()` is the time at which the transaction began, and the snapshot is not older. So
        // everything that was committed before `at` is on the board.
        let at = sqlx::query_scalar!(r#"SELECT now() AS "now!""#).fetch_one(snapshot).await?;
        Ok(Board { at, counts, statistics, queue, couriers })
    })
    .await
}

async fn list_carrying(
    connection: &mut PgConnection,
    limit: i64,
) -> Result<Vec<CourierOnBoard>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"-- list_carrying
        SELECT courier.id, name, phone, courier.transport_type, status, deliveries, completed,
            (SELECT on_time FROM couriers.courier_figures AS figures WHERE figures.id = courier.id)
                AS "on_time!",
            created_at, delivery.order_id AS "order_id!",
            delivery.transport_type AS "used_transport_type!", assigned_at AS "assigned_at!",
            deadline AS "deadline!", by_hand AS "by_hand!"
        FROM (
            -- Each part is the first rows of an index. A delivery that is noted as overdue comes
            -- before the others.
            (SELECT * FROM couriers.active_deliveries WHERE overdue_at IS NOT NULL
                ORDER BY deadline LIMIT $1)
            UNION ALL
            (SELECT * FROM couriers.active_deliveries WHERE overdue_at IS NULL
                ORDER BY deadline LIMIT $1)
        ) AS delivery
        JOIN couriers.couriers AS courier ON courier.id = courier_id
        ORDER BY deadline LIMIT $1"#,
        limit,
    )
    .fetch_all(connection)
    .await?;
    let on_board = rows.into_iter().map(|row| {
        let assignment = Assignment::try_from(AssignmentRow {
            courier_id: row.id,
            transport_type: row.used_transport_type,
            assigned_at: row.assigned_at,
            deadline: row.deadline,
            by_hand: row.by_hand,
            completed_at: None,
            released_at: None,
        })?;
        let courier = Courier::try_from(CourierRow {
            id: row.id,
            name: row.name,
            phone: row.phone,
            transport_type: row.transport_type,
            status: row.status,
            deliveries: row.deliveries,
            completed: row.completed,
            on_time: row.on_time,
            created_at: row.created_at,
        })?;
        Ok(CourierOnBoard { courier, order_id: Some(row.order_id), assignment: Some(assignment) })
    });
    on_board.collect()
}

async fn list_idle(
    connection: &mut PgConnection,
    limit: i64,
) -> Result<Vec<CourierOnBoard>, sqlx::Error> {
    let rows = sqlx::query_as!(
        CourierRow,
        "-- list_idle\n\
         SELECT id, name, phone, transport_type, status, deliveries, completed, \
             (SELECT on_time FROM couriers.courier_figures AS figures WHERE figures.id = courier.id) \
                 AS \"on_time!\", \
             created_at \
         FROM couriers.couriers AS courier \
         WHERE status IN ('available', 'paused') \
             AND NOT EXISTS (SELECT FROM couriers.active_deliveries WHERE courier_id = courier.id) \
         ORDER BY status, deliveries, free_since, id LIMIT $1",
        limit,
    )
    .fetch_all(connection)
    .await?;
    let on_board = rows.into_iter().map(|row| {
        Ok(CourierOnBoard { courier: row.try_into()?, order_id: None, assignment: None })
    });
    on_board.collect()
}
