//! A recount of the order service's promises, with traffic going on.
//!
//! What is read first may only lag behind what is read later: the committed offsets, then the
//! tables, then the topics. So what a committed offset covers must be in the tables, and what the
//! tables hold must have been told on the topics. Memory: some 150 bytes an order.

use std::collections::{HashMap, HashSet};

use anyhow::Context;
use chassis::{
    consumer::{Position, Record},
    kafka::KafkaConfig,
    recount::Check,
    scan::{Ends, Scanner},
};
use events::{OrderStatus, OrderUid, StatusEvent, StatusWord, topics::dead_letters};
use futures_util::TryStreamExt;
use sqlx::{Connection, PgConnection};
use time::OffsetDateTime;

use crate::{
    config::{DatabaseConfig, TopicConfig},
    publish::SOURCE,
    record::{ContentHash, parse},
    views::bad_column,
};

/// What the tables hold.
struct Stored {
    orders: HashMap<OrderUid, StoredOrder>,
    rejected: HashSet<(i32, i64)>,
}

struct StoredOrder {
    position: Position,
    hash: ContentHash,
    /// Was its record seen on the topic?
    seen: bool,
    /// Was it told that it is created?
    told: bool,
}

/// Recounts invariants 1 and 2. Blocking in parts: to be run where that is allowed.
pub async fn audit(
    kafka: &KafkaConfig,
    topics: &TopicConfig,
    database: &DatabaseConfig,
) -> anyhow::Result<Vec<Check>> {
    let orders_topic = topics.orders().to_owned();
    let scanner = Scanner::new(kafka, &kafka.group("orders"))?;
    let committed = scanner.committed(&orders_topic)?;
    let mut connection = PgConnection::connect_with(&database.options()?)
        .await
        .context("connecting to the order service's database")?;
    let mut stored = read_tables(&mut connection, &orders_topic).await?;

    let mut checks = recount_orders(&scanner, &orders_topic, &committed, &mut stored)?;
    checks.push(recount_dead_letters(&scanner, &orders_topic, &committed, &stored)?);
    let told = read_status_topic(&scanner, &topics.kafka_status_topic, &mut stored)?;
    checks.push(told.of_committed(&mut connection).await?);
    checks.push(told.of_all(&committed, &stored));
    checks.push(recount_statuses(&mut connection).await?);
    connection.close().await.context("leaving the order service's database")?;
    Ok(checks)
}

async fn read_tables(connection: &mut PgConnection, topic: &str) -> anyhow::Result<Stored> {
    let mut stored = Stored { orders: HashMap::new(), rejected: HashSet::new() };
    let mut rows = sqlx::query!(
        "-- audit_orders\n\
         SELECT order_uid, content_hash, source_timestamp, source_partition, source_offset \
         FROM orders.orders"
    )
    .fetch(&mut *connection);
    while let Some(row) = rows.try_next().await? {
        let position = Position {
            timestamp_ms: milliseconds(row.source_timestamp),
            partition: row.source_partition,
            offset: row.source_offset,
        };
        let hash = ContentHash::try_from(row.content_hash.as_slice());
        let hash = hash.map_err(|error| bad_column("content_hash", error))?;
        let uid = row.order_uid.parse().map_err(|error| bad_column("order_uid", error))?;
        stored.orders.insert(uid, StoredOrder { position, hash, seen: false, told: false });
    }
    drop(rows);
    let rejected = sqlx::query!(
        "-- audit_rejected\n\
         SELECT \"partition\", \"offset\" FROM orders.rejected_records WHERE topic = $1",
        topic
    )
    .fetch_all(connection)
    .await?;
    stored.rejected.extend(rejected.into_iter().map(|row| (row.partition, row.offset)));
    Ok(stored)
}

fn milliseconds(instant: OffsetDateTime) -> i64 {
    i64::try_from(instant.unix_timestamp_nanos() / 1_000_000).unwrap_or(i64::MAX)
}

fn recount_orders(
    scanner: &Scanner,
    topic: &str,
    committed: &Ends,
    stored: &mut Stored,
) -> anyhow::Result<Vec<Check>> {
    let mut valid = Check::new(1, "every valid record is stored, or superseded by a later one");
    let mut same = Check::new(1, "what is stored is what the record says");
    let mut invalid = Check::new(1, "every invalid record is kept");
    scanner.read(topic, committed, |record| {
        let Position { partition, offset, .. } = record.position;
        let place = || format!("{topic}:{partition}:{offset}");
        let is_kept = stored.rejected.contains(&(partition, offset));
        match parse(record.value) {
            Err(_) => invalid.look(is_kept, place),
            // Only the database had something against it.
            Ok(_) if is_kept => invalid.look(true, place),
            Ok(order) => {
                let row = stored.orders.get_mut(&order.order.order_uid);
                valid.look(row.as_ref().is_some_and(|row| row.position >= record.position), place);
                if let Some(row) = row.filter(|row| row.position == record.position) {
                    row.seen = true;
                    same.look(row.hash == order.hash, place);
                }
            }
        }
        Ok(())
    })?;
    let bounds = scanner.bounds(topic)?;
    let mut known = Check::new(1, "every stored order comes from a record");
    for (uid, row) in &stored.orders {
        let Position { partition, offset, .. } = row.position;
        let is_covered = committed.get(&partition).is_some_and(|next| offset < *next)
            && bounds.get(&partition).is_some_and(|(first, _)| *first <= offset);
        if is_covered {
            known.look(row.seen, || uid.as_str().to_owned());
        }
    }
    Ok(vec![valid, same, invalid, known])
}

fn recount_dead_letters(
    scanner: &Scanner,
    topic: &str,
    committed: &Ends,
    stored: &Stored,
) -> anyhow::Result<Check> {
    let letters = dead_letters(topic);
    let bounds = scanner.bounds(&letters)?;
    let ends = bounds.iter().map(|(partition, (_, end))| (*partition, *end)).collect();
    let mut seen = HashSet::new();
    scanner.read(&letters, &ends, |letter| {
        seen.extend(original(&letter));
        Ok(())
    })?;
    let mut check = Check::new(1, "every kept record is on the dead-letter topic");
    // Where the topic has forgotten its beginning, what is missing may have been there.
    if bounds.values().all(|(first, _)| *first == 0) {
        for place in &stored.rejected {
            if committed.get(&place.0).is_some_and(|next| place.1 < *next) {
                check.look(seen.contains(place), || format!("{topic}:{}:{}", place.0, place.1));
            }
        }
    }
    Ok(check)
}

fn original(letter: &Record<'_>) -> Option<(i32, i64)> {
    let partition = letter.header("__connect.errors.partition")?.parse().ok()?;
    Some((partition, letter.header("__connect.errors.offset")?.parse().ok()?))
}

/// What the status topic says that this service has told.
struct Told {
    events: u64,
    /// Of orders that the tables did not hold when they were read.
    unknown: HashSet<OrderUid>,
    is_whole: bool,
}

fn read_status_topic(scanner: &Scanner, topic: &str, stored: &mut Stored) -> anyhow::Result<Told> {
    let bounds = scanner.bounds(topic)?;
    let ends = bounds.iter().map(|(partition, (_, end))| (*partition, *end)).collect();
    let is_whole = bounds.values().all(|(first, _)| *first == 0);
    let mut told = Told { events: 0, unknown: HashSet::new(), is_whole };
    scanner.read(topic, &ends, |record| {
        if record.header("ce_source") != Some(SOURCE) {
            return Ok(());
        }
        let Ok(event) = StatusEvent::read(record.value) else { return Ok(()) };
        let is_created = event.word == StatusWord::Status(OrderStatus::Created);
        if is_created || event.word == StatusWord::Updated {
            told.events += 1;
            match stored.orders.get_mut(&event.order_id) {
                Some(row) => row.told |= is_created,
                None => {
                    told.unknown.insert(event.order_id);
                }
            }
        }
        Ok(())
    })?;
    Ok(told)
}

impl Told {
    /// An order that was stored after the tables were read is there by now.
    async fn of_committed(&self, connection: &mut PgConnection) -> anyhow::Result<Check> {
        let mut check = Check::new(2, "created and updated are told only of stored orders");
        check.checked = self.events;
        let asked: Vec<String> = self.unknown.iter().map(|uid| uid.as_str().to_owned()).collect();
        let missing = sqlx::query_scalar!(
            "-- audit_told\n\
             SELECT asked.order_uid AS \"order_uid!\" FROM UNNEST ($1::text[]) AS asked (order_uid) \
             WHERE NOT EXISTS (SELECT FROM orders.orders WHERE order_uid = asked.order_uid)",
            &asked,
        )
        .fetch_all(connection)
        .await?;
        let broken = missing.len() as u64;
        Ok(check.counted(0, broken, missing))
    }

    fn of_all(&self, committed: &Ends, stored: &Stored) -> Check {
        let mut check = Check::new(2, "created is told of every stored order");
        // Where the topic has forgotten its beginning, what is missing may have been there.
        if self.is_whole {
            for (uid, row) in &stored.orders {
                let Position { partition, offset, .. } = row.position;
                if committed.get(&partition).is_some_and(|next| offset < *next) {
                    check.look(row.told, || uid.as_str().to_owned());
                }
            }
        }
        check
    }
}

/// An order's status is the highest that its events tell.
async fn recount_statuses(connection: &mut PgConnection) -> anyhow::Result<Check> {
    let count = sqlx::query!(
        "-- audit_statuses\n\
         SELECT count(*) AS \"checked!\", \
             count(*) FILTER (WHERE told.rank IS DISTINCT FROM status.rank) AS \"broken!\", \
             (array_agg(coalesce(told.order_uid, status.order_uid)) \
                 FILTER (WHERE told.rank IS DISTINCT FROM status.rank))[1:5] AS examples \
         FROM orders.order_status AS status FULL JOIN ( \
             SELECT order_uid, max(rank) AS rank FROM orders.order_events \
             WHERE rank IS NOT NULL GROUP BY order_uid \
         ) AS told USING (order_uid)"
    )
    .fetch_one(connection)
    .await?;
    let check = Check::new(1, "an order's status is the highest that was told of it");
    let (checked, broken) = (count.checked.unsigned_abs(), count.broken.unsigned_abs());
    Ok(check.counted(checked, broken, count.examples.unwrap_or_else(Vec::new)))
}
