//! Writing batches of orders to PostgreSQL. How orders are read is in [`views`](crate::views); the
//! SQL about rejected records is in [`chassis::rejected`].
//!
//! Only this module can make a [`Committed`]: cache, publisher and offsets take nothing else.

use std::{
    cmp::Reverse,
    collections::HashMap,
    sync::atomic::{AtomicBool, Ordering},
};

use chassis::{
    all_new::AllNew,
    commit::{self, Part, WriteError, Writer},
    consumer::Position,
    copy_in::{JsonText, Row},
    postgres::instant,
    rejected::{self, Original},
    trace::Trace,
};
use events::OrderUid;
use sqlx::{PgConnection, PgPool};
use time::OffsetDateTime;

use crate::{
    ingest::{Content, Incoming},
    order::Order,
    record::{ContentHash, ValidOrder},
    rejection::{Rejection, refused_by_database},
    views::{View, bad_column, parse_uid},
};

/// The version of an order that was not known.
pub(crate) const FIRST_VERSION: i32 = 1;

/// As `queries/insert_orders.sql`, for orders that are all new.
const COPY_ORDERS: &str = "\
    COPY orders.orders (order_uid, track_number, entry, delivery_name, delivery_phone, delivery_zip, \
    delivery_city, delivery_address, delivery_region, delivery_email, payment_transaction, \
    payment_request_id, payment_currency, payment_provider, payment_amount, payment_dt, \
    payment_bank, payment_delivery_cost, payment_goods_total, payment_custom_fee, items, locale, \
    internal_signature, customer_id, delivery_service, shardkey, sm_id, date_created, oof_shard, \
    warnings, content_hash, source_timestamp, source_partition, source_offset) \
    FROM STDIN (FORMAT binary)";

/// A query of a file with one array a column.
macro_rules! query_of_columns {
    ($file:tt, $columns:expr) => {
        sqlx::query_file!(
            $file,
            &$columns.order_uid as &[&str],
            &$columns.track_number as &[&str],
            &$columns.entry as &[&str],
            &$columns.delivery_name as &[&str],
            &$columns.delivery_phone as &[&str],
            &$columns.delivery_zip as &[&str],
            &$columns.delivery_city as &[&str],
            &$columns.delivery_address as &[&str],
            &$columns.delivery_region as &[&str],
            &$columns.delivery_email as &[&str],
            &$columns.payment_transaction as &[&str],
            &$columns.payment_request_id as &[&str],
            &$columns.payment_currency as &[&str],
            &$columns.payment_provider as &[&str],
            &$columns.payment_amount,
            &$columns.payment_dt,
            &$columns.payment_bank as &[&str],
            &$columns.payment_delivery_cost,
            &$columns.payment_goods_total,
            &$columns.payment_custom_fee,
            &$columns.items as &[&str],
            &$columns.locale as &[&str],
            &$columns.internal_signature as &[&str],
            &$columns.customer_id as &[&str],
            &$columns.delivery_service as &[&str],
            &$columns.shardkey as &[&str],
            &$columns.sm_id,
            &$columns.date_created,
            &$columns.oof_shard as &[&str],
            &$columns.warnings,
            &$columns.content_hash as &[&[u8]],
            &$columns.source_timestamp,
            &$columns.source_partition,
            &$columns.source_offset,
        )
    };
}

/// A batch whose records are in the database: what remains to be done about them.
#[derive(Debug, Default)]
pub(crate) struct Committed {
    orders: Vec<CommittedOrder>,
    rejected: Vec<(Original, Rejection)>,
    views: Vec<View>,
}

/// What is to be told of a record that is an order.
#[derive(Debug)]
pub(crate) struct CommittedOrder {
    pub(crate) uid: OrderUid,
    /// As the order stands now, whether this record made it so or a later one.
    pub(crate) version: i32,
    pub(crate) trace: Option<Trace>,
    pub(crate) warnings: Vec<&'static str>,
    pub(crate) unknown_fields: u32,
}

impl Committed {
    /// Every record that is an order, as they came.
    pub(crate) fn orders(&self) -> &[CommittedOrder] {
        &self.orders
    }

    /// Every other record; one that only the database refused is a rejection by now.
    pub(crate) fn rejected(&self) -> &[(Original, Rejection)] {
        &self.rejected
    }

    /// Takes out the orders whose rows now hold what the batch brought.
    pub(crate) fn take_views(&mut self) -> Vec<View> {
        std::mem::take(&mut self.views)
    }

    fn add(&mut self, Part { items, outcome }: Part<Store>) {
        for (Incoming { original, content }, stands) in items.into_iter().zip(outcome.stands) {
            match content {
                Content::Rejection(rejection) => self.rejected.push((original, rejection)),
                Content::Order(valid) => {
                    let ValidOrder { order, json, hash, warnings, unknown_fields, .. } = *valid;
                    let (uid, trace) = (order.order_uid, original.trace);
                    let standing = outcome.standing.get(&uid);
                    let version = standing.map_or(FIRST_VERSION, |standing| standing.version);
                    if stands {
                        self.views.push(View { order_uid: uid.clone(), version, hash, json });
                    }
                    let told = CommittedOrder { uid, version, trace, warnings, unknown_fields };
                    self.orders.push(told);
                }
            }
        }
    }
}

/// Writes batches of records of one topic.
#[derive(Debug)]
pub(crate) struct Store {
    pool: PgPool,
    topic: String,
    metrics: commit::Metrics,
    /// Most orders of the last batch were stored before, as they are when records are read again.
    /// Then it pays to look before inserting.
    mostly_known: AtomicBool,
    all_new: AllNew,
}

impl Store {
    pub(crate) fn new(pool: PgPool, topic: String, metrics: commit::Metrics) -> Self {
        Self {
            pool,
            topic,
            metrics,
            mostly_known: AtomicBool::new(false),
            all_new: AllNew::default(),
        }
    }

    /// Commits a batch. A record that the database refuses becomes a rejection.
    pub(crate) async fn commit(&self, batch: Vec<Incoming>) -> Committed {
        let mut committed = Committed::default();
        for part in commit::commit(&self.pool, self, &self.metrics, batch).await {
            committed.add(part);
        }
        committed
    }
}

/// How the orders of some records stand.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// Of those that were known, at least; the others have their first version.
    standing: HashMap<OrderUid, Standing>,
    /// Of each record, whether its order's row holds now what it brought.
    stands: Vec<bool>,
}

impl Writer for Store {
    type Item = Incoming;
    type Outcome = Outcome;

    async fn write(
        &self,
        transaction: &mut PgConnection,
        part: &[Incoming],
    ) -> Result<Outcome, WriteError> {
        let (places, latest) = fold(part);
        let standing = self.write_orders(transaction, &latest).await?;
        let refused = part.iter().filter_map(Incoming::rejected).collect();
        rejected::insert(transaction, &self.topic, refused).await?;
        rejected::note_replays(transaction, part.iter().map(|one| &one.original)).await?;

        let mut stands = vec![false; part.len()];
        for (place, (_, order)) in places.into_iter().zip(&latest) {
            let standing = standing.get(&order.order.order_uid);
            stands[place] = standing.is_none_or(|standing| standing.hash == order.hash);
        }
        Ok(Outcome { standing, stands })
    }

    fn refuse(&self, incoming: &mut Incoming, sqlstate: &str) {
        incoming.content = Content::Rejection(refused_by_database(sqlstate));
    }
}

impl Store {
    /// Inserts those of the orders that are new, and tells how many were.
    async fn insert_orders(
        &self,
        transaction: &mut PgConnection,
        orders: &[Latest<'_>],
    ) -> Result<usize, WriteError> {
        if self.all_new.copy(transaction, COPY_ORDERS, orders, write_row).await? {
            return Ok(orders.len());
        }
        let columns = Columns::of(orders);
        let inserted = query_of_columns!("queries/insert_orders.sql", columns);
        let inserted = inserted.execute(transaction).await?.rows_affected();
        Ok(usize::try_from(inserted).expect("a batch is small"))
    }

    /// Inserts orders that are new and replaces those that an earlier record made. Tells how those
    /// stand then that were known, at least.
    async fn write_orders(
        &self,
        transaction: &mut PgConnection,
        latest: &[Latest<'_>],
    ) -> Result<HashMap<OrderUid, Standing>, WriteError> {
        let mut standing = HashMap::new();
        if self.mostly_known.load(Ordering::Relaxed) {
            standing = find(transaction, latest).await?;
        }
        let fresh = pick(latest, |(_, order)| !standing.contains_key(&order.order.order_uid));
        let inserted =
            if fresh.is_empty() { 0 } else { self.insert_orders(transaction, &fresh).await? };
        if inserted < fresh.len() {
            standing.extend(find(transaction, &fresh).await?);
        }
        self.mostly_known.store(inserted * 2 < latest.len(), Ordering::Relaxed);

        let newer = pick(latest, |(position, order)| {
            let stands = standing.get(&order.order.order_uid);
            stands.is_some_and(|stands| stands.source < source(*position))
        });
        if !newer.is_empty() {
            update_orders(transaction, &newer).await?;
            standing.extend(find(transaction, &newer).await?);
        }
        Ok(standing)
    }
}

/// How a stored order stands: its version, its content and the greatest of its records.
#[derive(Debug, Clone, Copy)]
struct Standing {
    version: i32,
    hash: ContentHash,
    source: Source,
}

/// Records of an order in their order: by Kafka's time, partition and offset.
type Source = (OffsetDateTime, i32, i64);

fn source(position: Position) -> Source {
    (instant(position.timestamp_ms), position.partition, position.offset)
}

type Latest<'a> = (Position, &'a ValidOrder);

/// Of each order the latest record and its place in the part, sorted by order id.
fn fold(part: &[Incoming]) -> (Vec<usize>, Vec<Latest<'_>>) {
    let mut orders: Vec<(usize, Latest<'_>)> = part
        .iter()
        .enumerate()
        .filter_map(|(place, incoming)| match &incoming.content {
            Content::Order(order) => Some((place, (incoming.original.position, &**order))),
            Content::Rejection(_) => None,
        })
        .collect();
    // The latest of each comes first, and the others are left out.
    orders.sort_unstable_by_key(|(_, (position, valid))| {
        (&valid.order.order_uid, Reverse(*position))
    });
    orders.dedup_by_key(|(_, (_, valid))| &valid.order.order_uid);
    orders.into_iter().unzip()
}

fn pick<'a>(orders: &[Latest<'a>], which: impl Fn(&Latest<'a>) -> bool) -> Vec<Latest<'a>> {
    orders.iter().filter(|order| which(order)).copied().collect()
}

async fn update_orders(
    connection: &mut PgConnection,
    orders: &[Latest<'_>],
) -> Result<(), sqlx::Error> {
    let columns = Columns::of(orders);
    query_of_columns!("queries/update_orders.sql", columns).execute(connection).await?;
    Ok(())
}

/// How those of the orders stand that are stored.
async fn find(
    connection: &mut PgConnection,
    orders: &[Latest<'_>],
) -> Result<HashMap<OrderUid, Standing>, sqlx::Error> {
    let uids: Vec<&str> = orders.iter().map(|(_, order)| order.order.order_uid.as_str()).collect();
    let rows = sqlx::query!(
        "-- find_orders\n\
         SELECT order_uid, version, content_hash, source_timestamp, source_partition, source_offset \
         FROM orders.orders WHERE order_uid = ANY ($1)",
        &uids as &[&str],
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| {
            let hash = ContentHash::try_from(row.content_hash.as_slice())
                .map_err(|error| bad_column("content_hash", error))?;
            let source = (row.source_timestamp, row.source_partition, row.source_offset);
            Ok((parse_uid(&row.order_uid)?, Standing { version: row.version, hash, source }))
        })
        .collect()
}

/// An order's row, field by field as `COPY_ORDERS` names them.
fn write_row(row: &mut Row<'_>, (position, valid): &Latest<'_>) {
    let (order, delivery, payment) = (&valid.order, &valid.order.delivery, &valid.order.payment);
    row.field(order.order_uid.as_str())
        .field(order.track_number.as_str())
        .field(order.entry.as_str())
        .field(delivery.name.as_str())
        .field(delivery.phone.as_str())
        .field(delivery.zip.as_str())
        .field(delivery.city.as_str())
        .field(delivery.address.as_str())
        .field(delivery.region.as_str())
        .field(delivery.email.as_str())
        .field(payment.transaction.as_str())
        .field(payment.request_id.as_str())
        .field(payment.currency.as_str())
        .field(payment.provider.as_str())
        .field(payment.amount)
        .field(payment.payment_dt)
        .field(payment.bank.as_str())
        .field(payment.delivery_cost)
        .field(payment.goods_total)
        .field(payment.custom_fee)
        .field(JsonText(valid.items_json()))
        .field(order.locale.as_str())
        .field(order.internal_signature.as_str())
        .field(order.customer_id.as_str())
        .field(order.delivery_service.as_str())
        .field(order.shardkey.as_str())
        .field(order.sm_id)
        .field(order.date_created)
        .field(order.oof_shard.as_str())
        .field(valid.warnings.as_slice())
        .field(valid.hash.as_bytes().as_slice())
        .field(instant(position.timestamp_ms))
        .field(position.partition)
        .field(position.offset);
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
    items: Vec<&'a str>,
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
                str::from_utf8(valid.items_json()).expect("JSON is UTF-8")
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
