//! The history of one delivery: the entries of the log.

use std::future::ready;

use chassis::postgres::{
    errors::bad_column,
    page::{Page, read_page},
};
use events::{CourierId, DeliveryEvent, OrderUid};
use futures_util::TryStreamExt as _;
use sqlx::PgConnection;
use time::OffsetDateTime;

use crate::store::EntryRow;

/// The history of one delivery.
#[derive(Debug, Clone, PartialEq)]
pub struct History {
    /// Kafka's time of the first `created`, which is not an entry.
    pub created_at: Option<OffsetDateTime>,
    /// A page of entries, oldest first.
    pub entries: Page<Entry>,
}

/// An entry of the log about an order.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    pub event: DeliveryEvent,
    /// The courier before, if the order was moved.
    pub from_courier_id: Option<CourierId>,
    /// The record of the event that caused the change: `topic:partition:offset`.
    pub record: Option<String>,
    /// The name that the client of a manual action gave itself.
    pub actor: Option<String>,
}

impl Entry {
    fn bytes(&self) -> usize {
        size_of::<Self>() + self.event.order_id.as_str().len()
    }
}

/// Returns the history of an order after the entry with the number `after`, or `None` if the order
/// is unknown. The caller passes a [`snapshot`](chassis::postgres::read::snapshot).
pub async fn find_history(
    connection: &mut PgConnection,
    order_id: &OrderUid,
    after: i64,
    limit: i64,
) -> Result<Option<History>, sqlx::Error> {
    let state = sqlx::query!(
        "-- find_created_at\nSELECT created_at FROM couriers.order_states WHERE order_id = $1",
        order_id.as_str(),
    )
    .fetch_optional(&mut *connection)
    .await?;
    let Some(state) = state else { return Ok(None) };
    let rows = sqlx::query!(
        r#"-- list_entries
        SELECT number, at, status, order_id AS "order_id!", courier_id, from_courier_id,
            transport_type, deadline, cause, actor,
            topic || ':' || "partition" || ':' || "offset" AS record
        FROM couriers.delivery_log
        WHERE order_id = $1 AND number > $2 ORDER BY number LIMIT $3"#,
        order_id.as_str(),
        after,
        limit + 1,
    )
    .fetch(connection)
    .and_then(|row| {
        let event = DeliveryEvent::try_from(EntryRow {
            number: row.number,
            at: row.at,
            status: row.status,
            order_id: row.order_id,
            courier_id: row.courier_id,
            transport_type: row.transport_type,
            deadline: row.deadline,
            cause: row.cause,
        });
        let bad = |error| bad_column("couriers.delivery_log.from_courier_id", error);
        let from = row.from_courier_id.map(TryInto::try_into).transpose().map_err(bad);
        ready(event.and_then(|event| {
            Ok(Entry { event, from_courier_id: from?, record: row.record, actor: row.actor })
        }))
    });
    let entries = read_page(rows, limit, Entry::bytes).await?;
    Ok(Some(History { created_at: state.created_at, entries }))
}
