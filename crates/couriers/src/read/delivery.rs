//! The delivery of one order.

use chassis::postgres::errors::bad_column;
use events::{OrderStatus, OrderUid};
use sqlx::PgConnection;
use time::OffsetDateTime;

use super::queue::find_wait_reason;
use crate::{
    delivery::{Assignment, DeliveryState, WaitReason},
    store::parse_rank,
};

/// The delivery of one order.
#[derive(Debug, Clone, PartialEq)]
pub struct Delivery {
    pub state: DeliveryState,
    /// The order's highest status.
    pub status: OrderStatus,
    /// Kafka's time of the first `created`.
    pub created_at: Option<OffsetDateTime>,
    /// Kafka's time of the event of the status.
    pub changed_at: OffsetDateTime,
    pub waiting_since: Option<OffsetDateTime>,
    pub held_at: Option<OffsetDateTime>,
    /// The place in the queue; the first is 1.
    pub position: Option<i64>,
    /// `None` if a courier carries the order, or if it has ended.
    pub reason: Option<WaitReason>,
    pub assignment: Option<Assignment>,
}

/// Returns the delivery of one order, or `None` if the order is unknown. The caller passes a
/// [`snapshot`](chassis::postgres::read::snapshot), so that the several queries agree.
pub async fn find_delivery(
    connection: &mut PgConnection,
    order_id: &OrderUid,
) -> Result<Option<Delivery>, sqlx::Error> {
    // Without a snapshot, a change between two of these queries could give a contradictory answer,
    // for example an order that waits and has a courier.
    let Some(row) = find_state(&mut *connection, order_id).await? else { return Ok(None) };
    let status = parse_rank(row.rank)?;
    let assignment = find_assignment(&mut *connection, order_id).await?;
    let queued = (row.waiting_since, row.held_at);
    let state = state_of(status, assignment.as_ref(), queued, row.now);
    let (position, reason) = match (state, row.waiting_since) {
        (DeliveryState::Expected, _) => (None, Some(WaitReason::NotCreated)),
        (DeliveryState::Held, _) => (None, Some(WaitReason::HeldManually)),
        (DeliveryState::Released, _) => (None, Some(WaitReason::Released)),
        (DeliveryState::Waiting, Some(since)) => (
            Some(find_position(&mut *connection, order_id, since).await?),
            Some(find_wait_reason(connection).await?),
        ),
        _ => (None, None),
    };
    Ok(Some(Delivery {
        state,
        status,
        created_at: row.created_at,
        changed_at: row.changed_at,
        waiting_since: row.waiting_since,
        held_at: row.held_at,
        position,
        reason,
        assignment,
    }))
}

struct StateRow {
    rank: i16,
    created_at: Option<OffsetDateTime>,
    changed_at: OffsetDateTime,
    waiting_since: Option<OffsetDateTime>,
    held_at: Option<OffsetDateTime>,
    now: OffsetDateTime,
}

/// Returns the state of a delivery, given the status of its order.
pub(super) fn state_of(
    status: OrderStatus,
    assignment: Option<&Assignment>,
    (waiting_since, held_at): (Option<OffsetDateTime>, Option<OffsetDateTime>),
    now: OffsetDateTime,
) -> DeliveryState {
    // The status comes first: a completed order may also have a row in `courier_orders`. Deadlines are
    // compared with the database's clock, by which they were set.
    match (status, assignment) {
        (OrderStatus::Cancelled, _) => DeliveryState::Cancelled,
        (OrderStatus::Completed, _) => DeliveryState::Completed,
        (_, Some(it)) if it.released_at.is_some() => DeliveryState::Released,
        (_, Some(it)) if it.deadline < now => DeliveryState::Overdue,
        (_, Some(_)) => DeliveryState::Assigned,
        (_, None) if held_at.is_some() => DeliveryState::Held,
        (_, None) if waiting_since.is_some() => DeliveryState::Waiting,
        (_, None) => DeliveryState::Expected,
    }
}

async fn find_state(
    connection: &mut PgConnection,
    order_id: &OrderUid,
) -> Result<Option<StateRow>, sqlx::Error> {
    sqlx::query_as!(
        StateRow,
        r#"-- find_state
        SELECT rank, created_at, changed_at, waiting_since, held_at, clock_timestamp() AS "now!"
        FROM couriers.order_states WHERE order_id = $1"#,
        order_id.as_str(),
    )
    .fetch_optional(connection)
    .await
}

async fn find_position(
    connection: &mut PgConnection,
    order_id: &OrderUid,
    waiting_since: OffsetDateTime,
) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!(
        r#"-- find_position
        SELECT 1 + count(*) AS "position!" FROM couriers.order_states
        WHERE waiting_since IS NOT NULL AND held_at IS NULL
            AND (waiting_since, order_id) < ($1, $2::text COLLATE "C")"#,
        waiting_since,
        order_id.as_str(),
    )
    .fetch_one(connection)
    .await
}

pub(super) struct AssignmentRow {
    pub(super) courier_id: i64,
    pub(super) transport_type: String,
    pub(super) assigned_at: OffsetDateTime,
    pub(super) deadline: OffsetDateTime,
    pub(super) by_hand: bool,
    pub(super) completed_at: Option<OffsetDateTime>,
    pub(super) released_at: Option<OffsetDateTime>,
}

impl TryFrom<AssignmentRow> for Assignment {
    type Error = sqlx::Error;

    fn try_from(row: AssignmentRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            courier_id: row
                .courier_id
                .try_into()
                .map_err(|error| bad_column("couriers.courier_orders.courier_id", error))?,
            transport_type: row
                .transport_type
                .parse()
                .map_err(|error| bad_column("couriers.courier_orders.transport_type", error))?,
            assigned_at: row.assigned_at,
            deadline: row.deadline,
            is_manual: row.by_hand,
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
