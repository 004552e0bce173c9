//! Reads the status of an order, its history and its delivery from PostgreSQL.
//! [`store`](crate::status::store) and [`deliveries`](crate::deliveries) write them. Nothing here is
//! cached.

use std::future::ready;

use chassis::postgres::{
    errors::bad_column,
    page::{Page, read_page},
    read::{read, snapshot},
    time_limit::{BY_KEY, LIST},
};
use events::{DeliveryCause, DeliveryEvent, DeliveryStatus, OrderStatus, OrderUid};
use futures_util::TryStreamExt as _;
use sqlx::{PgConnection, PgPool};
use time::OffsetDateTime;

use crate::{
    order::FIRST_VERSION,
    status::verdict::{Ignored, Verdict},
};

#[derive(Debug, Clone)]
pub(crate) struct OrderState {
    /// `None` if no event with a status is recorded.
    pub(crate) recorded: Option<RecordedStatus>,
    /// The order itself, if it is stored.
    pub(crate) stored: Option<StoredOrder>,
    /// The latest delivery event, if there is one.
    pub(crate) delivery: Option<DeliveryEvent>,
    /// Earlier versions recorded the `created` events of this service. True if the order has one.
    has_recorded_creation: bool,
}

/// A status and the first record with it.
#[derive(Debug, Clone)]
pub(crate) struct RecordedStatus {
    pub(crate) status: OrderStatus,
    pub(crate) at: OffsetDateTime,
    pub(crate) topic: String,
    pub(crate) partition: i32,
    pub(crate) offset: i64,
}

/// A stored order and its latest record.
#[derive(Debug, Clone)]
pub(crate) struct StoredOrder {
    pub(crate) version: i32,
    /// The time when its first record was stored.
    pub(crate) ingested_at: OffsetDateTime,
    pub(crate) record_timestamp: OffsetDateTime,
    pub(crate) partition: i32,
    pub(crate) offset: i64,
}

/// The creation of an order, as its row says it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Creation {
    pub(crate) at: OffsetDateTime,
    /// Partition and offset of the order's record; `None` if a later record replaced it.
    pub(crate) record: Option<(i32, i64)>,
}

impl StoredOrder {
    pub(crate) fn creation(&self) -> Creation {
        let is_first = self.version == FIRST_VERSION;
        Creation { at: self.ingested_at, record: is_first.then_some((self.partition, self.offset)) }
    }
}

impl OrderState {
    /// Returns the order's status. A stored order is at least created: its own `created` event is not
    /// recorded. An order known only from events with unknown words has no status.
    pub(crate) fn status(&self) -> Option<OrderStatus> {
        let stored = self.stored.is_some().then_some(OrderStatus::Created);
        self.recorded.as_ref().map(|recorded| recorded.status).or(stored)
    }

    /// Returns the order's creation, if its status comes from it and not from an event: no event has a
    /// higher status, and no `created` event of another source is earlier.
    pub(crate) fn status_from_creation(&self) -> Option<Creation> {
        let creation = self.stored.as_ref()?.creation();
        let is_earlier = self.recorded.as_ref().is_none_or(|recorded| {
            recorded.status == OrderStatus::Created && creation.at < recorded.at
        });
        is_earlier.then_some(creation)
    }

    /// Returns the first entry of the order's history, unless a recorded event is that entry.
    pub(crate) fn creation_entry(&self) -> Option<Creation> {
        let stored = self.stored.as_ref().filter(|_| !self.has_recorded_creation)?;
        Some(stored.creation())
    }
}

/// Reads the state of an order and a page of its history from one snapshot, so that an event and
/// the status that follows from it are seen together.
pub(crate) async fn find_history(
    pool: &PgPool,
    uid: &OrderUid,
    after: Option<&HistoryCursor>,
    limit: i64,
) -> Result<(Option<OrderState>, Page<EventRow>), sqlx::Error> {
    snapshot(pool, LIST, async |snapshot| {
        let state = order_state(&mut *snapshot, uid).await?;
        let events = order_history(snapshot, uid, after, limit).await?;
        Ok((state, events))
    })
    .await
}

/// Reads the state of an order; `None` if neither the order nor an event about it is stored.
pub(crate) async fn find_state(
    pool: &PgPool,
    uid: &OrderUid,
) -> Result<Option<OrderState>, sqlx::Error> {
    read(pool, BY_KEY, async |connection| order_state(connection, uid).await).await
}

async fn order_state(
    connection: &mut PgConnection,
    uid: &OrderUid,
) -> Result<Option<OrderState>, sqlx::Error> {
    let row = sqlx::query_as!(
        StateRow,
        r#"-- find_state
        SELECT stored.version AS "version?", stored.ingested_at AS "ingested_at?",
            stored.source_timestamp AS "source_timestamp?",
            stored.source_partition AS "source_partition?",
            stored.source_offset AS "source_offset?",
            status.rank AS "rank?", status.since AS "since?", status.topic AS "topic?",
            status."partition" AS "partition?", status."offset" AS "offset?",
            EXISTS (SELECT FROM orders.order_events AS event WHERE event.order_uid = asked.order_uid)
                AS "has_events!",
            EXISTS (
                SELECT FROM orders.order_events AS event
                WHERE event.order_uid = asked.order_uid AND event.rank = $2
                    AND event.version IS NOT NULL
            ) AS "has_recorded_creation!",
            delivery.since AS "delivery_at?", delivery.number AS "delivery_number?",
            delivery.status AS "delivery_status?", delivery.courier_id, delivery.transport_type,
            delivery.deadline, delivery.cause
        FROM (SELECT $1 AS order_uid) AS asked
        LEFT JOIN orders.orders AS stored USING (order_uid)
        LEFT JOIN orders.order_status AS status USING (order_uid)
        LEFT JOIN orders.order_deliveries AS delivery USING (order_uid)"#,
        uid.as_str(),
        OrderStatus::Created.rank(),
    )
    .fetch_one(connection)
    .await?;
    let has_recorded_creation = row.has_recorded_creation;
    let status = row.rank.map(parse_rank).transpose()?;
    let (stored, has_events) = (row.stored_order(), row.has_events);
    let delivery = row.delivery(uid)?;
    let recorded = status.and_then(|status| row.recorded_status(status));
    // `updated` and unknown words have no rank and make no row in `order_status`, so an order may
    // be known only from `order_events`, or only from its delivery.
    let is_known = stored.is_some() || has_events || delivery.is_some();
    Ok(is_known.then_some(OrderState { recorded, stored, delivery, has_recorded_creation }))
}

/// The columns of `orders`, `order_status` and `order_deliveries`, which have no row for every order.
struct StateRow {
    version: Option<i32>,
    ingested_at: Option<OffsetDateTime>,
    source_timestamp: Option<OffsetDateTime>,
    source_partition: Option<i32>,
    source_offset: Option<i64>,
    rank: Option<i16>,
    since: Option<OffsetDateTime>,
    topic: Option<String>,
    partition: Option<i32>,
    offset: Option<i64>,
    has_events: bool,
    has_recorded_creation: bool,
    delivery_at: Option<OffsetDateTime>,
    delivery_number: Option<i64>,
    delivery_status: Option<String>,
    courier_id: Option<i64>,
    transport_type: Option<String>,
    deadline: Option<OffsetDateTime>,
    cause: Option<String>,
}

impl StateRow {
    fn stored_order(&self) -> Option<StoredOrder> {
        Some(StoredOrder {
            version: self.version?,
            ingested_at: self.ingested_at?,
            record_timestamp: self.source_timestamp?,
            partition: self.source_partition?,
            offset: self.source_offset?,
        })
    }

    fn delivery(&self, uid: &OrderUid) -> Result<Option<DeliveryEvent>, sqlx::Error> {
        let (Some(at), Some(number), Some(status)) =
            (self.delivery_at, self.delivery_number, self.delivery_status.as_deref())
        else {
            return Ok(None);
        };
        let cause = self.cause.as_deref();
        Ok(Some(DeliveryEvent {
            order_id: uid.clone(),
            courier_id: self
                .courier_id
                .map(TryInto::try_into)
                .transpose()
                .map_err(|error| bad_column("orders.order_deliveries.courier_id", error))?,
            status: known("orders.order_deliveries.status", DeliveryStatus::of_word(status))?,
            at,
            number,
            transport_type: self
                .transport_type
                .as_deref()
                .map(str::parse)
                .transpose()
                .map_err(|error| bad_column("orders.order_deliveries.transport_type", error))?,
            deadline: self.deadline,
            cause: cause
                .map(|word| known("orders.order_deliveries.cause", DeliveryCause::of_word(word)))
                .transpose()?,
        }))
    }

    fn recorded_status(self, status: OrderStatus) -> Option<RecordedStatus> {
        let (at, topic) = (self.since?, self.topic?);
        Some(RecordedStatus { status, at, topic, partition: self.partition?, offset: self.offset? })
    }
}

#[derive(Debug, Clone)]
pub(crate) struct EventRow {
    pub(crate) at: OffsetDateTime,
    pub(crate) topic: String,
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    /// The status as it was spelled in the event.
    pub(crate) word: String,
    /// `None` if the word is not a status.
    pub(crate) status: Option<OrderStatus>,
    /// The `created_at` of the event.
    pub(crate) created_at: Option<OffsetDateTime>,
    pub(crate) version: Option<i32>,
    pub(crate) ignored: Verdict,
}

/// The last event of a page of a history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HistoryCursor {
    pub(crate) at: OffsetDateTime,
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    pub(crate) topic: String,
}

/// Reads one page of the events of an order, sorted by Kafka's timestamp, partition and offset,
/// from the first event after `after`.
async fn order_history(
    connection: &mut PgConnection,
    uid: &OrderUid,
    after: Option<&HistoryCursor>,
    limit: i64,
) -> Result<Page<EventRow>, sqlx::Error> {
    // The columns are those of the primary key, in its order. So the sequence is total: events with
    // equal timestamps are neither skipped nor repeated from one page to the next.
    let rows = sqlx::query_as!(
        HistoryRow,
        r#"-- order_history
        SELECT record_timestamp, "partition", "offset", topic, word, rank, told_at, version, ignored
        FROM orders.order_events
        WHERE order_uid = $1
            AND ($2::timestamptz IS NULL
                OR (record_timestamp, "partition", "offset", topic) > ($2, $3, $4, $5))
        ORDER BY record_timestamp, "partition", "offset", topic
        LIMIT $6"#,
        uid.as_str(),
        after.map(|last| last.at),
        after.map(|last| last.partition),
        after.map(|last| last.offset),
        after.map(|last| last.topic.as_str()),
        limit + 1,
    )
    .fetch(connection)
    .and_then(|row| ready(row.parse()));
    read_page(rows, limit, |event| size_of::<EventRow>() + event.word.len()).await
}

/// The columns of `order_events`.
struct HistoryRow {
    record_timestamp: OffsetDateTime,
    partition: i32,
    offset: i64,
    topic: String,
    word: String,
    rank: Option<i16>,
    told_at: Option<OffsetDateTime>,
    version: Option<i32>,
    ignored: Option<String>,
}

impl HistoryRow {
    fn parse(self) -> Result<EventRow, sqlx::Error> {
        Ok(EventRow {
            at: self.record_timestamp,
            topic: self.topic,
            partition: self.partition,
            offset: self.offset,
            word: self.word,
            status: self.rank.map(parse_rank).transpose()?,
            created_at: self.told_at,
            version: self.version,
            ignored: self.ignored.as_deref().map(parse_ignored).transpose()?,
        })
    }
}

/// Parses the rank of a status in a row.
pub(crate) fn parse_rank(rank: i16) -> Result<OrderStatus, sqlx::Error> {
    OrderStatus::of_rank(rank).ok_or_else(|| {
        bad_column("orders.order_status.rank", format!("{rank} is not the rank of a status"))
    })
}

/// Returns the value of a word in `column`.
fn known<T>(column: &str, value: Option<T>) -> Result<T, sqlx::Error> {
    value.ok_or_else(|| bad_column(column, "the word is not known"))
}

fn parse_ignored(code: &str) -> Result<Ignored, sqlx::Error> {
    Ignored::ALL.into_iter().find(|ignored| ignored.as_str() == code).ok_or_else(|| {
        bad_column("orders.order_events.ignored", format!("{code:?} is not a reason"))
    })
}
