//! A recount of the order service's promises, with traffic going on.
//!
//! What is read first may only lag behind what is read later: the committed offsets, then the
//! tables, then the topics. So what a committed offset covers must be in the tables, and what the
//! tables hold must have been told on the topics. What the tables have of a topic that was made anew
//! since is older than the first record of the present one, and is not looked for there. Memory:
//! some 150 bytes an order.

use std::collections::{BTreeMap, HashMap, HashSet};

use anyhow::Context;
use chassis::{
    audit::{check::Check, rejected},
    kafka::{
        config::KafkaConfig,
        record::{Position, milliseconds},
        topic_scan::{Ends, Scanner},
    },
};
use events::{OrderStatus, OrderUid, StatusEvent, StatusWord, topics::dead_letters};
use futures_util::TryStreamExt;
use sqlx::{Connection, PgConnection};

use crate::{
    config::{DatabaseConfig, TopicConfig},
    ingest::publish::SOURCE,
    lookup::queries::{parse_hash, parse_uid},
    order::{content_hash::ContentHash, parse::parse},
};

/// What the tables hold.
struct Stored {
    orders: HashMap<OrderUid, StoredOrder>,
    rejected: HashSet<Position>,
    /// The earliest time of a status event that was heard.
    first_heard_ms: Option<i64>,
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
    let database = database.options()?.options([("search_path", "orders")]);
    let mut connection = PgConnection::connect_with(&database)
        .await
        .context("connecting to the order service's database")?;
    let status_topic = &topics.kafka_status_topic;
    let mut stored = read_tables(&mut connection, &orders_topic, status_topic).await?;

    let mut checks = recount_orders(&scanner, &orders_topic, &committed, &mut stored)?;
    checks.push(rejected::dead_letters(
        Check::new(1, "every kept record is on the dead-letter topic"),
        &scanner,
        &orders_topic,
        &dead_letters(&orders_topic),
        &committed,
        &stored.rejected,
    )?);
    let told = read_status_topic(&scanner, status_topic, &mut stored)?;
    checks.push(told.of_committed(&mut connection).await?);
    checks.push(told.of_all(&committed, &stored));
    checks.push(recount_statuses(&mut connection).await?);
    connection.close().await.context("leaving the order service's database")?;
    Ok(checks)
}

async fn read_tables(
    connection: &mut PgConnection,
    topic: &str,
    status_topic: &str,
) -> anyhow::Result<Stored> {
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
        let uid = parse_uid("orders.order_uid", &row.order_uid)?;
        let hash = parse_hash(&row.content_hash)?;
        orders.insert(uid, StoredOrder { position, hash, seen: false, told: false });
    }
    drop(rows);
    let rejected = rejected::kept(connection, topic).await?;
    let first_heard = sqlx::query_scalar!(
        "-- audit_first_heard\n\
         SELECT min(record_timestamp) FROM orders.order_events WHERE topic = $1",
        status_topic
    )
    .fetch_one(connection)
    .await?;
    Ok(Stored { orders, rejected, first_heard_ms: first_heard.map(milliseconds) })
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
    let mut begins = BTreeMap::new();
    scanner.read(topic, committed, |record| {
        let Position { timestamp_ms, partition, offset } = record.position;
        begins.entry(partition).or_insert(timestamp_ms);
        let place = || format!("{topic}:{partition}:{offset}");
        let is_kept = stored.rejected.contains(&record.position);
        match parse(record.value) {
            Err(_) => invalid.look(is_kept, place),
            // Only the database had something against it.
            Ok(_) if is_kept => invalid.look(true, place),
            Ok(order) => {
                let row = stored.orders.get_mut(&order.order_uid);
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

/// What the status topic says that this service has told.
struct Told {
    events: u64,
    /// Of orders that the tables did not hold when they were read.
    unknown: HashSet<OrderUid>,
    /// What orders older than this were told of may be forgotten.
    begins_ms: i64,
}

fn read_status_topic(scanner: &Scanner, topic: &str, stored: &mut Stored) -> anyhow::Result<Told> {
    let is_whole = scanner.bounds(topic)?.values().all(|(first, _)| *first == 0);
    let mut told = Told { events: 0, unknown: HashSet::new(), begins_ms: i64::MAX };
    scanner.read(topic, &scanner.ends(topic)?, |record| {
        told.begins_ms = told.begins_ms.min(record.position.timestamp_ms);
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
    if !is_whole {
        told.begins_ms = i64::MAX;
    } else if stored.first_heard_ms.is_none_or(|heard| heard >= told.begins_ms) {
        // Nothing is known that would be older than what the topic begins with.
        told.begins_ms = i64::MIN;
    }
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
        for (uid, row) in &stored.orders {
            let Position { timestamp_ms, partition, offset } = row.position;
            if committed.get(&partition).is_some_and(|next| offset < *next)
                && self.begins_ms <= timestamp_ms
            {
                check.look(row.told, || uid.as_str().to_owned());
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
