//! Changes of deliveries and couriers: by events (`states`), by manual actions (`manual`), and of a
//! courier's data (`couriers`). A row of the log is an `entry`. The match and the releases are in [`dispatch`](crate::dispatch),
//! and queries that change nothing are in [`read`](crate::read).
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
//! The log and the outbox are only inserted into, and an entry of an order only while its row in
//! `order_states` is locked, so the numbers of its entries rise.
//!
//! Two statements lock some rows in another order, but with `SKIP LOCKED`, so they do not wait for
//! these rows: the match takes the oldest orders and the first couriers, and the release takes the
//! orders with the earliest deadlines.

mod couriers;
mod entry;
mod manual;
mod states;

pub use couriers::{
    CourierFilter, NotStored, create_courier, create_couriers, find_courier, list_couriers,
    update_courier,
};
pub use manual::{Assigned, NotAssigned, NotUnassigned, Then, assign, unassign};
pub use states::apply;

pub(crate) use entry::EntryRow;

use chassis::postgres::{errors::bad_column, read::read, time_limit::BACKGROUND};
use events::OrderStatus;
use sqlx::PgPool;

/// Succeeds if the service can read its tables. It reads no row: PostgreSQL checks that the tables
/// exist and that the service may read them.
pub(crate) async fn reach(pool: &PgPool) -> Result<(), sqlx::Error> {
    read(pool, BACKGROUND, async |connection| {
        sqlx::query!(
            "-- reach\n\
         SELECT 1 AS one FROM couriers.order_states, couriers.courier_orders, couriers.couriers, \
             couriers.active_deliveries, couriers.courier_figures, couriers.delivery_log, \
             couriers.delivery_outbox, couriers.outbox_lease, couriers.rejected_records, \
             couriers.courier_words, couriers.courier_phones, couriers.totals LIMIT 0"
        )
        .fetch_optional(connection)
        .await?;
        Ok(())
    })
    .await
}

/// Returns the status of a stored rank.
pub(crate) fn parse_rank(rank: i16) -> Result<OrderStatus, sqlx::Error> {
    OrderStatus::of_rank(rank)
        .ok_or_else(|| bad_column("couriers.order_states.rank", "no status has this rank"))
}
