//! Changes of deliveries and couriers: by events, by manual actions, and of a courier's data. The
//! match and the releases are in [`dispatch`](crate::dispatch).
//!
//! **Lock order.** A transaction that changes rows of several tables locks them in this order, so
//! that no two transactions deadlock:
//!
//! 1. the advisory lock of the match (`dispatch::lock_match`), if it takes it,
//! 2. `order_states`, by ascending key,
//! 3. `courier_orders`, by ascending key; a row is changed only while its order's row in
//!    `order_states` is locked, so that lock alone decides who changes a delivery,
//! 4. `couriers`, by ascending key.
//!
//! Only the match departs from the key order: it takes the oldest orders and the first couriers, but
//! with `SKIP LOCKED`, so it never waits for a row.

mod couriers;
mod manual;
mod states;

pub use couriers::{NotStored, create_courier, find_courier, list_couriers, update_courier};
pub use manual::{Assigned, NotAssigned, NotUnassigned, assign, unassign};
pub use states::apply;

pub(crate) use couriers::CourierRow;

use chassis::postgres::errors::bad_column;
use events::OrderStatus;
use sqlx::PgPool;

/// Succeeds when PostgreSQL lets the service read its tables.
pub(crate) async fn reach(pool: &PgPool) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "-- reach\n\
         SELECT 1 AS one FROM couriers.order_states, couriers.courier_orders, couriers.couriers, \
             couriers.active_deliveries, couriers.rejected_records LIMIT 0"
    )
    .fetch_optional(pool)
    .await?;
    Ok(())
}

/// Returns the status of a stored rank.
pub(crate) fn parse_rank(rank: i16) -> Result<OrderStatus, sqlx::Error> {
    OrderStatus::of_rank(rank)
        .ok_or_else(|| bad_column("couriers.order_states.rank", "no status has this rank"))
}
