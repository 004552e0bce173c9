//! Manual actions: assign an order to a courier, move it to another one, or take it from its courier
//! (unassign).
//!
//! They change one order each, in one transaction, by the lock order of [`store`](super).

use std::str::FromStr;

use chassis::{
    postgres::{
        errors::bad_column,
        time_limit::{CHANGE, limit_lock_wait},
        transaction::{TransactionError, change},
    },
    process::failpoint,
};
use events::{DeliveryStatus, OrderStatus, OrderUid};
use sqlx::{PgConnection, PgPool};
use time::OffsetDateTime;

use super::parse_rank;
use crate::{
    delivery::{
        Actor, DeliveryTimes,
        courier::{CourierId, CourierStatus, Transport},
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
    #[error("no such courier")]
    UnknownCourier,
    #[error("the courier is {}", .0.as_str())]
    NotAvailable(CourierStatus),
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

impl TransactionError for NotAssigned {
    fn database(&self) -> Option<&sqlx::Error> {
        let Self::Database(error) = self else { return None };
        Some(error)
    }
}

/// Assigns an order: to the courier `to` if it is given, else to the first available courier.
///
/// A waiting or held order is assigned before the rest of the queue. A released order is taken from
/// its former courier. An order that a courier carries is moved only to a chosen courier. An unknown
/// order is stored as if it had been created now. The courier that the order was just taken from gets
/// it again only if they are chosen, or if no other courier is available.
///
/// The caller wakes dispatch afterwards, also after an error: a move frees a courier, and a match may
/// have skipped a courier while their row was locked here.
pub async fn assign(
    pool: &PgPool,
    order_id: &OrderUid,
    to: Option<CourierId>,
    times: &DeliveryTimes,
    actor: Option<&Actor>,
) -> Result<Assigned, NotAssigned> {
    // If the outcome is unknown, a repeated call is safe: it answers that the order is already
    // assigned, or it assigns the order.
    change(pool, CHANGE, async |transaction| {
        // This transaction has the lock of the match while it waits for a row: without the limit,
        // dispatch would wait for as long as a frozen transaction keeps the row.
        limit_lock_wait(transaction).await?;
        // The first lock of the lock order. No match runs until this transaction ends, so no other
        // transaction can assign an order to the couriers that it reads.
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
        let former = find_former(transaction, order_id).await?;
        let assigned = give(transaction, (order_id, times, actor), &former, to).await;
        failpoint::try_async_point("assign-manually").await.map_err(sqlx::Error::from)?;
        assigned
    })
    .await
}

/// Gives an order, whose row is locked, to a courier.
async fn give(
    transaction: &mut PgConnection,
    order: Order<'_>,
    former: &Former,
    to: Option<CourierId>,
) -> Result<Assigned, NotAssigned> {
    let to = match (former.courier_id, to) {
        (Some(courier), to) if former.is_active && to.is_none_or(|to| to == courier) => {
            return Err(NotAssigned::Already(courier));
        }
        (None, None) => return assign_first_available(transaction, order, former.taken_from).await,
        (Some(courier), None) => find_available(transaction, Some(courier)).await?,
        (_, Some(to)) => to,
    };
    lock_available(transaction, to, former).await?;
    move_order(transaction, order, to, former).await
}

/// The order of an assignment, the times of its delivery, and the actor.
type Order<'a> = (&'a OrderUid, &'a DeliveryTimes, Option<&'a Actor>);

/// The courier who has the order or had it before, when it is assigned.
struct Former {
    /// The courier of its delivery, which may be released.
    courier_id: Option<CourierId>,
    is_active: bool,
    /// The time of the last change of the order.
    changed_at: Option<OffsetDateTime>,
    /// The courier that an order without a delivery was taken from.
    taken_from: Option<CourierId>,
}

async fn find_former(
    transaction: &mut PgConnection,
    order_id: &OrderUid,
) -> Result<Former, sqlx::Error> {
    let row = sqlx::query!(
        r#"-- find_former
        SELECT delivery.courier_id AS "courier_id?", delivery.released_at IS NULL AS "is_active!",
            greatest(state.held_at, delivery.assigned_at, delivery.overdue_at, delivery.released_at)
                AS changed_at,
            taken_from
        FROM couriers.order_states AS state
        LEFT JOIN couriers.courier_orders AS delivery USING (order_id)
        WHERE order_id = $1"#,
        order_id.as_str(),
    )
    .fetch_one(transaction)
    .await?;
    let id = |id: Option<i64>, column| {
        id.map(TryInto::try_into).transpose().map_err(|error| bad_column(column, error))
    };
    let courier_id = id(row.courier_id, "couriers.courier_orders.courier_id")?;
    Ok(Former {
        courier_id,
        is_active: courier_id.is_some() && row.is_active,
        changed_at: row.changed_at,
        taken_from: id(row.taken_from, "couriers.order_states.taken_from")?,
    })
}

/// Assigns an order without a delivery; to the courier `except` only if no other is available.
async fn assign_first_available(
    transaction: &mut PgConnection,
    (order_id, times, actor): Order<'_>,
    except: Option<CourierId>,
) -> Result<Assigned, NotAssigned> {
    let exceptions = [except, None];
    // Without an exception, the first attempt is the only one.
    for except in &exceptions[usize::from(except.is_none())..] {
        let row = sqlx::query_file!(
            "queries/assign.sql",
            order_id.as_str(),
            times.on_foot.as_secs_f64(),
            times.scooter.as_secs_f64(),
            times.car.as_secs_f64(),
            actor.map(AsRef::as_ref),
            except.map(CourierId::get),
            true,
        )
        .fetch_optional(&mut *transaction)
        .await?;
        if let Some(row) = row {
            return Ok(assigned(row.courier_id, &row.transport_type, row.deadline)?);
        }
    }
    Err(NotAssigned::NoCourier)
}

fn assigned(
    courier_id: i64,
    transport_type: &str,
    deadline: OffsetDateTime,
) -> Result<Assigned, sqlx::Error> {
    let bad = |error| bad_column("couriers.courier_orders.courier_id", error);
    let courier_id = courier_id.try_into().map_err(bad)?;
    let bad = |error| bad_column("couriers.courier_orders.transport_type", error);
    Ok(Assigned { courier_id, transport_type: transport_type.parse().map_err(bad)?, deadline })
}

/// Returns the first available courier; `except` only if no other is available.
async fn find_available(
    transaction: &mut PgConnection,
    except: Option<CourierId>,
) -> Result<CourierId, NotAssigned> {
    // Two couriers are enough to have another one than `except`.
    let ids = sqlx::query_scalar!(
        "-- find_available\n\
         SELECT id FROM couriers.couriers AS courier \
         WHERE status = 'available' AND NOT EXISTS ( \
             SELECT FROM couriers.active_deliveries AS delivery \
             WHERE delivery.courier_id = courier.id OFFSET 0 \
         ) \
         ORDER BY deliveries, free_since, id LIMIT 2",
    )
    .fetch_all(transaction)
    .await?;
    let is_other = |id: &&i64| Some(**id) != except.map(CourierId::get);
    let id = ids.iter().find(is_other).or(ids.first()).ok_or(NotAssigned::NoCourier)?;
    let bad = |error| bad_column("couriers.couriers.id", error);
    Ok((*id).try_into().map_err(bad)?)
}

/// Locks the courier `to` and the former one, and checks that `to` is available.
// In the order of their keys, as every writer of several couriers does.
async fn lock_available(
    transaction: &mut PgConnection,
    to: CourierId,
    former: &Former,
) -> Result<(), NotAssigned> {
    let ids: Vec<i64> =
        [Some(to), former.courier_id].into_iter().flatten().map(CourierId::get).collect();
    sqlx::query!(
        "-- lock_couriers\n\
         SELECT id FROM couriers.couriers WHERE id = ANY($1) ORDER BY id FOR NO KEY UPDATE",
        &ids,
    )
    .fetch_all(&mut *transaction)
    .await?;
    // A new statement: it sees what a transaction that held the lock has changed.
    let row = sqlx::query!(
        r#"-- find_status
        SELECT status, EXISTS (
            SELECT FROM couriers.active_deliveries WHERE courier_id = $1
        ) AS "carries!"
        FROM couriers.couriers WHERE id = $1"#,
        to.get(),
    )
    .fetch_optional(transaction)
    .await?;
    let row = row.ok_or(NotAssigned::UnknownCourier)?;
    let bad = |error| bad_column("couriers.couriers.status", error);
    match row.status.parse().map_err(bad)? {
        // Whatever the status says, as in the match.
        CourierStatus::Available if row.carries => {
            Err(NotAssigned::NotAvailable(CourierStatus::Busy))
        }
        CourierStatus::Available => Ok(()),
        status => Err(NotAssigned::NotAvailable(status)),
    }
}

async fn move_order(
    transaction: &mut PgConnection,
    (order_id, times, actor): Order<'_>,
    to: CourierId,
    former: &Former,
) -> Result<Assigned, NotAssigned> {
    let row = sqlx::query_file!(
        "queries/move.sql",
        order_id.as_str(),
        to.get(),
        times.on_foot.as_secs_f64(),
        times.scooter.as_secs_f64(),
        times.car.as_secs_f64(),
        actor.map(AsRef::as_ref),
        former.courier_id.map(CourierId::get),
        former.is_active,
        former.changed_at,
    )
    .fetch_one(transaction)
    .await?;
    Ok(assigned(row.courier_id, &row.transport_type, row.deadline)?)
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

/// The state of an order after it was taken from its courier.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Then {
    /// The order is held until it is assigned manually.
    #[default]
    Hold,
    /// The order waits at its old place in the queue, for another courier.
    Wait,
}

impl Then {
    /// Returns the status of the entry in the log.
    #[must_use]
    pub fn logged(self) -> DeliveryStatus {
        match self {
            Self::Hold => DeliveryStatus::Unassigned,
            Self::Wait => DeliveryStatus::Requeued,
        }
    }
}

impl FromStr for Then {
    type Err = &'static str;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        match word {
            "hold" => Ok(Self::Hold),
            "wait" => Ok(Self::Wait),
            _ => Err("must be hold or wait"),
        }
    }
}

/// Takes an order from its courier and frees the courier. `then` decides whether the order is held or
/// waits in the queue.
///
/// The caller wakes dispatch afterwards, also after an error: a match may have skipped the order
/// while its row was locked here.
pub async fn unassign(
    pool: &PgPool,
    order_id: &OrderUid,
    then: Then,
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
        let taken = take(transaction, order_id, then, actor).await?;
        failpoint::try_async_point("unassign").await.map_err(sqlx::Error::from)?;
        taken.ok_or(NotUnassigned::NotAssigned)
    })
    .await
}

/// Deletes the delivery, frees its courier, and holds the order or queues it again.
// The courier of a released delivery was freed before and may carry another order. So only an
// active delivery changes the courier's status.
async fn take(
    transaction: &mut PgConnection,
    order_id: &OrderUid,
    then: Then,
    actor: Option<&Actor>,
) -> Result<Option<CourierId>, sqlx::Error> {
    let id = sqlx::query_file_scalar!(
        "queries/unassign.sql",
        order_id.as_str(),
        actor.map(AsRef::as_ref),
        then == Then::Hold,
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
