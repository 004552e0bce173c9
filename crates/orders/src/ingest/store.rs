//! Writing batches of orders to PostgreSQL. How orders are read is in [`views`](crate::lookup::queries); the
//! SQL about rejected records is in [`chassis::rejected`].
//!
//! Only this module can make a [`Committed`]: cache, publisher and offsets take nothing else.

use std::{
    cmp::Reverse,
    collections::HashMap,
    sync::atomic::{AtomicBool, Ordering},
};

use chassis::{
    kafka::record::{Position, instant},
    postgres::{
        copy::{CopyTarget, Method, Row},
        transaction::{self, Part, WriteError, Writer},
    },
    process::trace::Trace,
    rejected::{self, Original},
};
use events::OrderUid;
use sqlx::{PgConnection, PgPool};
use time::OffsetDateTime;

use crate::{
    ingest::{
        Content, Incoming,
        copied_row::COPY_ORDERS,
        upsert::{self, Latest},
    },
    lookup::queries::{View, parse_hash, parse_uid},
    order::{
        content_hash::ContentHash,
        parse::ValidOrder,
        violation::{Rejection, refused_by_database},
    },
};

/// The version of an order that was not known.
pub(crate) const FIRST_VERSION: i32 = 1;

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
                    let ValidOrder { order_uid: uid, json, hash, warnings, unknown_fields, .. } =
                        *valid;
                    let trace = original.trace;
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
    metrics: transaction::Metrics,
    /// Most orders of the last batch were stored before, as they are when records are read again.
    /// Then it pays to look before inserting.
    mostly_known: AtomicBool,
    copy_target: CopyTarget,
}

impl Store {
    pub(crate) fn new(pool: PgPool, topic: String, metrics: transaction::Metrics) -> Self {
        Self {
            pool,
            topic,
            metrics,
            mostly_known: AtomicBool::new(false),
            copy_target: CopyTarget::new(COPY_ORDERS),
        }
    }

    /// Commits a batch. A record that the database refuses becomes a rejection.
    pub(crate) async fn commit(&self, batch: Vec<Incoming>) -> Committed {
        let mut committed = Committed::default();
        for part in transaction::commit(&self.pool, self, &self.metrics, batch).await {
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
            let standing = standing.get(&order.order_uid);
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
        if self.copy_target.next_method(orders.len()) == Method::Copy {
            self.copy_target.copy(transaction, orders, write_row).await?;
            return Ok(orders.len());
        }
        let inserted = upsert::insert(transaction, orders).await?;
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
        let fresh = pick(latest, |(_, order)| !standing.contains_key(&order.order_uid));
        let inserted =
            if fresh.is_empty() { 0 } else { self.insert_orders(transaction, &fresh).await? };
        if inserted < fresh.len() {
            standing.extend(find(transaction, &fresh).await?);
        }
        self.mostly_known.store(inserted * 2 < latest.len(), Ordering::Relaxed);

        let newer = pick(latest, |(position, order)| {
            let stands = standing.get(&order.order_uid);
            stands.is_some_and(|stands| stands.source < source(*position))
        });
        if !newer.is_empty() {
            upsert::update(transaction, &newer).await?;
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
    orders.sort_unstable_by_key(|(_, (position, valid))| (&valid.order_uid, Reverse(*position)));
    orders.dedup_by_key(|(_, (_, valid))| &valid.order_uid);
    orders.into_iter().unzip()
}

fn pick<'a>(orders: &[Latest<'a>], which: impl Fn(&Latest<'a>) -> bool) -> Vec<Latest<'a>> {
    orders.iter().filter(|order| which(order)).copied().collect()
}

/// An order's row as `COPY_ORDERS` names its fields: what the order says, then where its record
/// stands.
fn write_row(row: &mut Row<'_>, (position, valid): &Latest<'_>) {
    row.fields(&valid.fields)
        .field(instant(position.timestamp_ms))
        .field(position.partition)
        .field(position.offset);
}

/// How those of the orders stand that are stored.
async fn find(
    connection: &mut PgConnection,
    orders: &[Latest<'_>],
) -> Result<HashMap<OrderUid, Standing>, sqlx::Error> {
    let uids: Vec<&str> = orders.iter().map(|(_, order)| order.order_uid.as_str()).collect();
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
            let uid = parse_uid("orders.order_uid", &row.order_uid)?;
            let hash = parse_hash(&row.content_hash)?;
            let source = (row.source_timestamp, row.source_partition, row.source_offset);
            Ok((uid, Standing { version: row.version, hash, source }))
        })
        .collect()
}
