//! The audit of the courier service: checks its invariants while it runs.
//!
//! The audit reads the committed offsets first, then the tables, then the topics. A source that is
//! read later may only be ahead of an earlier one. So the tables must contain everything that a
//! committed offset covers, and the topics must contain everything that is in the tables. A table
//! row that is older than the topic's first record is not compared with the topic: its record may
//! have been deleted, or the topic was deleted and created again. The audit needs about 150 bytes
//! of memory per order. It only reads: it repairs nothing.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    time::Duration,
};

use anyhow::Context;
use chassis::{
    audit::{check::Check, rejected},
    kafka::{
        config::KafkaConfig,
        record::{Position, milliseconds},
        topic_scan::{Ends, Scanner},
    },
    postgres::{errors::bad_column, session::check_not_pooled},
};
use events::{OrderStatus, OrderUid, StatusEvent, StatusWord, topics::dead_letters};
use futures_util::TryStreamExt as _;
use sqlx::{Connection, PgConnection, postgres::PgConnectOptions};

use crate::store::parse_rank;

/// Checks invariants 1, 3 and 4. `sweep` is the interval between the sweeps of dispatch. Some parts
/// block the thread, so the caller runs this on a thread that may block.
pub async fn audit(
    kafka: &KafkaConfig,
    status_topic: &str,
    database: &PgConnectOptions,
    sweep: Duration,
) -> anyhow::Result<Vec<Check>> {
    // The order of these reads is part of the checks; the comment on the module explains it.
    let scanner = Scanner::new(kafka, &kafka.group("couriers"))?;
    let committed = scanner.committed(status_topic)?;
    let database = database.clone().options([("search_path", "couriers")]);
    let mut connection = PgConnection::connect_with(&database)
        .await
        .context("connecting to the courier service's database")?;
    check_not_pooled(&mut connection, "couriers").await?;
    let states = read_states(&mut connection).await?;
    let kept = rejected::kept(&mut connection, status_topic).await?;
    let topic = read_topic(&scanner, status_topic, &committed, &kept)?;
    let mut checks = vec![
        check_states(&states, &topic),
        topic.rejected,
        rejected::dead_letters(
            Check::new(1, "every rejected status record is on the dead-letter topic"),
            &scanner,
            status_topic,
            &dead_letters(status_topic),
            &committed,
            &kept,
        )?,
    ];
    checks.extend(check_tables(&mut connection).await?);
    // Two intervals, so that at least one sweep begins between the two readings. The result is
    // listed with the other checks of invariant 3.
    checks.insert(checks.len() - 3, check_waiting(&mut connection, sweep * 2).await?);
    connection.close().await.context("closing the connection to the courier service's database")?;
    Ok(checks)
}

/// Each order's status, and Kafka's time of its event.
type States = HashMap<OrderUid, (OrderStatus, i64)>;

async fn read_states(connection: &mut PgConnection) -> anyhow::Result<States> {
    let mut states = States::new();
    let mut rows = sqlx::query!(
        "-- audit_states\n\
         SELECT order_id, rank, changed_at FROM couriers.order_states"
    )
    .fetch(connection);
    while let Some(row) = rows.try_next().await? {
        let bad = |error| bad_column("couriers.order_states.order_id", error);
        let order_id = row.order_id.parse().map_err(bad)?;
        states.insert(order_id, (parse_rank(row.rank)?, milliseconds(row.changed_at)));
    }
    Ok(states)
}

/// The content of the status topic.
struct StatusTopic {
    orders: HashMap<OrderUid, HighestStatus>,
    /// Records before this time may have been deleted.
    begins_ms: i64,
    /// The check of the records that were rejected.
    rejected: Check,
}

/// The highest status of an order on the topic.
#[derive(Default)]
struct HighestStatus {
    /// Among the records before the committed offsets.
    committed: Option<OrderStatus>,
    /// Among all records.
    ever: Option<OrderStatus>,
}

/// Reads the whole topic. A record that is not a valid event, or that the database refused, must be
/// among `kept`, the stored rejections.
fn read_topic(
    scanner: &Scanner,
    topic: &str,
    committed: &Ends,
    kept: &HashSet<Position>,
) -> anyhow::Result<StatusTopic> {
    let mut rejected = Check::new(1, "every invalid status record is stored as rejected");
    let mut orders: HashMap<OrderUid, HighestStatus> = HashMap::new();
    let mut begins = BTreeMap::new();
    let is_whole = scanner.bounds(topic)?.values().all(|(first, _)| *first == 0);
    scanner.read(topic, &scanner.ends(topic)?, |record| {
        let Position { timestamp_ms, partition, offset } = record.position;
        begins.entry(partition).or_insert(timestamp_ms);
        let is_committed = committed.get(&partition).is_some_and(|next| offset < *next);
        match StatusEvent::read(record.value) {
            // A valid event that the database refused.
            Ok(_) if kept.contains(&record.position) => {}
            Ok(StatusEvent { order_id, word: StatusWord::Status(status), .. }) => {
                let highest = orders.entry(order_id).or_default();
                highest.ever = highest.ever.max(Some(status));
                if is_committed {
                    highest.committed = highest.committed.max(Some(status));
                }
            }
            Ok(_) => {}
            Err(_) if is_committed => rejected
                .look(kept.contains(&record.position), || format!("{topic}:{partition}:{offset}")),
            Err(_) => {}
        }
        Ok(())
    })?;
    // If records were deleted, the partitions begin at different times. Then the topic is complete
    // only after the latest of these times.
    let begins = begins.into_values();
    let begins_ms = if is_whole { begins.min() } else { begins.max() };
    Ok(StatusTopic { orders, begins_ms: begins_ms.unwrap_or(i64::MAX), rejected })
}

/// A stored status is at least the highest before the committed offsets, and at most the highest of
/// the topic.
fn check_states(states: &States, topic: &StatusTopic) -> Check {
    let mut check = Check::new(1, "an order's state is the highest status of its events");
    for (order_id, highest) in &topic.orders {
        let state = states.get(order_id).map(|(status, _)| *status);
        // `None` is less than every status, so an order without a committed event passes.
        check.look(state >= highest.committed, || order_id.as_str().to_owned());
    }
    for (order_id, (status, since_ms)) in states {
        // An order that was assigned manually before its first event is `created`.
        if *status == OrderStatus::Created || *since_ms < topic.begins_ms {
            continue;
        }
        let ever = topic.orders.get(order_id).and_then(|highest| highest.ever);
        check.look(Some(*status) <= ever, || order_id.as_str().to_owned());
    }
    check
}

/// Checks the tables against each other, in one snapshot.
async fn check_tables(connection: &mut PgConnection) -> anyhow::Result<Vec<Check>> {
    let checks = [
        Check::new(3, "no courier has two active deliveries, no order two couriers"),
        Check::new(3, "a busy courier carries an order, and an available courier carries none"),
        Check::new(3, "a created order that has not ended waits, is held, or has a courier"),
        Check::new(4, "a courier's counters equal a recount of their deliveries"),
        Check::new(
            4,
            "a cancelled order has no delivery, and a completed order has no open delivery",
        ),
        Check::new(4, "the orders completed without a courier equal a recount"),
    ];
    let rows = sqlx::query_file!(
        "queries/audit.sql",
        OrderStatus::Completed.rank(),
        OrderStatus::Cancelled.rank(),
    )
    .fetch_all(connection)
    .await?;
    let checks = checks.into_iter().zip(rows).map(|(check, row)| {
        let examples = row.examples.unwrap_or_default();
        check.counted(row.checked.unsigned_abs(), row.broken.unsigned_abs(), examples)
    });
    Ok(checks.collect())
}

/// Reads both queues twice, with `interval` in between. An order breaks the invariant if it waits
/// both times while a courier is available both times and was not assigned another order in
/// between.
async fn check_waiting(connection: &mut PgConnection, interval: Duration) -> anyhow::Result<Check> {
    let before = read_queues(connection).await?;
    tokio::time::sleep(interval).await;
    let after = read_queues(connection).await?;
    let mut check = Check::new(3, "no order waits while a courier is available");
    // A courier who carried an order in between has another `free_since`, and so is not in both
    // sets.
    let is_one_available = !before.available.is_disjoint(&after.available);
    for order_id in &before.waiting {
        let is_left = is_one_available && after.waiting.contains(order_id);
        check.look(!is_left, || order_id.clone());
    }
    Ok(check)
}

/// The heads of both queues.
struct Queues {
    waiting: HashSet<String>,
    /// Couriers by id and `free_since`, in microseconds.
    available: HashSet<(i64, i64)>,
}

async fn read_queues(connection: &mut PgConnection) -> anyhow::Result<Queues> {
    let waiting = sqlx::query_scalar!(
        "-- audit_queue\n\
         SELECT order_id FROM couriers.order_states \
         WHERE waiting_since IS NOT NULL AND held_at IS NULL \
         ORDER BY waiting_since, order_id LIMIT 10000"
    )
    .fetch_all(&mut *connection)
    .await?;
    let available = sqlx::query!(
        "-- audit_available\n\
         SELECT id, (extract(epoch FROM free_since) * 1000000)::bigint AS \"since!\" \
         FROM couriers.couriers WHERE status = 'available' \
         ORDER BY deliveries, free_since, id LIMIT 10000"
    )
    .fetch_all(connection)
    .await?;
    Ok(Queues {
        waiting: waiting.into_iter().collect(),
        available: available.into_iter().map(|row| (row.id, row.since)).collect(),
    })
}
