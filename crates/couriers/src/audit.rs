//! The audit of the courier service: checks its invariants while it runs.
//!
//! The audit reads the committed offsets first, then the tables, then the topics. A source that is
//! read later may only be ahead of an earlier one. So the tables must contain everything that a
//! committed offset covers, and the topics must contain everything that is in the tables. A table
//! row whose record Kafka may have deleted is not compared with the topic. The audit needs about 150
//! bytes of memory per order, and as much per entry of the log. It only reads: it repairs nothing.

mod log;

use std::{
    collections::{HashMap, HashSet},
    panic::{AssertUnwindSafe, catch_unwind},
    time::Duration,
};

use anyhow::Context;
use chassis::{
    audit::{
        check::Check,
        rejected::{DeadLetters, Due, RejectedRows},
        scanned::ScannedTopic,
    },
    kafka::{
        config::KafkaConfig,
        record::milliseconds,
        topic_scan::{Ends, Scanner},
        topics::{Cleanup, cleanup},
    },
    postgres::{errors::bad_column, session::check_not_pooled, transaction::Fault},
};
use events::{OrderStatus, OrderUid, StatusEvent, StatusWord, topics::dead_letters};
use futures_util::TryStreamExt as _;
use sqlx::{Connection, PgConnection, postgres::PgConnectOptions};

use self::log::SentEntries;
use crate::{intake::rejection, store::parse_rank};

/// Checks invariants 1, 3, 4 and 7. `sweep` is the interval between the sweeps of dispatch. Some parts
/// block the thread, so the caller runs this on a thread that may block.
pub async fn audit(
    kafka: &KafkaConfig,
    (status_topic, deliveries_topic): (&str, &str),
    database: &PgConnectOptions,
    sweep: Duration,
) -> anyhow::Result<Vec<Check>> {
    // The order of these reads is part of the checks; the comment on the module explains it.
    let group = kafka.group("couriers");
    let scanner = Scanner::new(kafka, &group)?;
    let committed = scanner.committed(status_topic)?;
    let source = Source {
        topic: status_topic,
        cleanup: cleanup(kafka, status_topic).await,
        group,
        committed,
    };
    let database = database.clone().options([("search_path", "couriers")]);
    let mut connection = PgConnection::connect_with(&database)
        .await
        .context("connecting to the courier service's database")?;
    check_not_pooled(&mut connection, "couriers").await?;
    let states = read_states(&mut connection).await?;
    let mut rejected = RejectedRows::read(&mut connection, status_topic).await?;
    let sent = SentEntries::read(&mut connection).await?;
    let topic = read_topic(&scanner, &source, &mut rejected)?;
    let letters = dead_letters(status_topic);
    let letters = DeadLetters {
        topic: &letters,
        cleanup: cleanup(kafka, &letters).await,
        group: &source.group,
    };
    let mut on_dead_letter_topic =
        Check::new(1, "every rejected status record is on the dead-letter topic");
    rejected.look_for_letters(&mut on_dead_letter_topic, &scanner, &letters, &source.committed)?;
    let mut checks =
        vec![check_states(&states, &topic, &source), topic.rejected, on_dead_letter_topic];
    checks.extend(check_tables(&mut connection).await?);
    // Two intervals, so that at least one sweep begins between the two readings. The result is
    // listed with the other checks of invariant 3.
    checks.insert(checks.len() - 4, check_waiting(&mut connection, sweep * 2).await?);
    checks.push(sent.check(kafka, &scanner, deliveries_topic).await?);
    connection.close().await.context("closing the connection to the courier service's database")?;
    Ok(checks)
}

/// The status topic, and the group that reads it, as they were when the audit began.
struct Source<'a> {
    topic: &'a str,
    cleanup: Cleanup,
    group: String,
    committed: Ends,
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
    scanned: ScannedTopic,
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

/// Reads the whole topic, and compares its invalid records with the rows of the rejected ones.
fn read_topic(
    scanner: &Scanner,
    source: &Source<'_>,
    rows: &mut RejectedRows,
) -> anyhow::Result<StatusTopic> {
    let Source { topic, cleanup, group, committed } = source;
    let name = "every invalid status record, and no other, is stored as rejected";
    let mut rejected = Check::new(1, name);
    let mut orders: HashMap<OrderUid, HighestStatus> = HashMap::new();
    let mut scanned = ScannedTopic::new(topic, &scanner.bounds(topic)?, *cleanup);
    scanner.read(topic, &scanned.ends(), |record| {
        scanned.see(&record);
        let due = Due::of(record.position, committed);
        // As the service does, a panic is treated like an invalid record.
        let event = catch_unwind(AssertUnwindSafe(|| StatusEvent::read(record.value)));
        let event = match event {
            Ok(event) => event.map_err(rejection::of),
            Err(_) => Err(rejection::for_fault(&Fault::Panic)),
        };
        let is_rejected = rows.look(&mut rejected, &record, event.as_ref().err(), due);
        if let Ok(StatusEvent { order_id, word: StatusWord::Status(status), .. }) = event
            && !is_rejected
        {
            let highest = orders.entry(order_id).or_default();
            highest.ever = highest.ever.max(Some(status));
            if due == Due::Committed {
                highest.committed = highest.committed.max(Some(status));
            }
        }
        Ok(())
    })?;
    scanned.finish(&scanner.bounds(topic)?);
    scanned.skip_unread(&mut rejected, committed, group);
    rows.finish(&mut rejected, &scanned);
    Ok(StatusTopic { orders, scanned, rejected })
}

/// A stored status is at least the highest before the committed offsets, and at most the highest of
/// the topic.
fn check_states(states: &States, topic: &StatusTopic, source: &Source<'_>) -> Check {
    let mut check = Check::new(1, "an order's state is the highest status of its events");
    for (order_id, highest) in &topic.orders {
        // An order without a committed event may be stored or not.
        if highest.committed.is_some() {
            let state = states.get(order_id).map(|(status, _)| *status);
            check.look(state >= highest.committed, || order_id.as_str().to_owned());
        }
    }
    topic.scanned.skip_unread(&mut check, &source.committed, &source.group);
    let begins_ms = topic.scanned.begins_ms();
    for (order_id, (status, since_ms)) in states {
        // An order that was assigned manually before its first event is `created`.
        if *status == OrderStatus::Created {
            continue;
        }
        let ever = topic.orders.get(order_id).and_then(|highest| highest.ever);
        let is_expected = !topic.scanned.may_be_compacted()
            && begins_ms.is_some_and(|begins_ms| begins_ms <= *since_ms);
        if Some(*status) <= ever || is_expected {
            check.look(Some(*status) <= ever, || order_id.as_str().to_owned());
        } else {
            check.skip(1, &topic.scanned.incomplete());
        }
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
        Check::new(7, "the last entry of an order in the log is that of its delivery"),
        Check::new(4, "the totals of couriers, deliveries and orders equal a recount"),
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
/// between. An order that was taken from a courier is left out, because that courier cannot take it.
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
         WHERE waiting_since IS NOT NULL AND held_at IS NULL AND taken_from IS NULL \
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
