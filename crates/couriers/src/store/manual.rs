//! Orders assigned to couriers, and taken from them, by hand.

use chassis::postgres::transaction::{TransactionError, transact};
use events::{OrderStatus, OrderUid};
use sqlx::{PgConnection, PgPool};
use time::OffsetDateTime;

use super::{bad_column, status_of};
use crate::{
    delivery::{
        DeliveryTimes,
        courier::{CourierId, Transport},
    },
    dispatch::take_turn,
};

/// An order that now has a courier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assigned {
    /// The courier.
    pub courier_id: CourierId,
    /// How he moves.
    pub transport_type: Transport,
    /// Until when it should arrive.
    pub deadline: OffsetDateTime,
}

/// Why an order was not assigned. Nothing is stored then.
#[derive(Debug, thiserror::Error)]
pub enum NotAssigned {
    /// It is assigned already.
    #[error("the order is assigned to courier {0} already")]
    Already(CourierId),
    /// It is completed or cancelled.
    #[error("the order is {}", .0.as_str())]
    Ended(OrderStatus),
    /// Nobody is available.
    #[error("no courier is available")]
    NoCourier,
    /// PostgreSQL.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

/// Gives an order to the courier who comes next: a waiting or held one at once, before all others;
/// an unknown one as if it had been created now.
pub async fn assign(
    pool: &PgPool,
    order_id: &OrderUid,
    times: &DeliveryTimes,
) -> Result<Assigned, NotAssigned> {
    let mut transaction = pool.begin().await?;
    take_turn(&mut transaction).await?;
    let rank = loop {
        if let Some(rank) = lock_state(&mut transaction, order_id).await? {
            break rank;
        }
        insert_created(&mut transaction, order_id).await?;
    };
    let status = status_of(rank)?;
    if status.is_ended() {
        return Err(NotAssigned::Ended(status));
    }
    if let Some(courier_id) = courier_of(&mut transaction, order_id).await? {
        return Err(NotAssigned::Already(courier_id));
    }
    let row = sqlx::query_file!(
        "queries/assign.sql",
        order_id.as_str(),
        times.on_foot.as_secs_f64(),
        times.scooter.as_secs_f64(),
        times.car.as_secs_f64(),
    )
    .fetch_optional(&mut *transaction)
    .await?
    .ok_or(NotAssigned::NoCourier)?;
    let bad = |error| bad_column("courier_orders", error);
    let assigned = Assigned {
        courier_id: row.courier_id.try_into().map_err(bad)?,
        transport_type: row.transport_type.parse().map_err(bad)?,
        deadline: row.deadline,
    };
    transaction.commit().await?;
    Ok(assigned)
}

/// Why an order was not taken from a courier.
#[derive(Debug, thiserror::Error)]
pub enum NotUnassigned {
    /// Nobody has told of such an order.
    #[error("no such order")]
    Unknown,
    /// It has no courier.
    #[error("the order is not assigned")]
    NotAssigned,
    /// It is completed or cancelled.
    #[error("the order is {}", .0.as_str())]
    Ended(OrderStatus),
    /// PostgreSQL.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

impl TransactionError for NotUnassigned {
    fn database(&self) -> Option<&sqlx::Error> {
        let Self::Database(error) = self else { return None };
        Some(error)
    }
}

/// Takes an order from its courier, frees him, and holds the order until it is assigned by hand.
/// Dispatch is to be woken,
/// after a refusal too.
pub async fn unassign(pool: &PgPool, order_id: &OrderUid) -> Result<CourierId, NotUnassigned> {
    transact(pool, async |transaction| take(transaction, order_id).await).await
}

async fn take(
    transaction: &mut PgConnection,
    order_id: &OrderUid,
) -> Result<CourierId, NotUnassigned> {
    let rank = lock_state(&mut *transaction, order_id).await?.ok_or(NotUnassigned::Unknown)?;
    let status = status_of(rank)?;
    if status.is_ended() {
        return Err(NotUnassigned::Ended(status));
    }
    let courier_id = sqlx::query_scalar!(
        "-- unassign\n\
         WITH taken AS ( \
             DELETE FROM couriers.courier_orders WHERE order_id = $1 AND completed_at IS NULL \
             RETURNING courier_id, released_at IS NULL AS was_active \
         ) \
         UPDATE couriers.couriers AS courier SET \
             deliveries = courier.deliveries - 1, \
             status = CASE \
                 WHEN taken.was_active AND courier.status = 'busy' THEN 'available' ELSE courier.status \
             END, \
             free_since = CASE WHEN taken.was_active THEN clock_timestamp() ELSE courier.free_since END \
         FROM taken WHERE courier.id = taken.courier_id \
         RETURNING courier.id",
        order_id.as_str(),
    )
    .fetch_optional(&mut *transaction)
    .await?
    .ok_or(NotUnassigned::NotAssigned)?;
    sqlx::query!(
        "-- hold\n\
         UPDATE couriers.order_states SET waiting_since = created_at, held_at = clock_timestamp() \
         WHERE order_id = $1",
        order_id.as_str(),
    )
    .execute(transaction)
    .await?;
    Ok(courier_id.try_into().map_err(|error| bad_column("couriers.id", error))?)
}

async fn lock_state(
    transaction: &mut PgConnection,
    order_id: &OrderUid,
) -> Result<Option<i16>, sqlx::Error> {
    sqlx::query_scalar!(
        "-- lock_state\nSELECT rank FROM couriers.order_states WHERE order_id = $1 FOR NO KEY UPDATE",
        order_id.as_str(),
    )
    .fetch_optional(transaction)
    .await
}

/// Does nothing if an event has made the order known in the meantime.
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

async fn courier_of(
    transaction: &mut PgConnection,
    order_id: &OrderUid,
) -> Result<Option<CourierId>, sqlx::Error> {
    let id = sqlx::query_scalar!(
        "-- courier_of\nSELECT courier_id FROM couriers.courier_orders WHERE order_id = $1",
        order_id.as_str(),
    )
    .fetch_optional(transaction)
    .await?;
    let bad = |error| bad_column("courier_orders.courier_id", error);
    id.map(|id| id.try_into().map_err(bad)).transpose()
}
