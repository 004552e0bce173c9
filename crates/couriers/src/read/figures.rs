//! The statistics of one courier or of all, and the number of couriers by status.

use std::time::Duration;

use sqlx::PgConnection;

use crate::delivery::courier::CourierId;

/// The mean and the percentile are of deliveries completed within this time before now, and of at
/// most the newest 10,000 of them.
pub const WINDOW: Duration = Duration::from_secs(24 * 3_600);

/// The statistics of one courier, or of all. Cancelled orders and manually unassigned orders are
/// not counted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Statistics {
    pub deliveries: i64,
    pub completed: i64,
    /// The number of deliveries completed before their deadline, without those that were read late.
    pub on_time: i64,
    /// The number of completed deliveries whose `completed` event is older than the assignment:
    /// the event was read late, for example after an outage. Their durations are not known, and
    /// they are left out of the on-time share.
    pub read_late: i64,
    /// The number of orders completed without a courier; `None` in the statistics of one courier.
    pub completed_without_courier: Option<i64>,
    pub active: i64,
    /// The number of active deliveries whose deadline has passed.
    pub overdue: i64,
    /// The number of released deliveries that are not completed.
    pub released: i64,
    /// The mean time from the assignment to the completion, of the deliveries of [`WINDOW`].
    pub mean_seconds: Option<f64>,
    /// The 95th percentile of this time.
    pub p95_seconds: Option<f64>,
}

impl Statistics {
    /// Returns the share of completed deliveries that were on time, 0 to 1, without the deliveries
    /// that were read late; `None` if there are no others.
    #[must_use]
    pub fn on_time_share(&self) -> Option<f64> {
        let known = self.completed - self.read_late;
        (known > 0).then(|| self.on_time as f64 / known as f64)
    }
}

/// Returns the statistics of all couriers.
pub async fn statistics(connection: &mut PgConnection) -> Result<Statistics, sqlx::Error> {
    sqlx::query_file_as!(Statistics, "queries/statistics.sql", WINDOW.as_secs_f64())
        .fetch_one(connection)
        .await
}

/// Returns the statistics of one courier, or `None` if there is no such courier.
pub async fn courier_statistics(
    connection: &mut PgConnection,
    id: CourierId,
) -> Result<Option<Statistics>, sqlx::Error> {
    sqlx::query_file_as!(
        Statistics,
        "queries/courier_statistics.sql",
        id.get(),
        WINDOW.as_secs_f64(),
    )
    .fetch_optional(connection)
    .await
}

/// The number of couriers by status.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CourierCounts {
    pub available: i64,
    pub busy: i64,
    pub paused: i64,
    pub retired: i64,
}

pub async fn count_couriers(connection: &mut PgConnection) -> Result<CourierCounts, sqlx::Error> {
    sqlx::query_as!(
        CourierCounts,
        r#"-- count_couriers
        SELECT coalesce(sum(available), 0)::bigint AS "available!",
            coalesce(sum(busy), 0)::bigint AS "busy!",
            coalesce(sum(paused), 0)::bigint AS "paused!",
            coalesce(sum(retired), 0)::bigint AS "retired!"
        FROM couriers.totals"#
    )
    .fetch_one(connection)
    .await
}

/// The number of orders without a courier, by state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct OrderCounts {
    pub waiting: i64,
    pub held: i64,
    pub released: i64,
}

pub(super) async fn count_orders(
    connection: &mut PgConnection,
) -> Result<OrderCounts, sqlx::Error> {
    sqlx::query_as!(
        OrderCounts,
        r#"-- count_orders
        SELECT coalesce(sum(waiting), 0)::bigint AS "waiting!",
            coalesce(sum(held), 0)::bigint AS "held!",
            coalesce(sum(released), 0)::bigint AS "released!"
        FROM couriers.totals"#
    )
    .fetch_one(connection)
    .await
}
