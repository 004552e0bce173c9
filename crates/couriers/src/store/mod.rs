//! What changes deliveries: events, hands, and changes of couriers. The match is in
//! [`dispatch`](crate::dispatch).
//!
//! Whoever changes rows of several tables locks them in this order: `order_states`, then
//! `courier_orders`, then `couriers`, each by ascending key. A row of `courier_orders` is touched
//! only by who holds its order's row in `order_states`.

mod couriers;
mod manual;
mod states;

pub use couriers::{NotStored, create_courier, find_courier, list_couriers, update_courier};
pub use manual::{Assigned, NotAssigned, NotUnassigned, assign, unassign};
pub use states::tell;

pub(crate) use couriers::CourierRow;

use sqlx::PgPool;

/// Succeeds once PostgreSQL lets the service read its tables.
pub(crate) async fn reach(pool: &PgPool) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "-- reach\n\
         SELECT 1 AS one FROM couriers.order_states, couriers.courier_orders, couriers.couriers, \
             couriers.rejected_records LIMIT 0"
    )
    .fetch_optional(pool)
    .await?;
    Ok(())
}

/// A row that the database should never hold.
pub(crate) fn bad_column(
    column: &'static str,
    error: impl std::error::Error + Send + Sync + 'static,
) -> sqlx::Error {
    sqlx::Error::ColumnDecode { index: format!("couriers.{column}"), source: Box::new(error) }
}

/// A rank that is none.
#[derive(Debug, thiserror::Error)]
#[error("no status has this rank")]
pub(crate) struct NoSuchRank;

/// A status as the database keeps it.
pub(crate) fn status_of(rank: i16) -> Result<events::OrderStatus, sqlx::Error> {
    events::OrderStatus::of_rank(rank).ok_or_else(|| bad_column("order_states.rank", NoSuchRank))
}
