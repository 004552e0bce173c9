//! What is asked about deliveries: figures, the queue, one order, and the board that shows it all.
//! Nothing here changes anything.

use std::time::Duration;

use chassis::postgres::pool::snapshot;
use events::{OrderStatus, OrderUid};
use sqlx::{PgConnection, PgPool};
use time::OffsetDateTime;

use crate::{
    delivery::{
        Assignment, Reason, Standing,
        courier::{Courier, CourierId},
    },
    store::{CourierRow, bad_column, status_of},
};

/// Durations are told of deliveries completed within so long.
pub const WINDOW: Duration = Duration::from_secs(24 * 3_600);

/// Figures of one courier, or of all. Cancelled orders, and those taken away by hand, never count.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Statistics {
    /// Orders given to couriers.
    pub deliveries: i64,
    /// Completed ones.
    pub completed: i64,
    /// Completed ones that were in time.
    pub on_time: i64,
    /// Orders that are being carried now.
    pub active: i64,
    /// Those of them whose deadline has passed.
    pub overdue: i64,
    /// Orders that nobody has completed though their courier was freed long after their deadline.
    pub released: i64,
    /// Mean time from the assignment to the completion within [`WINDOW`], seconds.
    pub mean_seconds: Option<f64>,
    /// The time that 95 of 100 of these did not exceed, seconds.
    pub p95_seconds: Option<f64>,
}

impl Statistics {
    /// How many of the completed ones were in time, 0 to 1.
    #[must_use]
    pub fn on_time_share(&self) -> Option<f64> {
        (self.completed > 0).then(|| self.on_time as f64 / self.completed as f64)
    }
}

/// The figures of all couriers; in a [`snapshot`], for they are several questions.
pub async fn statistics(connection: &mut PgConnection) -> Result<Statistics, sqlx::Error> {
    let counters = sqlx::query!(
        r#"-- statistics
        SELECT coalesce(sum(deliveries), 0)::bigint AS "deliveries!",
            coalesce(sum(completed), 0)::bigint AS "completed!",
            coalesce(sum(on_time), 0)::bigint AS "on_time!"
        FROM couriers.couriers"#
    )
    .fetch_one(&mut *connection)
    .await?;
    let active = sqlx::query!(
        r#"-- active_deliveries
        SELECT count(*) AS "active!", count(*) FILTER (WHERE deadline < clock_timestamp()) AS "overdue!"
        FROM couriers.courier_orders WHERE completed_at IS NULL AND released_at IS NULL"#
    )
    .fetch_one(&mut *connection)
    .await?;
    let released = sqlx::query_scalar!(
        r#"-- released_deliveries
        SELECT count(*) AS "released!" FROM couriers.courier_orders
        WHERE released_at IS NOT NULL AND completed_at IS NULL"#
    )
    .fetch_one(&mut *connection)
    .await?;
    let durations = sqlx::query!(
        r#"-- durations
        SELECT avg(seconds) AS mean, percentile_cont(0.95) WITHIN GROUP (ORDER BY seconds) AS p95
        FROM (
            -- A backlog may have completed an order, by Kafka's clock, before it was assigned.
            SELECT greatest(extract(epoch FROM completed_at - assigned_at), 0)::double precision AS seconds
            FROM couriers.courier_orders
            WHERE completed_at > now() - make_interval(secs => $1)
        ) AS recent"#,
        WINDOW.as_secs_f64(),
    )
    .fetch_one(&mut *connection)
    .await?;
    Ok(Statistics {
        deliveries: counters.deliveries,
        completed: counters.completed,
        on_time: counters.on_time,
        active: active.active,
        overdue: active.overdue,
        released,
        mean_seconds: durations.mean,
        p95_seconds: durations.p95,
    })
}

/// The figures of one courier; in a [`snapshot`]. `None` if there is no such courier.
pub async fn courier_statistics(
    connection: &mut PgConnection,
    id: CourierId,
) -> Result<Option<Statistics>, sqlx::Error> {
    let row = sqlx::query!(
        r#"-- courier_statistics
        SELECT deliveries, completed, on_time,
            (SELECT count(*) FROM couriers.courier_orders
                WHERE courier_id = $1 AND completed_at IS NULL AND released_at IS NULL) AS "active!",
            (SELECT count(*) FROM couriers.courier_orders
                WHERE courier_id = $1 AND completed_at IS NULL AND released_at IS NULL
                AND deadline < clock_timestamp()) AS "overdue!",
            (SELECT count(*) FROM couriers.courier_orders
                WHERE courier_id = $1 AND released_at IS NOT NULL AND completed_at IS NULL) AS "released!",
            recent.mean AS mean, recent.p95 AS p95
        FROM couriers.couriers, (
            SELECT avg(seconds) AS mean, percentile_cont(0.95) WITHIN GROUP (ORDER BY seconds) AS p95
            FROM (
                SELECT greatest(extract(epoch FROM completed_at - assigned_at), 0)::double precision AS seconds
                FROM couriers.courier_orders
                WHERE courier_id = $1 AND completed_at > now() - make_interval(secs => $2)
            ) AS his
        ) AS recent
        WHERE id = $1"#,
        id.get(),
        WINDOW.as_secs_f64(),
    )
    .fetch_optional(connection)
    .await?;
    Ok(row.map(|row| Statistics {
        deliveries: row.deliveries,
        completed: row.completed,
        on_time: row.on_time,
        active: row.active,
        overdue: row.overdue,
        released: row.released,
        mean_seconds: row.mean,
        p95_seconds: row.p95,
    }))
}

/// How many couriers do what.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CourierCounts {
    /// Free.
    pub available: i64,
    /// Carrying.
    pub busy: i64,
    /// Getting no orders.
    pub paused: i64,
}

/// How many couriers do what.
pub async fn count_couriers(connection: &mut PgConnection) -> Result<CourierCounts, sqlx::Error> {
    sqlx::query_as!(
        CourierCounts,
        r#"-- count_couriers
        SELECT count(*) FILTER (WHERE status = 'available') AS "available!",
            count(*) FILTER (WHERE status = 'busy') AS "busy!",
            count(*) FILTER (WHERE status = 'paused') AS "paused!"
        FROM couriers.couriers"#
    )
    .fetch_one(connection)
    .await
}

/// Why whoever waits does so.
async fn reason_to_wait(connection: &mut PgConnection) -> Result<Reason, sqlx::Error> {
    let there_are = sqlx::query!(
        r#"-- reason_to_wait
        SELECT EXISTS (SELECT FROM couriers.couriers WHERE status = 'available') AS "available!",
            EXISTS (SELECT FROM couriers.couriers WHERE status = 'busy') AS "busy!",
            EXISTS (SELECT FROM couriers.couriers) AS "any!""#
    )
    .fetch_one(connection)
    .await?;
    Ok(match there_are {
        there_are if there_are.available => Reason::InTurn,
        there_are if there_are.busy => Reason::AllBusy,
        there_are if there_are.any => Reason::AllPaused,
        _ => Reason::NoCouriers,
    })
}

/// An order that waits for a courier, or is held.
#[derive(Debug, Clone, PartialEq)]
pub struct Queued {
    /// The order.
    pub order_id: String,
    /// Its place among those that wait, from 1; `None` if it is held.
    pub position: Option<i64>,
    /// Since when it waits.
    pub waiting_since: OffsetDateTime,
    /// Since when it is held.
    pub held_at: Option<OffsetDateTime>,
    /// How long it has waited, by the database's clock, seconds.
    pub age_seconds: f64,
    /// Why it has no courier yet.
    pub reason: Reason,
}

/// The front of the queue.
#[derive(Debug, Clone, PartialEq)]
pub struct Queue {
    /// How many wait.
    pub waiting: i64,
    /// How many are held.
    pub held: i64,
    /// Those that wait, oldest first, then those that are held; not more of either than asked for.
    pub orders: Vec<Queued>,
}

/// The queue, with at most `limit` waiting and as many held orders; in a [`snapshot`].
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
    let reason = reason_to_wait(&mut *connection).await?;
    let waiting = sqlx::query!(
        r#"-- list_waiting
        SELECT order_id, waiting_since AS "waiting_since!",
            extract(epoch FROM clock_timestamp() - waiting_since)::double precision AS "age_seconds!"
        FROM couriers.order_states
        WHERE waiting_since IS NOT NULL AND held_at IS NULL
        ORDER BY waiting_since, order_id LIMIT $1"#,
        limit,
    )
    .fetch_all(&mut *connection)
    .await?;
    let held = sqlx::query!(
        r#"-- list_held
        SELECT order_id, waiting_since AS "waiting_since!", held_at,
            extract(epoch FROM clock_timestamp() - waiting_since)::double precision AS "age_seconds!"
        FROM couriers.order_states WHERE held_at IS NOT NULL ORDER BY held_at, order_id LIMIT $1"#,
        limit,
    )
    .fetch_all(&mut *connection)
    .await?;
    let waiting = (1..).zip(waiting).map(|(position, row)| Queued {
        order_id: row.order_id,
        position: Some(position),
        waiting_since: row.waiting_since,
        held_at: None,
        age_seconds: row.age_seconds.max(0.0),
        reason,
    });
    let held = held.into_iter().map(|row| Queued {
        order_id: row.order_id,
        position: None,
        waiting_since: row.waiting_since,
        held_at: row.held_at,
        age_seconds: row.age_seconds.max(0.0),
        reason: Reason::HeldByHand,
    });
    Ok(Queue { waiting: counts.waiting, held: counts.held, orders: waiting.chain(held).collect() })
}

/// Everything about the delivery of one order.
#[derive(Debug, Clone, PartialEq)]
pub struct Delivery {
    /// How it stands.
    pub standing: Standing,
    /// How far the order has come.
    pub status: OrderStatus,
    /// When it was created, by Kafka's clock.
    pub created_at: Option<OffsetDateTime>,
    /// When its status was told, by Kafka's clock.
    pub changed_at: OffsetDateTime,
    /// Since when it waits, or waited when it was taken from its courier.
    pub waiting_since: Option<OffsetDateTime>,
    /// Since when it is held.
    pub held_at: Option<OffsetDateTime>,
    /// Its place in the queue, from 1.
    pub position: Option<i64>,
    /// Why it has no courier yet; `None` once it has, or needs none any more.
    pub reason: Option<Reason>,
    /// Its courier.
    pub assignment: Option<Assignment>,
}

/// One order's delivery; in a [`snapshot`]. `None` if nobody has told of such an order.
pub async fn find_delivery(
    connection: &mut PgConnection,
    order_id: &OrderUid,
) -> Result<Option<Delivery>, sqlx::Error> {
    let state = sqlx::query!(
        r#"-- find_state
        SELECT rank, created_at, changed_at, waiting_since, held_at, clock_timestamp() AS "now!"
        FROM couriers.order_states WHERE order_id = $1"#,
        order_id.as_str(),
    )
    .fetch_optional(&mut *connection)
    .await?;
    let Some(state) = state else { return Ok(None) };
    let status = status_of(state.rank)?;
    let assignment = find_assignment(&mut *connection, order_id).await?;
    let standing = match (&assignment, status) {
        (_, OrderStatus::Cancelled) => Standing::Cancelled,
        (_, OrderStatus::Completed) => Standing::Completed,
        (Some(assignment), _) if assignment.released_at.is_some() => Standing::Overdue,
        (Some(assignment), _) if assignment.deadline < state.now => Standing::Overdue,
        (Some(_), _) => Standing::Assigned,
        (None, _) if state.held_at.is_some() => Standing::Held,
        (None, _) if state.waiting_since.is_some() => Standing::Waiting,
        (None, _) => Standing::Expected,
    };
    let (position, reason) = match (standing, state.waiting_since) {
        (Standing::Expected, _) => (None, Some(Reason::NotCreated)),
        (Standing::Held, _) => (None, Some(Reason::HeldByHand)),
        (Standing::Waiting, Some(since)) => (
            Some(position_of(&mut *connection, order_id, since).await?),
            Some(reason_to_wait(connection).await?),
        ),
        _ => (None, None),
    };
    Ok(Some(Delivery {
        standing,
        status,
        created_at: state.created_at,
        changed_at: state.changed_at,
        waiting_since: state.waiting_since,
        held_at: state.held_at,
        position,
        reason,
        assignment,
    }))
}

async fn position_of(
    connection: &mut PgConnection,
    order_id: &OrderUid,
    waiting_since: OffsetDateTime,
) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!(
        r#"-- position_of
        SELECT 1 + count(*) AS "position!" FROM couriers.order_states
        WHERE waiting_since IS NOT NULL AND held_at IS NULL
            AND (waiting_since, order_id) < ($1, $2::text COLLATE "C")"#,
        waiting_since,
        order_id.as_str(),
    )
    .fetch_one(connection)
    .await
}

struct AssignmentRow {
    courier_id: i64,
    transport_type: String,
    assigned_at: OffsetDateTime,
    deadline: OffsetDateTime,
    by_hand: bool,
    completed_at: Option<OffsetDateTime>,
    released_at: Option<OffsetDateTime>,
}

impl TryFrom<AssignmentRow> for Assignment {
    type Error = sqlx::Error;

    fn try_from(row: AssignmentRow) -> Result<Self, sqlx::Error> {
        let bad = |column| move |error| bad_column(column, error);
        Ok(Self {
            courier_id: row.courier_id.try_into().map_err(bad("courier_orders.courier_id"))?,
            transport_type: row
                .transport_type
                .parse()
                .map_err(bad("courier_orders.transport_type"))?,
            assigned_at: row.assigned_at,
            deadline: row.deadline,
            by_hand: row.by_hand,
            completed_at: row.completed_at,
            released_at: row.released_at,
        })
    }
}

async fn find_assignment(
    connection: &mut PgConnection,
    order_id: &OrderUid,
) -> Result<Option<Assignment>, sqlx::Error> {
    let row = sqlx::query_as!(
        AssignmentRow,
        "-- find_assignment\n\
         SELECT courier_id, transport_type, assigned_at, deadline, by_hand, completed_at, released_at \
         FROM couriers.courier_orders WHERE order_id = $1",
        order_id.as_str(),
    )
    .fetch_optional(connection)
    .await?;
    row.map(TryInto::try_into).transpose()
}

/// A courier, and what he carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CourierOnBoard {
    /// The courier.
    pub courier: Courier,
    /// The order that he carries.
    pub order_id: Option<String>,
    /// Since when, and until when he should have it delivered.
    pub assignment: Option<Assignment>,
}

/// What the board shows: one moment of the whole service.
#[derive(Debug, Clone, PartialEq)]
pub struct Board {
    /// The moment, by the database's clock.
    pub at: OffsetDateTime,
    /// How many couriers do what.
    pub counts: CourierCounts,
    /// Figures of all.
    pub statistics: Statistics,
    /// The front of the queue.
    pub queue: Queue,
    /// Couriers: who must deliver soonest first, then those who are free, then those who are paused.
    pub couriers: Vec<CourierOnBoard>,
}

/// The board with at most so many couriers who carry, as many who do not, and as many orders that
/// wait or are held.
pub async fn board(pool: &PgPool, rows: i64) -> Result<Board, sqlx::Error> {
    let mut snapshot = snapshot(pool).await?;
    let counts = count_couriers(&mut snapshot).await?;
    let statistics = statistics(&mut snapshot).await?;
    let queue = queue(&mut snapshot, rows).await?;
    let couriers = couriers_on_board(&mut snapshot, rows).await?;
    let at = sqlx::query_scalar!(r#"SELECT now() AS "now!""#).fetch_one(&mut *snapshot).await?;
    snapshot.commit().await?;
    Ok(Board { at, counts, statistics, queue, couriers })
}

async fn couriers_on_board(
    connection: &mut PgConnection,
    limit: i64,
) -> Result<Vec<CourierOnBoard>, sqlx::Error> {
    let carrying = sqlx::query!(
        r#"-- couriers_carrying
        SELECT courier.id, name, phone, courier.transport_type, status, deliveries, completed, on_time,
            free_since, created_at,
            delivery.order_id, delivery.transport_type AS used_transport_type, assigned_at, deadline,
            by_hand, completed_at, released_at
        FROM couriers.courier_orders AS delivery JOIN couriers.couriers AS courier ON courier.id = courier_id
        WHERE completed_at IS NULL AND released_at IS NULL
        ORDER BY deadline LIMIT $1"#,
        limit,
    )
    .fetch_all(&mut *connection)
    .await?;
    let mut on_board = Vec::with_capacity(carrying.len());
    for row in carrying {
        let assignment = AssignmentRow {
            courier_id: row.id,
            transport_type: row.used_transport_type,
            assigned_at: row.assigned_at,
            deadline: row.deadline,
            by_hand: row.by_hand,
            completed_at: row.completed_at,
            released_at: row.released_at,
        };
        let courier = CourierRow {
            id: row.id,
            name: row.name,
            phone: row.phone,
            transport_type: row.transport_type,
            status: row.status,
            deliveries: row.deliveries,
            completed: row.completed,
            on_time: row.on_time,
            free_since: row.free_since,
            created_at: row.created_at,
        };
        on_board.push(CourierOnBoard {
            courier: courier.try_into()?,
            order_id: Some(row.order_id),
            assignment: Some(assignment.try_into()?),
        });
    }
    let idle = sqlx::query_as!(
        CourierRow,
        "-- couriers_idle\n\
         SELECT * FROM couriers.couriers AS courier \
         WHERE status <> 'busy' AND NOT EXISTS ( \
             SELECT FROM couriers.courier_orders \
             WHERE courier_id = courier.id AND completed_at IS NULL AND released_at IS NULL \
         ) \
         ORDER BY status, deliveries, free_since, id LIMIT $1",
        limit,
    )
    .fetch_all(connection)
    .await?;
    for row in idle {
        on_board.push(CourierOnBoard {
            courier: row.try_into()?,
            order_id: None,
            assignment: None,
        });
    }
    Ok(on_board)
}
