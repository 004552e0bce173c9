//! The orders in PostgreSQL. All SQL about orders is here; that about rejected records is in
//! [`rejected`](crate::rejected).
//!
//! Only this module can make a [`Committed`]: cache, publisher and offsets take nothing else.

use std::{collections::HashMap, time::Duration};

use bytes::Bytes;
use chassis::{
    consumer::Position,
    crash,
    postgres::{Fault, fault},
    retry::Backoff,
};
use events::OrderUid;
use futures_util::{Stream, TryStreamExt};
use sqlx::{Acquire, PgConnection, PgPool, types::Json};
use time::OffsetDateTime;

use crate::{
    ingest::{Content, Incoming},
    order::{Delivery, Item, Order, Payment},
    record::ContentHash,
    rejected,
    rejection::Rejection,
};

/// Binds all columns, in the order in which the two statements number them.
macro_rules! bind_columns {
    ($query:expr, $columns:expr) => {{
        let t = &$columns.texts;
        let n = &$columns.numbers;
        $query
            .bind(&t[0])
            .bind(&t[1])
            .bind(&t[2])
            .bind(&t[3])
            .bind(&t[4])
            .bind(&t[5])
            .bind(&t[6])
            .bind(&t[7])
            .bind(&t[8])
            .bind(&t[9])
            .bind(&t[10])
            .bind(&t[11])
            .bind(&t[12])
            .bind(&t[13])
            .bind(&n[0])
            .bind(&n[1])
            .bind(&t[14])
            .bind(&n[2])
            .bind(&n[3])
            .bind(&n[4])
            .bind(&$columns.items)
            .bind(&t[15])
            .bind(&t[16])
            .bind(&t[17])
            .bind(&t[18])
            .bind(&t[19])
            .bind(&n[5])
            .bind(&$columns.date_created)
            .bind(&t[20])
            .bind(&$columns.warnings)
            .bind(&$columns.content_hash)
            .bind(&$columns.source_timestamp)
            .bind(&$columns.source_partition)
            .bind(&$columns.source_offset)
    }};
}

/// A transaction that has been silent for so long is given up and tried again: its outcome is
/// unknown, and that is harmless.
const SILENCE: Duration = Duration::from_secs(40);

/// An order as it is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct View {
    pub(crate) order_uid: OrderUid,
    /// From 1.
    pub(crate) version: i32,
    /// Of `json`.
    pub(crate) hash: ContentHash,
    /// The canonical order.
    pub(crate) json: Bytes,
}

/// A batch whose records are in the database, each with what it became.
#[derive(Debug)]
pub(crate) struct Committed {
    incoming: Vec<Incoming>,
    versions: HashMap<OrderUid, i32>,
    views: Vec<View>,
}

impl Committed {
    /// Every record of the batch; a record that only the database refused is a rejection by now.
    pub(crate) fn incoming(&self) -> &[Incoming] {
        &self.incoming
    }

    /// The version of an order that the batch holds.
    pub(crate) fn version(&self, uid: &OrderUid) -> Option<i32> {
        self.versions.get(uid).copied()
    }

    /// Orders whose rows now hold what the batch brought.
    pub(crate) fn views(&self) -> &[View] {
        &self.views
    }
}

/// Commits a batch in one transaction and retries the weather for ever. When the database refuses a
/// value, the batch is split in halves until the guilty record is alone and becomes a rejection.
pub(crate) async fn commit(pool: &PgPool, topic: &str, batch: Vec<Incoming>) -> Committed {
    let mut committed =
        Committed { incoming: Vec::new(), versions: HashMap::new(), views: Vec::new() };
    let mut parts = vec![batch];
    while let Some(mut part) = parts.pop() {
        match commit_part(pool, topic, &part).await {
            Ok((versions, views)) => {
                committed.versions.extend(versions);
                committed.views.extend(views);
                committed.incoming.append(&mut part);
            }
            Err(refusal) if part.len() == 1 => {
                for incoming in &mut part {
                    incoming.content = Content::Rejection(Rejection::refused_by_database(&refusal));
                }
                parts.push(part);
            }
            Err(_) => {
                let second = part.split_off(part.len() / 2);
                parts.push(second);
                parts.push(part);
            }
        }
    }
    committed
}

type Outcome = (HashMap<OrderUid, i32>, Vec<View>);

/// The error is the database's refusal of a value; everything else is tried again.
async fn commit_part(pool: &PgPool, topic: &str, part: &[Incoming]) -> Result<Outcome, String> {
    let mut backoff = Backoff::default();
    loop {
        let error = match attempt(pool, topic, part).await {
            Ok(outcome) => {
                if !backoff.is_first() {
                    tracing::info!(records = part.len(), "PostgreSQL takes batches again");
                }
                return Ok(outcome);
            }
            Err(error) => error,
        };
        if fault(&error) == Fault::Data {
            let code =
                error.as_database_error().and_then(|e| e.code()).map(|code| code.into_owned());
            return Err(code.unwrap_or_else(|| "unknown".to_owned()));
        }
        if backoff.is_first() {
            tracing::warn!(records = part.len(), "waiting for PostgreSQL to take a batch: {error}");
        }
        backoff.pause().await;
    }
}

async fn attempt(pool: &PgPool, topic: &str, part: &[Incoming]) -> Result<Outcome, sqlx::Error> {
    let mut connection = pool.acquire().await?;
    let outcome = tokio::time::timeout(SILENCE, write(&mut connection, topic, part)).await;
    let outcome = outcome.unwrap_or(Err(sqlx::Error::PoolTimedOut));
    if outcome.as_ref().is_err_and(|error| fault(error) == Fault::Weather) {
        // A connection to a server that failed over, or that is silent, is of no more use.
        connection.close_on_drop();
    }
    outcome
}

async fn write(
    connection: &mut PgConnection,
    topic: &str,
    part: &[Incoming],
) -> Result<Outcome, sqlx::Error> {
    let latest = fold(part);
    let mut transaction = connection.begin().await?;
    let mut versions = HashMap::with_capacity(latest.len());
    if !latest.is_empty() {
        for uid in insert_orders(&mut transaction, &latest).await? {
            versions.insert(uid, 1);
        }
        if versions.len() < latest.len() {
            let known: Vec<_> = latest
                .iter()
                .copied()
                .filter(|(_, order)| !versions.contains_key(&order.order.order_uid))
                .collect();
            update_orders(&mut transaction, &known).await?;
        }
    }
    // Rows that are not new: whatever the batch did to them, the database tells how they stand.
    let known: Vec<&str> = latest
        .iter()
        .map(|(_, order)| &order.order.order_uid)
        .filter(|uid| !versions.contains_key(*uid))
        .map(OrderUid::as_str)
        .collect();
    let mut current = HashMap::new();
    if !known.is_empty() {
        for (uid, version, hash) in versions_of(&mut transaction, &known).await? {
            versions.insert(uid.clone(), version);
            current.insert(uid, hash);
        }
    }
    rejected::insert(&mut transaction, topic, part).await?;
    rejected::note_replays(&mut transaction, part).await?;
    crash::point("before-commit");
    transaction.commit().await?;
    crash::point("after-commit");

    let views = latest
        .iter()
        .filter(|(_, order)| {
            current.get(&order.order.order_uid).is_none_or(|hash| *hash == order.hash)
        })
        .filter_map(|(_, order)| {
            Some(View {
                order_uid: order.order.order_uid.clone(),
                version: *versions.get(&order.order.order_uid)?,
                hash: order.hash,
                json: Bytes::copy_from_slice(&order.json),
            })
        })
        .collect();
    Ok((versions, views))
}

type Latest<'a> = (Position, &'a crate::record::ValidOrder);

/// Of each order the latest record, sorted by order id.
fn fold(part: &[Incoming]) -> Vec<Latest<'_>> {
    let mut latest: HashMap<&OrderUid, Latest<'_>> = HashMap::with_capacity(part.len());
    for incoming in part {
        if let Content::Order(order) = &incoming.content {
            let kept = latest.entry(&order.order.order_uid).or_insert((incoming.position, order));
            if kept.0 < incoming.position {
                *kept = (incoming.position, order);
            }
        }
    }
    let mut latest: Vec<_> = latest.into_values().collect();
    latest.sort_unstable_by(|a, b| a.1.order.order_uid.cmp(&b.1.order.order_uid));
    latest
}

async fn insert_orders(
    connection: &mut PgConnection,
    orders: &[Latest<'_>],
) -> Result<Vec<OrderUid>, sqlx::Error> {
    let columns = Columns::of(orders);
    let query = sqlx::query_scalar::<_, String>(include_str!("../queries/insert_orders.sql"));
    let uids: Vec<String> = bind_columns!(query, columns).fetch_all(connection).await?;
    uids.into_iter()
        .map(|uid| uid.parse().map_err(|error| bad_column("order_uid", error)))
        .collect()
}

async fn update_orders(
    connection: &mut PgConnection,
    orders: &[Latest<'_>],
) -> Result<(), sqlx::Error> {
    let columns = Columns::of(orders);
    let query = sqlx::query(include_str!("../queries/update_orders.sql"));
    bind_columns!(query, columns).execute(connection).await?;
    Ok(())
}

async fn versions_of(
    connection: &mut PgConnection,
    uids: &[&str],
) -> Result<Vec<(OrderUid, i32, ContentHash)>, sqlx::Error> {
    let rows: Vec<(String, i32, Vec<u8>)> = sqlx::query_as(
        "-- versions_of\nSELECT order_uid, version, content_hash FROM orders.orders WHERE order_uid = ANY ($1)",
    )
    .bind(uids)
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|(uid, version, hash)| {
            let uid = uid.parse().map_err(|error| bad_column("order_uid", error))?;
            Ok((uid, version, hash_of(hash)?))
        })
        .collect()
}

/// One array a column, as `UNNEST` takes them.
#[derive(Default)]
struct Columns<'a> {
    texts: [Vec<&'a str>; 21],
    numbers: [Vec<i64>; 6],
    items: Vec<String>,
    date_created: Vec<OffsetDateTime>,
    warnings: Vec<String>,
    content_hash: Vec<&'a [u8]>,
    source_timestamp: Vec<OffsetDateTime>,
    source_partition: Vec<i32>,
    source_offset: Vec<i64>,
}

impl<'a> Columns<'a> {
    fn of(orders: &[Latest<'a>]) -> Self {
        let mut columns = Self::default();
        for (position, valid) in orders {
            let Order { delivery, payment, .. } = &valid.order;
            let order = &valid.order;
            let texts: [&str; 21] = [
                order.order_uid.as_str(),
                &order.track_number,
                &order.entry,
                &delivery.name,
                &delivery.phone,
                &delivery.zip,
                &delivery.city,
                &delivery.address,
                &delivery.region,
                &delivery.email,
                &payment.transaction,
                &payment.request_id,
                &payment.currency,
                &payment.provider,
                &payment.bank,
                &order.locale,
                &order.internal_signature,
                &order.customer_id,
                &order.delivery_service,
                &order.shardkey,
                &order.oof_shard,
            ];
            for (column, text) in columns.texts.iter_mut().zip(texts) {
                column.push(text);
            }
            let numbers = [
                payment.amount,
                payment.payment_dt,
                payment.delivery_cost,
                payment.goods_total,
                payment.custom_fee,
                order.sm_id,
            ];
            for (column, number) in columns.numbers.iter_mut().zip(numbers) {
                column.push(number);
            }
            columns.items.push(
                serde_json::to_string(&order.items)
                    .expect("items have string keys and finite numbers"),
            );
            columns.date_created.push(order.date_created);
            columns.warnings.push(valid.warnings.join(" "));
            columns.content_hash.push(valid.hash.as_bytes());
            columns.source_timestamp.push(instant(position.timestamp_ms));
            columns.source_partition.push(position.partition);
            columns.source_offset.push(position.offset);
        }
        columns
    }
}

/// Kafka's milliseconds as an instant.
pub(crate) fn instant(milliseconds: i64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(milliseconds) * 1_000_000)
        .unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

#[derive(sqlx::FromRow)]
struct OrderRow {
    order_uid: String,
    track_number: String,
    entry: String,
    delivery_name: String,
    delivery_phone: String,
    delivery_zip: String,
    delivery_city: String,
    delivery_address: String,
    delivery_region: String,
    delivery_email: String,
    payment_transaction: String,
    payment_request_id: String,
    payment_currency: String,
    payment_provider: String,
    payment_amount: i64,
    payment_dt: i64,
    payment_bank: String,
    payment_delivery_cost: i64,
    payment_goods_total: i64,
    payment_custom_fee: i64,
    items: Json<Vec<Item>>,
    locale: String,
    internal_signature: String,
    customer_id: String,
    delivery_service: String,
    shardkey: String,
    sm_id: i64,
    date_created: OffsetDateTime,
    oof_shard: String,
    version: i32,
}

impl OrderRow {
    fn into_view(self) -> Result<View, sqlx::Error> {
        let order = Order {
            order_uid: self.order_uid.parse().map_err(|error| bad_column("order_uid", error))?,
            track_number: self.track_number,
            entry: self.entry,
            delivery: Delivery {
                name: self.delivery_name,
                phone: self.delivery_phone,
                zip: self.delivery_zip,
                city: self.delivery_city,
                address: self.delivery_address,
                region: self.delivery_region,
                email: self.delivery_email,
            },
            payment: Payment {
                transaction: self.payment_transaction,
                request_id: self.payment_request_id,
                currency: self.payment_currency,
                provider: self.payment_provider,
                amount: self.payment_amount,
                payment_dt: self.payment_dt,
                bank: self.payment_bank,
                delivery_cost: self.payment_delivery_cost,
                goods_total: self.payment_goods_total,
                custom_fee: self.payment_custom_fee,
            },
            items: self.items.0,
            locale: self.locale,
            internal_signature: self.internal_signature,
            customer_id: self.customer_id,
            delivery_service: self.delivery_service,
            shardkey: self.shardkey,
            sm_id: self.sm_id,
            date_created: self.date_created,
            oof_shard: self.oof_shard,
        };
        let json = order.to_json();
        Ok(View {
            order_uid: order.order_uid,
            version: self.version,
            hash: ContentHash::of(&json),
            json: json.into(),
        })
    }
}

/// One order, as it stands.
pub(crate) async fn find(pool: &PgPool, uid: &OrderUid) -> Result<Option<View>, sqlx::Error> {
    let row: Option<OrderRow> =
        sqlx::query_as("-- find_order\nSELECT * FROM orders.orders WHERE order_uid = $1")
            .bind(uid.as_str())
            .fetch_optional(pool)
            .await?;
    row.map(OrderRow::into_view).transpose()
}

/// All orders, newest first, as a stream: for the warm-up.
pub(crate) fn newest_views(
    pool: &PgPool,
) -> impl Stream<Item = Result<View, sqlx::Error>> + Send + '_ {
    sqlx::query_as::<_, OrderRow>(
        "-- newest_views\nSELECT * FROM orders.orders ORDER BY ingested_at DESC, order_uid DESC",
    )
    .fetch(pool)
    .and_then(|row| std::future::ready(row.into_view()))
}

/// Where an order came from.
#[derive(Debug, Clone, sqlx::FromRow)]
pub(crate) struct Provenance {
    pub(crate) source_partition: i32,
    pub(crate) source_offset: i64,
    pub(crate) ingested_at: OffsetDateTime,
}

/// Where the greatest record of an order stood, and when its first was stored.
pub(crate) async fn provenance(
    pool: &PgPool,
    uid: &OrderUid,
) -> Result<Option<Provenance>, sqlx::Error> {
    sqlx::query_as(
        "-- provenance\nSELECT source_partition, source_offset, ingested_at \
         FROM orders.orders WHERE order_uid = $1",
    )
    .bind(uid.as_str())
    .fetch_optional(pool)
    .await
}

/// Which orders to list. Newest first.
#[derive(Debug, Clone, Default)]
pub(crate) struct Listing {
    pub(crate) customer_id: Option<String>,
    pub(crate) track_number: Option<String>,
    /// Only what is older than this.
    pub(crate) after: Option<(OffsetDateTime, String)>,
    pub(crate) limit: i64,
}

/// An order of a list: its canonical form and when it was stored.
#[derive(Debug)]
pub(crate) struct Listed {
    pub(crate) view: View,
    pub(crate) ingested_at: OffsetDateTime,
}

#[derive(sqlx::FromRow)]
struct ListedRow {
    #[sqlx(flatten)]
    order: OrderRow,
    ingested_at: OffsetDateTime,
}

/// One page of orders.
pub(crate) async fn list(pool: &PgPool, listing: &Listing) -> Result<Vec<Listed>, sqlx::Error> {
    // Each combination of filters is a statement of its own, so that each has its index.
    let filter = match (&listing.customer_id, &listing.track_number) {
        (None, None) => "$1::text IS NULL AND $2::text IS NULL",
        (Some(_), None) => "customer_id = $1 AND $2::text IS NULL",
        (None, Some(_)) => "$1::text IS NULL AND track_number = $2",
        (Some(_), Some(_)) => "customer_id = $1 AND track_number = $2",
    };
    let after = match &listing.after {
        None => "$3::timestamptz IS NULL AND $4::text IS NULL",
        Some(_) => "(ingested_at, order_uid) < ($3, $4)",
    };
    let statement = format!(
        "-- list_orders\nSELECT * FROM orders.orders WHERE {filter} AND {after} \
         ORDER BY ingested_at DESC, order_uid DESC LIMIT $5"
    );
    let (at, uid) = listing.after.clone().unzip();
    let rows: Vec<ListedRow> = sqlx::query_as(sqlx::AssertSqlSafe(statement))
        .bind(&listing.customer_id)
        .bind(&listing.track_number)
        .bind(at)
        .bind(uid)
        .bind(listing.limit)
        .fetch_all(pool)
        .await?;
    rows.into_iter()
        .map(|row| Ok(Listed { view: row.order.into_view()?, ingested_at: row.ingested_at }))
        .collect()
}

fn hash_of(bytes: Vec<u8>) -> Result<ContentHash, sqlx::Error> {
    ContentHash::try_from(bytes.as_slice()).map_err(|error| bad_column("content_hash", error))
}

/// A row that the database should never hold.
fn bad_column(column: &str, error: impl std::error::Error + Send + Sync + 'static) -> sqlx::Error {
    sqlx::Error::ColumnDecode { index: format!("orders.orders.{column}"), source: Box::new(error) }
}
