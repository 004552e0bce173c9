//! Writing batches of orders to PostgreSQL. How orders are read is in [`views`](crate::views); the
//! SQL about rejected records is in [`chassis::rejected`].
//!
//! Only this module can make a [`Committed`]: cache, publisher and offsets take nothing else.

use std::collections::HashMap;

use bytes::Bytes;
use chassis::{
    commit::{self, Writer},
    consumer::Position,
    postgres::instant,
    rejected,
};
use events::OrderUid;
use sqlx::{PgConnection, PgPool};
use time::OffsetDateTime;

use crate::{
    ingest::{Content, Incoming},
    order::Order,
    record::{ContentHash, ValidOrder},
    rejection::refused_by_database,
    views::{View, bad_column, parse_uid},
};

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

/// Commits a batch. A record that the database refuses becomes a rejection.
pub(crate) async fn commit(
    pool: &PgPool,
    topic: &str,
    metrics: &commit::Metrics,
    batch: Vec<Incoming>,
) -> Committed {
    let mut committed =
        Committed { incoming: Vec::new(), versions: HashMap::new(), views: Vec::new() };
    for part in commit::commit(pool, &RecordsOf(topic), metrics, batch).await {
        let (versions, views) = part.outcome;
        committed.incoming.extend(part.items);
        committed.versions.extend(versions);
        committed.views.extend(views);
    }
    committed
}

/// Writes records of this topic.
struct RecordsOf<'a>(&'a str);

impl Writer for RecordsOf<'_> {
    type Item = Incoming;
    type Outcome = (HashMap<OrderUid, i32>, Vec<View>);

    async fn write(
        &self,
        transaction: &mut PgConnection,
        part: &[Incoming],
    ) -> Result<Self::Outcome, sqlx::Error> {
        let latest = fold(part);
        let mut versions = HashMap::with_capacity(latest.len());
        if !latest.is_empty() {
            for uid in insert_orders(transaction, &latest).await? {
                versions.insert(uid, 1);
            }
            if versions.len() < latest.len() {
                let known: Vec<_> = latest
                    .iter()
                    .copied()
                    .filter(|(_, order)| !versions.contains_key(&order.order.order_uid))
                    .collect();
                update_orders(transaction, &known).await?;
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
            for (uid, version, hash) in versions_of(transaction, &known).await? {
                versions.insert(uid.clone(), version);
                current.insert(uid, hash);
            }
        }
        let refused = part.iter().filter_map(Incoming::rejected).collect();
        rejected::insert(transaction, self.0, refused).await?;
        rejected::note_replays(transaction, part.iter().map(|one| &one.original)).await?;

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

    fn refuse(&self, incoming: &mut Incoming, sqlstate: &str) {
        incoming.content = Content::Rejection(refused_by_database(sqlstate));
    }
}

type Latest<'a> = (Position, &'a ValidOrder);

/// Of each order the latest record, sorted by order id.
fn fold(part: &[Incoming]) -> Vec<Latest<'_>> {
    let mut latest: HashMap<&OrderUid, Latest<'_>> = HashMap::with_capacity(part.len());
    for incoming in part {
        if let Content::Order(order) = &incoming.content {
            let kept =
                latest.entry(&order.order.order_uid).or_insert((incoming.original.position, order));
            if kept.0 < incoming.original.position {
                *kept = (incoming.original.position, order);
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
    let uids = sqlx::query_file_scalar!(
        "queries/insert_orders.sql",
        &columns.order_uid as &[&str],
        &columns.track_number as &[&str],
        &columns.entry as &[&str],
        &columns.delivery_name as &[&str],
        &columns.delivery_phone as &[&str],
        &columns.delivery_zip as &[&str],
        &columns.delivery_city as &[&str],
        &columns.delivery_address as &[&str],
        &columns.delivery_region as &[&str],
        &columns.delivery_email as &[&str],
        &columns.payment_transaction as &[&str],
        &columns.payment_request_id as &[&str],
        &columns.payment_currency as &[&str],
        &columns.payment_provider as &[&str],
        &columns.payment_amount,
        &columns.payment_dt,
        &columns.payment_bank as &[&str],
        &columns.payment_delivery_cost,
        &columns.payment_goods_total,
        &columns.payment_custom_fee,
        &columns.items,
        &columns.locale as &[&str],
        &columns.internal_signature as &[&str],
        &columns.customer_id as &[&str],
        &columns.delivery_service as &[&str],
        &columns.shardkey as &[&str],
        &columns.sm_id,
        &columns.date_created,
        &columns.oof_shard as &[&str],
        &columns.warnings,
        &columns.content_hash as &[&[u8]],
        &columns.source_timestamp,
        &columns.source_partition,
        &columns.source_offset,
    )
    .fetch_all(connection)
    .await?;
    uids.iter().map(|uid| parse_uid(uid)).collect()
}

async fn update_orders(
    connection: &mut PgConnection,
    orders: &[Latest<'_>],
) -> Result<(), sqlx::Error> {
    let columns = Columns::of(orders);
    sqlx::query_file!(
        "queries/update_orders.sql",
        &columns.order_uid as &[&str],
        &columns.track_number as &[&str],
        &columns.entry as &[&str],
        &columns.delivery_name as &[&str],
        &columns.delivery_phone as &[&str],
        &columns.delivery_zip as &[&str],
        &columns.delivery_city as &[&str],
        &columns.delivery_address as &[&str],
        &columns.delivery_region as &[&str],
        &columns.delivery_email as &[&str],
        &columns.payment_transaction as &[&str],
        &columns.payment_request_id as &[&str],
        &columns.payment_currency as &[&str],
        &columns.payment_provider as &[&str],
        &columns.payment_amount,
        &columns.payment_dt,
        &columns.payment_bank as &[&str],
        &columns.payment_delivery_cost,
        &columns.payment_goods_total,
        &columns.payment_custom_fee,
        &columns.items,
        &columns.locale as &[&str],
        &columns.internal_signature as &[&str],
        &columns.customer_id as &[&str],
        &columns.delivery_service as &[&str],
        &columns.shardkey as &[&str],
        &columns.sm_id,
        &columns.date_created,
        &columns.oof_shard as &[&str],
        &columns.warnings,
        &columns.content_hash as &[&[u8]],
        &columns.source_timestamp,
        &columns.source_partition,
        &columns.source_offset,
    )
    .execute(connection)
    .await?;
    Ok(())
}

async fn versions_of(
    connection: &mut PgConnection,
    uids: &[&str],
) -> Result<Vec<(OrderUid, i32, ContentHash)>, sqlx::Error> {
    let rows = sqlx::query!(
        "-- versions_of\n\
         SELECT order_uid, version, content_hash FROM orders.orders WHERE order_uid = ANY ($1)",
        uids as &[&str],
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| {
            let hash = ContentHash::try_from(row.content_hash.as_slice())
                .map_err(|error| bad_column("content_hash", error))?;
            Ok((parse_uid(&row.order_uid)?, row.version, hash))
        })
        .collect()
}

/// One array a column, as `UNNEST` takes them.
struct Columns<'a> {
    order_uid: Vec<&'a str>,
    track_number: Vec<&'a str>,
    entry: Vec<&'a str>,
    delivery_name: Vec<&'a str>,
    delivery_phone: Vec<&'a str>,
    delivery_zip: Vec<&'a str>,
    delivery_city: Vec<&'a str>,
    delivery_address: Vec<&'a str>,
    delivery_region: Vec<&'a str>,
    delivery_email: Vec<&'a str>,
    payment_transaction: Vec<&'a str>,
    payment_request_id: Vec<&'a str>,
    payment_currency: Vec<&'a str>,
    payment_provider: Vec<&'a str>,
    payment_amount: Vec<i64>,
    payment_dt: Vec<i64>,
    payment_bank: Vec<&'a str>,
    payment_delivery_cost: Vec<i64>,
    payment_goods_total: Vec<i64>,
    payment_custom_fee: Vec<i64>,
    items: Vec<String>,
    locale: Vec<&'a str>,
    internal_signature: Vec<&'a str>,
    customer_id: Vec<&'a str>,
    delivery_service: Vec<&'a str>,
    shardkey: Vec<&'a str>,
    sm_id: Vec<i64>,
    date_created: Vec<OffsetDateTime>,
    oof_shard: Vec<&'a str>,
    warnings: Vec<String>,
    content_hash: Vec<&'a [u8]>,
    source_timestamp: Vec<OffsetDateTime>,
    source_partition: Vec<i32>,
    source_offset: Vec<i64>,
}

impl<'a> Columns<'a> {
    fn of(orders: &[Latest<'a>]) -> Self {
        let text = |of: fn(&Order) -> &str| column(orders, |_, valid| of(&valid.order));
        let number = |of: fn(&Order) -> i64| column(orders, |_, valid| of(&valid.order));
        Self {
            order_uid: text(|order| order.order_uid.as_str()),
            track_number: text(|order| &order.track_number),
            entry: text(|order| &order.entry),
            delivery_name: text(|order| &order.delivery.name),
            delivery_phone: text(|order| &order.delivery.phone),
            delivery_zip: text(|order| &order.delivery.zip),
            delivery_city: text(|order| &order.delivery.city),
            delivery_address: text(|order| &order.delivery.address),
            delivery_region: text(|order| &order.delivery.region),
            delivery_email: text(|order| &order.delivery.email),
            payment_transaction: text(|order| &order.payment.transaction),
            payment_request_id: text(|order| &order.payment.request_id),
            payment_currency: text(|order| &order.payment.currency),
            payment_provider: text(|order| &order.payment.provider),
            payment_amount: number(|order| order.payment.amount),
            payment_dt: number(|order| order.payment.payment_dt),
            payment_bank: text(|order| &order.payment.bank),
            payment_delivery_cost: number(|order| order.payment.delivery_cost),
            payment_goods_total: number(|order| order.payment.goods_total),
            payment_custom_fee: number(|order| order.payment.custom_fee),
            items: column(orders, |_, valid| {
                serde_json::to_string(&valid.order.items)
                    .expect("items have string keys and finite numbers")
            }),
            locale: text(|order| &order.locale),
            internal_signature: text(|order| &order.internal_signature),
            customer_id: text(|order| &order.customer_id),
            delivery_service: text(|order| &order.delivery_service),
            shardkey: text(|order| &order.shardkey),
            sm_id: number(|order| order.sm_id),
            date_created: column(orders, |_, valid| valid.order.date_created),
            oof_shard: text(|order| &order.oof_shard),
            warnings: column(orders, |_, valid| valid.warnings.join(" ")),
            content_hash: column(orders, |_, valid| valid.hash.as_bytes().as_slice()),
            source_timestamp: column(orders, |position, _| instant(position.timestamp_ms)),
            source_partition: column(orders, |position, _| position.partition),
            source_offset: column(orders, |position, _| position.offset),
        }
    }
}

fn column<'a, T>(orders: &[Latest<'a>], of: impl Fn(Position, &'a ValidOrder) -> T) -> Vec<T> {
    orders.iter().map(|(position, valid)| of(*position, valid)).collect()
}
