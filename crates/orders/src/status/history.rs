//! What became of an order, as it is read from PostgreSQL: how it stands, and its history. Nothing is
//! written here; that is [`status`](crate::status::store).

use chassis::postgres::pool::snapshot;
use events::{OrderStatus, OrderUid};
use sqlx::{PgExecutor, PgPool};
use time::OffsetDateTime;

use crate::{lookup::queries::bad_column, status::verdict::Ignored};

/// How an order stands.
#[derive(Debug, Clone)]
pub(crate) struct Standing {
    /// Its status, and since which record; `None` if no event has told one yet.
    pub(crate) told: Option<ToldBy>,
    /// The order itself, if it is stored.
    pub(crate) stored: Option<Stored>,
}

/// A status and the record that told it first.
#[derive(Debug, Clone)]
pub(crate) struct ToldBy {
    pub(crate) status: OrderStatus,
    pub(crate) at: OffsetDateTime,
    pub(crate) topic: String,
    pub(crate) partition: i32,
    pub(crate) offset: i64,
}

/// A stored order and its greatest record.
#[derive(Debug, Clone)]
pub(crate) struct Stored {
    pub(crate) version: i32,
    /// When its first record was stored.
    pub(crate) ingested_at: OffsetDateTime,
    pub(crate) record_timestamp: OffsetDateTime,
    pub(crate) partition: i32,
    pub(crate) offset: i64,
}

impl Standing {
    /// The order's status. A stored order is created, whether its event has come round or not; one
    /// of which only unknown words were told has none.
    pub(crate) fn status(&self) -> Option<OrderStatus> {
        let stored = self.stored.is_some().then_some(OrderStatus::Created);
        self.told.as_ref().map(|told| told.status).or(stored)
    }
}

/// How an order stands, and a page of its [`history`], as of one instant: an event and the status
/// that follows from it are seen together.
pub(crate) async fn whole(
    pool: &PgPool,
    uid: &OrderUid,
    after: Option<&Place>,
    limit: i64,
) -> Result<(Option<Standing>, Vec<EventRow>), sqlx::Error> {
    let mut snapshot = snapshot(pool).await?;
    let standing = standing(&mut *snapshot, uid).await?;
    let events = history(&mut *snapshot, uid, after, limit).await?;
    snapshot.commit().await?;
    Ok((standing, events))
}

/// How an order stands; `None` if neither it nor an event of it is known.
pub(crate) async fn standing(
    database: impl PgExecutor<'_>,
    uid: &OrderUid,
) -> Result<Option<Standing>, sqlx::Error> {
    let row = sqlx::query!(
        r#"-- find_status
        SELECT stored.version AS "version?", stored.ingested_at AS "ingested_at?",
            stored.source_timestamp AS "source_timestamp?",
            stored.source_partition AS "source_partition?",
            stored.source_offset AS "source_offset?",
            status.rank AS "rank?", status.since AS "since?", status.topic AS "topic?",
            status."partition" AS "partition?", status."offset" AS "offset?",
            EXISTS (SELECT FROM orders.order_events AS event WHERE event.order_uid = asked.order_uid)
                AS "heard_of!"
        FROM (SELECT $1 AS order_uid) AS asked
        LEFT JOIN orders.orders AS stored USING (order_uid)
        LEFT JOIN orders.order_status AS status USING (order_uid)"#,
        uid.as_str(),
    )
    .fetch_one(database)
    .await?;
    let told = match (row.rank, row.since, row.topic, row.partition, row.offset) {
        (Some(rank), Some(at), Some(topic), Some(partition), Some(offset)) => {
            Some(ToldBy { status: status_of(rank)?, at, topic, partition, offset })
        }
        _ => None,
    };
    let stored = match (
        row.version,
        row.ingested_at,
        row.source_timestamp,
        row.source_partition,
        row.source_offset,
    ) {
        (
            Some(version),
            Some(ingested_at),
            Some(record_timestamp),
            Some(partition),
            Some(offset),
        ) => Some(Stored { version, ingested_at, record_timestamp, partition, offset }),
        _ => None,
    };
    let is_known = stored.is_some() || row.heard_of;
    Ok(is_known.then_some(Standing { told, stored }))
}

/// An event as it is recorded.
#[derive(Debug, Clone)]
pub(crate) struct EventRow {
    pub(crate) at: OffsetDateTime,
    pub(crate) topic: String,
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    /// The status as it was written.
    pub(crate) word: String,
    /// What that means, if anything.
    pub(crate) status: Option<OrderStatus>,
    /// When it happened, as the event tells.
    pub(crate) told_at: Option<OffsetDateTime>,
    pub(crate) version: Option<i32>,
    pub(crate) ignored: Option<Ignored>,
}

/// Where a page of a history ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) at: OffsetDateTime,
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    pub(crate) topic: String,
}

/// The events of an order, as Kafka took them: one page, after `after`.
async fn history(
    database: impl PgExecutor<'_>,
    uid: &OrderUid,
    after: Option<&Place>,
    limit: i64,
) -> Result<Vec<EventRow>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"-- order_history
        SELECT record_timestamp, "partition", "offset", topic, word, rank, told_at, version, ignored
        FROM orders.order_events
        WHERE order_uid = $1
            AND ($2::timestamptz IS NULL
                OR (record_timestamp, "partition", "offset", topic) > ($2, $3, $4, $5))
        ORDER BY record_timestamp, "partition", "offset", topic
        LIMIT $6"#,
        uid.as_str(),
        after.map(|place| place.at),
        after.map(|place| place.partition),
        after.map(|place| place.offset),
        after.map(|place| place.topic.as_str()),
        limit,
    )
    .fetch_all(database)
    .await?;
    rows.into_iter()
        .map(|row| {
            Ok(EventRow {
                at: row.record_timestamp,
                topic: row.topic,
                partition: row.partition,
                offset: row.offset,
                word: row.word,
                status: row.rank.map(status_of).transpose()?,
                told_at: row.told_at,
                version: row.version,
                ignored: row.ignored.as_deref().map(ignored_of).transpose()?,
            })
        })
        .collect()
}

/// The status of a rank in a row.
pub(crate) fn status_of(rank: i16) -> Result<OrderStatus, sqlx::Error> {
    OrderStatus::of_rank(rank)
        .ok_or_else(|| bad_column("order_status.rank", format!("{rank} is none")))
}

fn ignored_of(code: &str) -> Result<Ignored, sqlx::Error> {
    Ignored::ALL
        .into_iter()
        .find(|ignored| ignored.as_str() == code)
        .ok_or_else(|| bad_column("order_events.ignored", format!("{code:?} is no reason")))
}
