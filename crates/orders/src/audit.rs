//! Checks the invariants of the order service, while it may be processing records.
//!
//! The committed offsets are read first, then the tables, then the topics. A source that is read
//! later can only be ahead of one that was read earlier. So every record before a committed offset
//! must be in the tables, and its events must be on the status topic; records after it are not
//! checked. Rows from a topic that was deleted and created again are older than the first record of
//! the new topic, and are not expected on it. Memory: about 150 bytes per order. The audit changes
//! nothing.

use std::collections::{BTreeMap, HashMap, HashSet};

use anyhow::Context;
use chassis::{
    audit::{check::Check, rejected},
    kafka::{
        config::KafkaConfig,
        record::{Position, milliseconds},
        topic_scan::{Ends, Scanner},
    },
    postgres::session::check_not_pooled,
};
use events::{OrderStatus, OrderUid, StatusEvent, StatusWord, topics::dead_letters};
use futures_util::TryStreamExt;
use sqlx::{Connection, PgConnection};

use crate::{
    config::{DatabaseConfig, TopicConfig},
    ingest::publish::FORMER_SOURCE,
    lookup::queries::{parse_hash, parse_uid},
    order::{content_hash::ContentHash, parse::parse},
};

/// The content of the tables.
struct Tables {
    orders: HashMap<OrderUid, AuditedOrder>,
    rejected: HashSet<Position>,
    /// The earliest time of a recorded status event.
    first_event_ms: Option<i64>,
}

struct AuditedOrder {
    position: Position,
    hash: ContentHash,
    /// True if its record was found on the orders topic.
    seen: bool,
    /// True if its `created` event was found on the status topic.
    published: bool,
}

/// Checks invariants 1 and 2 of `ARCHITECTURE.md`. It reads Kafka with blocking calls, so it needs
/// a thread that may block.
pub async fn audit(
    kafka: &KafkaConfig,
    topics: &TopicConfig,
    database: &DatabaseConfig,
) -> anyhow::Result<Vec<Check>> {
    let orders_topic = topics.orders().to_owned();
    let scanner = Scanner::new(kafka, &kafka.group("orders"))?;
    // First of all: what is committed later than this is not expected below.
    let committed = scanner.committed(&orders_topic)?;
    let database = database.address()?.options().options([("search_path", "orders")]);
    let mut connection = PgConnection::connect_with(&database)
        .await
        .context("connecting to the order service's database")?;
    check_not_pooled(&mut connection, "orders").await?;
    let status_topic = &topics.kafka_status_topic;
    let mut tables = read_tables(&mut connection, &orders_topic, status_topic).await?;

    let mut checks = check_orders(&scanner, &orders_topic, &committed, &mut tables)?;
    checks.push(rejected::dead_letters(
        Check::new(1, "every rejected record is on the dead-letter topic"),
        &scanner,
        &orders_topic,
        &dead_letters(&orders_topic),
        &committed,
        &tables.rejected,
    )?);
    let source = kafka.event_source("orders");
    let published = read_status_topic(&scanner, status_topic, &source, &mut tables)?;
    checks.push(published.check_orders_exist(&mut connection).await?);
    checks.push(published.check_all_published(&committed, &tables));
    checks.push(check_statuses(&mut connection).await?);
    connection.close().await.context("closing the connection to the order service's database")?;
    Ok(checks)
}

async fn read_tables(
    connection: &mut PgConnection,
    topic: &str,
    status_topic: &str,
) -> anyhow::Result<Tables> {
    let mut orders = HashMap::new();
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
        let uid = parse_uid("orders.orders.order_uid", &row.order_uid)?;
        let hash = parse_hash(&row.content_hash)?;
        orders.insert(uid, AuditedOrder { position, hash, seen: false, published: false });
    }
    drop(rows);
    let rejected = rejected::kept(connection, topic).await?;
    let first_event = sqlx::query_scalar!(
        "-- audit_first_event\n\
         SELECT min(record_timestamp) FROM orders.order_events WHERE topic = $1",
        status_topic
    )
    .fetch_one(connection)
    .await?;
    Ok(Tables { orders, rejected, first_event_ms: first_event.map(milliseconds) })
}

fn check_orders(
    scanner: &Scanner,
    topic: &str,
    committed: &Ends,
    tables: &mut Tables,
) -> anyhow::Result<Vec<Check>> {
    let mut valid = Check::new(1, "every valid record is stored, or superseded by a later one");
    let mut same = Check::new(1, "every stored order has the content of its record");
    let mut invalid = Check::new(1, "every invalid record is kept");
    let mut begins = BTreeMap::new();
    scanner.read(topic, committed, |record| {
        let Position { timestamp_ms, partition, offset } = record.position;
        // The time of the first record of each partition. A row that is older comes from a deleted
        // topic of the same name, and its record cannot be here.
        begins.entry(partition).or_insert(timestamp_ms);
        let record_id = || format!("{topic}:{partition}:{offset}");
        let is_kept = tables.rejected.contains(&record.position);
        match parse(record.value) {
            Err(_) => invalid.look(is_kept, record_id),
            // The record is valid, but the database refused it.
            Ok(_) if is_kept => invalid.look(true, record_id),
            Ok(parsed) => {
                let row = tables.orders.get_mut(&parsed.order.order_uid);
                valid.look(
                    row.as_ref().is_some_and(|row| row.position >= record.position),
                    record_id,
                );
                if let Some(row) = row.filter(|row| row.position == record.position) {
                    row.seen = true;
                    same.look(row.hash == parsed.hash, record_id);
                }
            }
        }
        Ok(())
    })?;
    // Read after the records: a record that Kafka deleted during the scan is then before the first
    // offset, and is not expected to have been seen.
    let bounds = scanner.bounds(topic)?;
    let mut known = Check::new(1, "every stored order comes from a record");
    for (uid, row) in &tables.orders {
        let Position { timestamp_ms, partition, offset } = row.position;
        let is_covered = committed.get(&partition).is_some_and(|next| offset < *next)
            && bounds.get(&partition).is_some_and(|(first, _)| *first <= offset)
            && begins.get(&partition).is_some_and(|begins| *begins <= timestamp_ms);
        if is_covered {
            known.look(row.seen, || uid.as_str().to_owned());
        }
    }
    Ok(vec![valid, same, invalid, known])
}

/// This service's own events on the status topic.
struct PublishedEvents {
    count: u64,
    /// Orders that were not in the tables when these were read.
    unknown: HashSet<OrderUid>,
    /// The events of orders older than this may have been deleted from the topic.
    begins_ms: i64,
}

fn read_status_topic(
    scanner: &Scanner,
    topic: &str,
    source: &str,
    tables: &mut Tables,
) -> anyhow::Result<PublishedEvents> {
    let is_whole = scanner.bounds(topic)?.values().all(|(first, _)| *first == 0);
    let mut published = PublishedEvents { count: 0, unknown: HashSet::new(), begins_ms: i64::MAX };
    scanner.read(topic, &scanner.ends(topic)?, |record| {
        published.begins_ms = published.begins_ms.min(record.position.timestamp_ms);
        let is_own = |from: &str| from == source || from == FORMER_SOURCE;
        if !record.header("ce_source").is_some_and(is_own) {
            return Ok(());
        }
        let Ok(event) = StatusEvent::read(record.value) else { return Ok(()) };
        let is_created = event.word == StatusWord::Status(OrderStatus::Created);
        if is_created || event.word == StatusWord::Updated {
            published.count += 1;
            match tables.orders.get_mut(&event.order_id) {
                Some(row) => row.published |= is_created,
                None => {
                    published.unknown.insert(event.order_id);
                }
            }
        }
        Ok(())
    })?;
    if !is_whole {
        published.begins_ms = i64::MAX;
    } else if tables.first_event_ms.is_none_or(|first| first >= published.begins_ms) {
        // No recorded event is older than the start of the topic, so nothing was deleted.
        published.begins_ms = i64::MIN;
    }
    Ok(published)
}

impl PublishedEvents {
    /// Queries the tables again, because an order may have been stored after they were read.
    async fn check_orders_exist(&self, connection: &mut PgConnection) -> anyhow::Result<Check> {
        let mut check = Check::new(2, "created and updated are published only for stored orders");
        check.checked = self.count;
        let asked: Vec<String> = self.unknown.iter().map(|uid| uid.as_str().to_owned()).collect();
        let missing = sqlx::query_scalar!(
            "-- audit_published\n\
             SELECT asked.order_uid AS \"order_uid!\" FROM UNNEST ($1::text[]) AS asked (order_uid) \
             WHERE NOT EXISTS (SELECT FROM orders.orders WHERE order_uid = asked.order_uid)",
            &asked,
        )
        .fetch_all(connection)
        .await?;
        let broken = missing.len() as u64;
        Ok(check.counted(0, broken, missing))
    }

    fn check_all_published(&self, committed: &Ends, tables: &Tables) -> Check {
        let mut check = Check::new(2, "created is published for every stored order");
        for (uid, row) in &tables.orders {
            let Position { timestamp_ms, partition, offset } = row.position;
            if committed.get(&partition).is_some_and(|next| offset < *next)
                && self.begins_ms <= timestamp_ms
            {
                check.look(row.published, || uid.as_str().to_owned());
            }
        }
        check
    }
}

async fn check_statuses(connection: &mut PgConnection) -> anyhow::Result<Check> {
    let count = sqlx::query!(
        "-- audit_statuses\n\
         SELECT count(*) AS \"checked!\", \
             count(*) FILTER (WHERE recorded.rank IS DISTINCT FROM status.rank) AS \"broken!\", \
             (array_agg(coalesce(recorded.order_uid, status.order_uid)) \
                 FILTER (WHERE recorded.rank IS DISTINCT FROM status.rank))[1:5] AS examples \
         FROM orders.order_status AS status FULL JOIN ( \
             SELECT order_uid, max(rank) AS rank FROM orders.order_events \
             WHERE rank IS NOT NULL GROUP BY order_uid \
         ) AS recorded USING (order_uid)"
    )
    .fetch_one(connection)
    .await?;
    let check = Check::new(1, "an order's status is the highest of its recorded events");
    let (checked, broken) = (count.checked.unsigned_abs(), count.broken.unsigned_abs());
    Ok(check.counted(checked, broken, count.examples.unwrap_or_else(Vec::new)))
}
