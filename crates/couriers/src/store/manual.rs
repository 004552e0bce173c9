//! Manual actions: assign an order to a courier, or take it from them (unassign).
//!
//! They change one order each, in one transaction, by the lock order of [`store`](super).

use chassis::{
    postgres::{
        errors::bad_column,
        time_limit::CHANGE,
        transaction::{TransactionError, change},
    },
    process::failpoint,
};
use events::{OrderStatus, OrderUid};
use sqlx::{PgConnection, PgPool};
use time::OffsetDateTime;

use super::{limit_lock_wait, parse_rank};
use crate::{
    delivery::{
        Actor, DeliveryTimes,
        courier::{CourierId, Transport},
    },
    dispatch::lock_match,
};

/// An order that now has a courier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assigned {
    pub courier_id: CourierId,
    pub transport_type: Transport,
    pub deadline: OffsetDateTime,
}

/// The reason why an order was not assigned. Nothing was stored, unless the database did not
/// confirm the commit: then the outcome is unknown.
#[derive(Debug, thiserror::Error)]
pub enum NotAssigned {
    #[error("the order is already assigned to courier {0}")]
    Already(CourierId),
    #[error("the order is {}", .0.as_str())]
    Ended(OrderStatus),
    #[error("no courier is available")]
    NoCourier,
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

impl TransactionError for NotAssigned {
    fn database(&self) -> Option<&sqlx::Error> {
        let Self::Database(error) = self else { return None };
        Some(error)
    }
}

/// Assigns an order to the first available courier. A waiting or held order is assigned before the
/// rest of the queue. An unknown order is stored as if it had been created now.
pub async fn assign(
    pool: &PgPool,
    order_id: &OrderUid,
    times: &DeliveryTimes,
    actor: Option<&Actor>,
) -> Result<Assigned, NotAssigned> {
    // If the outcome is unknown, a repeated call is safe: it answers that the order is already
    // assigned, or it assigns the order.
    change(pool, CHANGE, async |transaction| {
        limit_lock_wait(transaction).await?;
        // The first lock of the lock order. No match runs until this transaction ends, so none can
        // skip the rows that it locks: dispatch need not be woken afterwards.
        lock_match(&mut *transaction).await?;
        // Each error below rolls the transaction back. So the row that was created for an unknown
        // order disappears if there is no courier for it.
        let status = lock_or_create_state(transaction, order_id).await?;
        // Checked after the row is locked, so no event can end the order before the commit.
        if status.is_ended() {
            return Err(NotAssigned::Ended(status));
        }
        // A new statement after the lock, so it sees the latest committed delivery, and no other
        // transaction can change that delivery until this one ends.
        if let Some(courier_id) = find_courier_of(transaction, order_id).await? {
            return Err(NotAssigned::Already(courier_id));
        }
        let assigned = assign_first_available(transaction, order_id, times, actor).await?;
        failpoint::try_async_point("assign-manually").await.map_err(sqlx::Error::from)?;
        assigned.ok_or(NotAssigned::NoCourier)
    })
    .await
}

async fn assign_first_available(
    transaction: &mut PgConnection,
    order_id: &OrderUid,
    times: &DeliveryTimes,
    actor: Option<&Actor>,
) -> Result<Option<Assigned>, sqlx::Error> {
    let row = sqlx::query_file!(
        "queries/assign.sql",
        order_id.as_str(),
        times.on_foot.as_secs_f64(),
        times.scooter.as_secs_f64(),
        times.car.as_secs_f64(),
        actor.map(AsRef::as_ref),
    )
    .fetch_optional(transaction)
    .await?;
    let Some(row) = row else { return Ok(None) };
    Ok(Some(Assigned {
        courier_id: row
            .courier_id
            .try_into()
            .map_err(|error| bad_column("couriers.courier_orders.courier_id", error))?,
        transport_type: row
            .transport_type
            .parse()
            .map_err(|error| bad_column("couriers.courier_orders.transport_type", error))?,
        deadline: row.deadline,
    }))
}

/// The reason why an order was not unassigned.
#[derive(Debug, thiserror::Error)]
pub enum NotUnassigned {
    #[error("no such order")]
    Unknown,
    #[error("the order is not assigned")]
    NotAssigned,
    #[error("the order is {}", .0.as_str())]
    Ended(OrderStatus),
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

impl TransactionError for NotUnassigned {
    fn database(&self) -> Option<&sqlx::Error> {
        let Self::Database(error) = self else { return None };
        Some(error)
    }
}

/// Takes an order from its courier, frees the courier, and holds the order until it is assigned
/// manually.
///
/// The caller wakes dispatch afterwards, also after an error: a match may have skipped the order
/// while its row was locked here.
pub async fn unassign(
    pool: &PgPool,
    order_id: &OrderUid,
    actor: Option<&Actor>,
) -> Result<CourierId, NotUnassigned> {
    change(pool, CHANGE, async |transaction| {
        limit_lock_wait(transaction).await?;
        // The lock on the order's row alone decides who changes its delivery. An event that ends
        // the order waits for it, and then finds no delivery.
        let status = lock_state(transaction, order_id).await?.ok_or(NotUnassigned::Unknown)?;
        if status.is_ended() {
            return Err(NotUnassigned::Ended(status));
        }
        let taken = take(transaction, order_id, actor).await?;
        failpoint::try_async_point("unassign").await.map_err(sqlx::Error::from)?;
        taken.ok_or(NotUnassigned::NotAssigned)
    })
    .await
}

/// Deletes the delivery, frees its courier and holds the order.
// The courier of a released delivery was freed before and may carry another order. So only an
// active delivery changes the courier's status.
async fn take(
    transaction: &mut PgConnection,
    order_id: &OrderUid,
    actor: Option<&Actor>,
) -> Result<Option<CourierId>, sqlx::Error> {
    let id = sqlx::query_file_scalar!(
        "queries/unassign.sql",
        order_id.as_str(),
        actor.map(AsRef::as_ref),
    )
    .fetch_optional(transaction)
    .await?;
    id.map(|id| id.try_into().map_err(|error| bad_column("couriers.couriers.id", error)))
        .transpose()
}

async fn lock_or_create_state(
    transaction: &mut PgConnection,
    order_id: &OrderUid,
) -> Result<OrderStatus, sqlx::Error> {
    loop {
        if let Some(status) = lock_state(transaction, order_id).await? {
            return Ok(status);
        }
        // An event may insert the row between the two statements. The insert here then does
        // nothing, and the next turn of the loop locks the row of the event. Rows of `order_states`
        // are never deleted, so the loop ends.
        insert_created(transaction, order_id).await?;
    }
}

async fn lock_state(
    transaction: &mut PgConnection,
    order_id: &OrderUid,
) -> Result<Option<OrderStatus>, sqlx::Error> {
    let rank = sqlx::query_scalar!(
        "-- lock_state\nSELECT rank FROM couriers.order_states WHERE order_id = $1 FOR NO KEY UPDATE",
        order_id.as_str(),
    )
    .fetch_optional(transaction)
    .await?;
    rank.map(parse_rank).transpose()
}

async fn insert_created(
    transaction: &mut PgConnection,
    order_id: &OrderUid,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "-- insert_created\n\
         INSERT INTO couriers.order_states (order_id, rank, created_at, changed_at, waiting_since) \
         SELECT $1, $2, now, now, now FROM clock_timestamp() AS now ON CONFLICT DO NOTHING",
        order_id.as_str(),
        OrderStatus::Created.rank(),
    )
    .execute(transaction)
    .await?;
    Ok(())
}

async fn find_courier_of(
    transaction: &mut PgConnection,
    order_id: &OrderUid,
) -> Result<Option<CourierId>, sqlx::Error> {
    let id = sqlx::query_scalar!(
        "-- find_courier_of\nSELECT courier_id FROM couriers.courier_orders WHERE order_id = $1",
        order_id.as_str(),
    )
    .fetch_optional(transaction)
    .await?;
    let bad = |error| bad_column("couriers.courier_orders.courier_id", error);
    id.map(|id| id.try_into().map_err(bad)).transpose()
}
