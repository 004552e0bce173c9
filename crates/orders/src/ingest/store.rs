//! Writes batches of records to PostgreSQL: orders to `orders`, rejected records to
//! `rejected_records`.
//!
//! Only this module can make a [`Committed`]; the cache, the publisher and the offsets accept
//! nothing else. The SQL of whole rows is in [`upsert`], the SQL of rejected records in
//! [`chassis::rejected`]. Retries, and splitting a batch that the database refuses, are in
//! [`chassis::postgres::transaction`].

use std::{
    cmp::Reverse,
    collections::HashMap,
    sync::atomic::{AtomicBool, Ordering},
    time::Instant,
};

use chassis::{
    kafka::record::{Position, milliseconds},
    postgres::{
        copy::{CopyTarget, Method, Row},
        transaction::{self, Fault, Part, WriteError, Writer},
    },
    process::{failpoint, trace::Trace},
    rejected::{self, Original, Outcome, RejectionMetrics},
};
use events::OrderUid;
use sqlx::{PgConnection, PgPool};

use crate::{
    ingest::{
        Content, Incoming,
        copied_row::{COPY_ORDERS, EncodedOrder},
        upsert::{self, LatestRecord},
    },
    lookup::{
        confirmation::Confirmation,
        queries::{View, parse_hash, parse_uid},
    },
    order::{
        FIRST_VERSION,
        content_hash::ContentHash,
        violation::{Rejection, internal_error, refused_by_database},
    },
};

/// A batch that is in the database. Its fields are private and it has no `Default`, so that only
/// [`Store::commit`] makes one.
#[derive(Debug)]
pub(crate) struct Committed {
    orders: Vec<CommittedOrder>,
    rejected: Vec<(Original, Rejection)>,
    views: Vec<View>,
    /// From the begin of the transaction, or of the earliest one if the batch was split, to the
    /// last commit. A query that was sent after the end has read this state or a later one, and a
    /// state that was answered before the begin is earlier. If they overlap, the version decides.
    confirmation: Confirmation,
    superseded: usize,
}

/// The data for the events and the metrics of one valid record.
#[derive(Debug)]
pub(crate) struct CommittedOrder {
    pub(crate) uid: OrderUid,
    /// The stored version, whether it comes from this record or from a later one.
    pub(crate) version: i32,
    pub(crate) trace: Option<Trace>,
    pub(crate) warnings: Vec<&'static str>,
    pub(crate) unknown_fields: u32,
}

impl Committed {
    /// Returns every valid record, in the order of the batch.
    pub(crate) fn orders(&self) -> &[CommittedOrder] {
        &self.orders
    }

    /// Returns every rejected record, including those that were valid and that the database
    /// refused.
    pub(crate) fn rejected(&self) -> &[(Original, Rejection)] {
        &self.rejected
    }

    /// Returns the number of valid records that changed nothing because a later one is stored.
    pub(crate) fn superseded(&self) -> usize {
        self.superseded
    }

    /// Takes the orders whose rows now hold the content of the batch.
    pub(crate) fn take_views(&mut self) -> (Vec<View>, Confirmation) {
        (std::mem::take(&mut self.views), self.confirmation)
    }

    fn add(&mut self, Part { items, outcome }: Part<Store>) {
        self.superseded += outcome.superseded;
        for (Incoming { original, content }, is_current) in
            items.into_iter().zip(outcome.is_current)
        {
            let order = match content {
                Content::Rejection(rejection) => {
                    self.rejected.push((original, rejection));
                    continue;
                }
                Content::Order(order) => *order,
            };
            let EncodedOrder { order_uid: uid, json, hash, warnings, unknown_fields, .. } = order;
            // An order that is not in `stored` was inserted by this batch.
            let version = outcome.stored.get(&uid).map_or(FIRST_VERSION, |stored| stored.version);
            if is_current {
                self.views.push(View { order_uid: uid.clone(), version, hash, json });
            }
            let trace = original.trace;
            self.orders.push(CommittedOrder { uid, version, trace, warnings, unknown_fields });
        }
    }
}

/// Writes batches of records of one topic.
#[derive(Debug)]
pub(crate) struct Store {
    pool: PgPool,
    topic: String,
    metrics: transaction::CommitMetrics,
    rejections: RejectionMetrics,
    /// True if most orders of the last batch were already stored, as happens when records are read
    /// again. It is then cheaper to query for the stored orders than to try to insert all of them.
    mostly_stored: AtomicBool,
    copy_target: CopyTarget,
}

impl Store {
    pub(crate) fn new(
        pool: PgPool,
        topic: String,
        metrics: transaction::CommitMetrics,
        rejections: RejectionMetrics,
    ) -> Self {
        let (mostly_stored, copy_target) = (AtomicBool::new(false), CopyTarget::new(COPY_ORDERS));
        Self { pool, topic, metrics, rejections, mostly_stored, copy_target }
    }

    /// Commits a batch. A record that the database refuses becomes a rejection.
    pub(crate) async fn commit(&self, batch: Vec<Incoming>) -> anyhow::Result<Committed> {
        let (orders, rejected, views) = (Vec::new(), Vec::new(), Vec::new());
        let parts = transaction::commit(&self.pool, self, &self.metrics, batch).await?;
        let answered = Instant::now();
        let began = parts.iter().map(|part| part.outcome.began).min();
        let confirmation = Confirmation { sent: began.unwrap_or(answered), answered };
        let mut committed = Committed { orders, rejected, views, confirmation, superseded: 0 };
        parts.into_iter().for_each(|part| committed.add(part));
        Ok(committed)
    }
}

/// The result of writing some records.
#[derive(Debug)]
pub(crate) struct WrittenRecords {
    /// Contains at least the orders that were already stored; the other orders have their first
    /// version.
    stored: HashMap<OrderUid, StoredVersion>,
    /// For each record: true if the row of its order now has the content of the record.
    is_current: Vec<bool>,
    /// The number of records that changed nothing because a later one was already stored.
    superseded: usize,
    /// The begin of the transaction, before any row was read or locked.
    began: Instant,
}

impl Writer for Store {
    type Item = Incoming;
    type Outcome = WrittenRecords;

    async fn write(
        &self,
        transaction: &mut PgConnection,
        part: &[Incoming],
    ) -> Result<WrittenRecords, WriteError> {
        let began = Instant::now();
        // Every batch writes `orders` before `rejected_records`, and the orders sorted by id. So
        // two batches lock their orders in the same sequence and cannot deadlock on them.
        let records = latest_records(part);
        let stored = self.write_orders(transaction, &records).await?;
        let refused = part.iter().filter_map(Incoming::rejected).collect();
        rejected::insert(transaction, &self.topic, refused).await?;
        let read = part.iter().map(|one| {
            let rejection = one.rejected().map(|(_, rejection)| rejection);
            (&one.original, Outcome::of(rejection))
        });
        rejected::note_replays(transaction, read, &self.rejections).await?;

        // The contents are compared, not the positions: a row that a later record with equal
        // content has written also holds the content of this record. An earlier record of the same
        // order in this batch stays `false`.
        let mut is_current = vec![false; part.len()];
        let mut superseded = 0;
        for LatestRecord { index, order, position } in records {
            let stored = stored.get(&order.order_uid);
            is_current[index] = stored.is_none_or(|stored| stored.hash == order.hash);
            superseded += usize::from(stored.is_some_and(|stored| stored.position > position));
        }
        Ok(WrittenRecords { stored, is_current, superseded, began })
    }

    fn reject(&self, incoming: &mut Incoming, fault: &Fault) {
        // The record stays in the batch as a rejection: the next attempt stores it in
        // `rejected_records`, and its offset is stored with those of the other records.
        incoming.content = Content::Rejection(match fault {
            Fault::Refused(sqlstate) => refused_by_database(sqlstate),
            Fault::Panic => internal_error(),
        });
    }
}

impl Store {
    /// Inserts orders that are not stored and replaces those that come from an earlier record.
    /// Returns at least the orders that were already stored, as they are after the write.
    async fn write_orders(
        &self,
        transaction: &mut PgConnection,
        records: &[LatestRecord<'_>],
    ) -> Result<HashMap<OrderUid, StoredVersion>, WriteError> {
        let mut stored = HashMap::new();
        // Both ways are correct and the value only chooses the faster one. So lanes may overwrite
        // each other's value, and the atomic needs no ordering.
        if self.mostly_stored.load(Ordering::Relaxed) {
            stored = find_stored(transaction, records).await?;
        }
        let unknown = filter(records, |record| !stored.contains_key(&record.order.order_uid));
        let inserted = self.insert_orders(transaction, &unknown).await?;
        // Some of them were stored after all, perhaps by another writer since the query. The insert
        // waited until that writer committed, so this query sees its rows.
        if inserted < unknown.len() {
            stored.extend(find_stored(transaction, &unknown).await?);
        }
        self.mostly_stored.store(inserted * 2 < records.len(), Ordering::Relaxed);

        // Another writer may replace these rows after they were read. The statement therefore locks
        // them and compares the positions again, and the result is read afterwards. The rows that
        // were inserted above are not among them: their position equals that of their record.
        let newer = filter(records, |record| {
            let stored = stored.get(&record.order.order_uid);
            stored.is_some_and(|stored| stored.position < record.position)
        });
        if !newer.is_empty() {
            upsert::update(transaction, &newer).await?;
            stored.extend(find_stored(transaction, &newer).await?);
        }
        Ok(stored)
    }

    /// Inserts the orders that are not stored and returns their number.
    async fn insert_orders(
        &self,
        transaction: &mut PgConnection,
        records: &[LatestRecord<'_>],
    ) -> Result<usize, WriteError> {
        if records.is_empty() {
            return Ok(0);
        }
        if self.copy_target.next_method(records.len()) == Method::Copy {
            let write = |row: &mut Row<'_>, record: &LatestRecord<'_>| {
                record.order.write_row(row, record.position);
            };
            // One row that is already stored fails the whole copy and with it the transaction. The
            // batch is then tried again at once, with `INSERT`.
            self.copy_target.copy(transaction, records, write).await?;
            return Ok(records.len());
        }
        let inserted = upsert::insert(transaction, records).await?;
        Ok(usize::try_from(inserted).expect("a batch is small"))
    }
}

/// The version of an order in the database, with its content and its latest record.
#[derive(Debug, Clone, Copy)]
struct StoredVersion {
    version: i32,
    hash: ContentHash,
    position: Position,
}

/// Folds the records of each order to the latest one, sorted by order id. Two writers that lock
/// rows in the same sequence may wait for each other but cannot deadlock.
fn latest_records(part: &[Incoming]) -> Vec<LatestRecord<'_>> {
    let mut records: Vec<_> = part
        .iter()
        .enumerate()
        .filter_map(|(index, incoming)| match &incoming.content {
            Content::Order(order) => {
                Some(LatestRecord { index, position: incoming.original.position, order })
            }
            Content::Rejection(_) => None,
        })
        .collect();
    // The latest record of each order comes first, and only the first is kept.
    records.sort_unstable_by_key(|record| (&record.order.order_uid, Reverse(record.position)));
    if failpoint::is_skipped("guard.greater-position") {
        records.sort_by_key(|record| (&record.order.order_uid, record.position));
    }
    records.dedup_by_key(|record| &record.order.order_uid);
    records
}

fn filter<'a>(
    records: &[LatestRecord<'a>],
    matches: impl Fn(&LatestRecord<'a>) -> bool,
) -> Vec<LatestRecord<'a>> {
    records.iter().filter(|record| matches(record)).copied().collect()
}

async fn find_stored(
    connection: &mut PgConnection,
    records: &[LatestRecord<'_>],
) -> Result<HashMap<OrderUid, StoredVersion>, sqlx::Error> {
    let uids: Vec<&str> = records.iter().map(|record| record.order.order_uid.as_str()).collect();
    let rows = sqlx::query!(
        "-- find_stored\n\
         SELECT order_uid, version, content_hash, source_timestamp, source_partition, source_offset \
         FROM orders.orders WHERE order_uid = ANY ($1)",
        &uids as &[&str],
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| {
            let uid = parse_uid("orders.orders.order_uid", &row.order_uid)?;
            let hash = parse_hash(&row.content_hash)?;
            let position = Position {
                timestamp_ms: milliseconds(row.source_timestamp),
                partition: row.source_partition,
                offset: row.source_offset,
            };
            Ok((uid, StoredVersion { version: row.version, hash, position }))
        })
        .collect()
}
