//! The deliveries of one courier today, and the newest entries of the log about the courier.

use events::CourierId;
use sqlx::PgConnection;
use time::OffsetDateTime;

use super::deliveries::{DeliveryRow, ListedDelivery};

/// The most deliveries, and the most entries, that are read.
const MAX_ROWS: i64 = 200;

/// The recent history of a courier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CourierHistory {
    /// The time of the snapshot, by the database's clock.
    pub at: OffsetDateTime,
    /// The deliveries that are active or released, or were completed since the given time; the latest
    /// assignment first.
    pub deliveries: Vec<ListedDelivery>,
    /// The entries about the courier, newest first.
    pub entries: Vec<CourierEntry>,
}

/// An entry of the log about a courier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CourierEntry {
    pub at: OffsetDateTime,
    /// `added`, `changed`, `paused`, `resumed`, `retired` or `restored`.
    pub status: String,
    /// The name that the client gave itself.
    pub actor: Option<String>,
}

/// Returns the history of a courier since `since`.
pub async fn find_courier_history(
    connection: &mut PgConnection,
    id: CourierId,
    since: OffsetDateTime,
) -> Result<CourierHistory, sqlx::Error> {
    let rows =
        sqlx::query_file_as!(DeliveryRow, "queries/courier_today.sql", id.get(), since, MAX_ROWS)
            .fetch_all(&mut *connection)
            .await?;
    let deliveries = rows.into_iter().map(TryInto::try_into).collect::<Result<_, _>>()?;
    let entries = sqlx::query_as!(
        CourierEntry,
        "-- list_courier_entries\n\
         SELECT at, status, actor FROM couriers.delivery_log \
         WHERE courier_id = $1 AND order_id IS NULL ORDER BY number DESC LIMIT $2",
        id.get(),
        MAX_ROWS,
    )
    .fetch_all(&mut *connection)
    .await?;
    let at = sqlx::query_scalar!(r#"SELECT clock_timestamp() AS "now!""#).fetch_one(connection);
    Ok(CourierHistory { at: at.await?, deliveries, entries })
}
