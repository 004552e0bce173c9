//! A recount of the courier service's promises, with traffic going on.
//!
//! What is read first may only lag behind what is read later: the committed offsets, then the
//! tables, then the topics. So what a committed offset covers must be in the tables, and what the
//! tables hold must have been told on the topics. What the tables have of a topic that was made anew
//! since is older than the first record of the present one, and is not looked for there. Memory:
//! some 150 bytes an order.

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
};
use events::{OrderStatus, OrderUid, StatusEvent, StatusWord, topics::dead_letters};
use futures_util::TryStreamExt as _;
use sqlx::{Connection, PgConnection, postgres::PgConnectOptions};

use crate::store::{bad_column, status_of};

/// Recounts invariants 1, 3 and 4. `sweep` is how often dispatch looks by itself. Blocking in
/// parts: to be run where that is allowed.
pub async fn audit(
    kafka: &KafkaConfig,
    status_topic: &str,
    database: &PgConnectOptions,
    sweep: Duration,
) -> anyhow::Result<Vec<Check>> {
    let scanner = Scanner::new(kafka, &kafka.group("couriers"))?;
    let committed = scanner.committed(status_topic)?;
    let database = database.clone().options([("search_path", "couriers")]);
    let mut connection = PgConnection::connect_with(&database)
        .await
        .context("connecting to the courier service's database")?;
    let states = read_states(&mut connection).await?;
    let kept = rejected::kept(&mut connection, status_topic).await?;
    let (told, rejected) = read_topic(&scanner, status_topic, &committed, &kept)?;
    let mut checks = vec![
        recount_states(&states, &told),
        rejected,
        rejected::dead_letters(
            Check::new(1, "every kept status record is on the dead-letter topic"),
            &scanner,
            status_topic,
            &dead_letters(status_topic),
            &committed,
            &kept,
        )?,
        recount_active(&mut connection).await?,
        recount_busy(&mut connection).await?,
        recount_lost(&mut connection).await?,
    ];
    checks.push(recount_waiting(&mut connection, sweep * 2).await?);
    checks.push(recount_counters(&mut connection).await?);
    checks.push(recount_ended(&mut connection).await?);
    connection.close().await.context("leaving the courier service's database")?;
    Ok(checks)
}

/// How far each order has come, and since when by Kafka's clock.
type States = HashMap<OrderUid, (OrderStatus, i64)>;

async fn read_states(connection: &mut PgConnection) -> anyhow::Result<States> {
    let mut states = States::new();
    let mut rows = sqlx::query!(
        "-- audit_states\n\
         SELECT order_id, rank, changed_at FROM couriers.order_states"
    )
    .fetch(connection);
    while let Some(row) = rows.try_next().await? {
        let order_id = row.order_id.parse();
        let order_id = order_id.map_err(|error| bad_column("order_states.order_id", error))?;
        states.insert(order_id, (status_of(row.rank)?, milliseconds(row.changed_at)));
    }
    Ok(states)
}

/// What the topic says.
struct Told {
    highest: HashMap<OrderUid, Highest>,
    /// What was told before it may be forgotten.
    begins_ms: i64,
}

/// The highest status that was told of an order.
#[derive(Default)]
struct Highest {
    /// Before the committed offsets.
    settled: Option<OrderStatus>,
    /// Ever.
    ever: Option<OrderStatus>,
}

/// Reads the whole topic; what cannot be read, or what the database refused, must be among `kept`.
fn read_topic(
    scanner: &Scanner,
    topic: &str,
    committed: &Ends,
    kept: &HashSet<Position>,
) -> anyhow::Result<(Told, Check)> {
    let mut rejected = Check::new(1, "every status record that is no event is kept");
    let mut highest: HashMap<OrderUid, Highest> = HashMap::new();
    let mut begins = BTreeMap::new();
    let is_whole = scanner.bounds(topic)?.values().all(|(first, _)| *first == 0);
    scanner.read(topic, &scanner.ends(topic)?, |record| {
        let Position { timestamp_ms, partition, offset } = record.position;
        begins.entry(partition).or_insert(timestamp_ms);
        let is_settled = committed.get(&partition).is_some_and(|next| offset < *next);
        match StatusEvent::read(record.value) {
            // Only the database had something against it.
            Ok(_) if kept.contains(&record.position) => {}
            Ok(StatusEvent { order_id, word: StatusWord::Status(status), .. }) => {
                let told = highest.entry(order_id).or_default();
                told.ever = told.ever.max(Some(status));
                if is_settled {
                    told.settled = told.settled.max(Some(status));
                }
            }
            Ok(_) => {}
            Err(_) if is_settled => rejected
                .look(kept.contains(&record.position), || format!("{topic}:{partition}:{offset}")),
            Err(_) => {}
        }
        Ok(())
    })?;
    // Where records were deleted, each partition begins when it may.
    let begins = begins.into_values();
    let begins_ms = if is_whole { begins.min() } else { begins.max() };
    Ok((Told { highest, begins_ms: begins_ms.unwrap_or(i64::MAX) }, rejected))
}

/// At least what was told before the committed offsets, at most what was told ever.
fn recount_states(states: &States, told: &Told) -> Check {
    let mut check = Check::new(1, "an order's state is the highest status that was told of it");
    for (order_id, highest) in &told.highest {
        let state = states.get(order_id).map(|(status, _)| *status);
        check.look(state >= highest.settled, || order_id.as_str().to_owned());
    }
    for (order_id, (status, since_ms)) in states {
        // Assigned by hand, an order that nobody has told of is created.
        if *status == OrderStatus::Created || *since_ms < told.begins_ms {
            continue;
        }
        let ever = told.highest.get(order_id).and_then(|highest| highest.ever);
        check.look(Some(*status) <= ever, || order_id.as_str().to_owned());
    }
    check
}

async fn recount_active(connection: &mut PgConnection) -> anyhow::Result<Check> {
    let count = sqlx::query!(
        "-- audit_active\n\
         SELECT count(*) AS \"checked!\", count(*) FILTER (WHERE active > 1) AS \"broken!\", \
             (array_agg(courier_id::text) FILTER (WHERE active > 1))[1:5] AS examples \
         FROM ( \
             SELECT courier_id, count(*) AS active FROM couriers.courier_orders \
             WHERE completed_at IS NULL AND released_at IS NULL GROUP BY courier_id \
         ) AS carrying"
    )
    .fetch_one(connection)
    .await?;
    let check = Check::new(3, "no courier has two active deliveries, no order two couriers");
    Ok(check.counted(
        count.checked.unsigned_abs(),
        count.broken.unsigned_abs(),
        count.examples.unwrap_or_else(Vec::new),
    ))
}

async fn recount_busy(connection: &mut PgConnection) -> anyhow::Result<Check> {
    let count = sqlx::query!(
        "-- audit_busy\n\
         SELECT count(*) AS \"checked!\", count(*) FILTER (WHERE is_wrong) AS \"broken!\", \
             (array_agg(id::text) FILTER (WHERE is_wrong))[1:5] AS examples \
         FROM ( \
             SELECT courier.id, \
                 (courier.status = 'busy' AND delivery.order_id IS NULL) \
                 OR (courier.status = 'available' AND delivery.order_id IS NOT NULL) AS is_wrong \
             FROM couriers.couriers AS courier LEFT JOIN couriers.courier_orders AS delivery \
                 ON delivery.courier_id = courier.id \
                 AND delivery.completed_at IS NULL AND delivery.released_at IS NULL \
         ) AS couriers"
    )
    .fetch_one(connection)
    .await?;
    let check = Check::new(3, "who is busy carries an order, who is available carries none");
    Ok(check.counted(
        count.checked.unsigned_abs(),
        count.broken.unsigned_abs(),
        count.examples.unwrap_or_else(Vec::new),
    ))
}

async fn recount_lost(connection: &mut PgConnection) -> anyhow::Result<Check> {
    let count = sqlx::query!(
        "-- audit_lost\n\
         SELECT count(*) AS \"checked!\", count(*) FILTER (WHERE is_wrong) AS \"broken!\", \
             (array_agg(order_id) FILTER (WHERE is_wrong))[1:5] AS examples \
         FROM ( \
             SELECT order_id, \
                 (state.waiting_since IS NOT NULL) = (delivery.order_id IS NOT NULL) AS is_wrong \
             FROM couriers.order_states AS state \
             LEFT JOIN couriers.courier_orders AS delivery USING (order_id) \
             WHERE state.created_at IS NOT NULL AND state.rank < $1 \
         ) AS orders",
        OrderStatus::Completed.rank(),
    )
    .fetch_one(connection)
    .await?;
    let check = Check::new(3, "an order that has not ended waits, is held, or has a courier");
    Ok(check.counted(
        count.checked.unsigned_abs(),
        count.broken.unsigned_abs(),
        count.examples.unwrap_or_else(Vec::new),
    ))
}

/// Two looks, `apart`: an order that waits in both, while a courier is available in both and was
/// not given another order in between, has been left waiting.
async fn recount_waiting(connection: &mut PgConnection, apart: Duration) -> anyhow::Result<Check> {
    let (waiting, available) = look_at_queue(connection).await?;
    tokio::time::sleep(apart).await;
    let (still_waiting, still_available) = look_at_queue(connection).await?;
    let mut check = Check::new(3, "no order waits while a courier stands available");
    let somebody = available.intersection(&still_available).next().is_some();
    for order_id in &waiting {
        let was_left = somebody && still_waiting.contains(order_id);
        check.look(!was_left, || order_id.clone());
    }
    Ok(check)
}

async fn look_at_queue(
    connection: &mut PgConnection,
) -> anyhow::Result<(HashSet<String>, HashSet<(i64, i64)>)> {
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
    let available = available.into_iter().map(|row| (row.id, row.since)).collect();
    Ok((waiting.into_iter().collect(), available))
}

async fn recount_counters(connection: &mut PgConnection) -> anyhow::Result<Check> {
    let count = sqlx::query!(
        "-- audit_counters\n\
         SELECT count(*) AS \"checked!\", count(*) FILTER (WHERE is_wrong) AS \"broken!\", \
             (array_agg(id::text) FILTER (WHERE is_wrong))[1:5] AS examples \
         FROM ( \
             SELECT courier.id, (courier.deliveries, courier.completed, courier.on_time) \
                 IS DISTINCT FROM (coalesce(his.deliveries, 0), coalesce(his.completed, 0), \
                     coalesce(his.on_time, 0)) AS is_wrong \
             FROM couriers.couriers AS courier LEFT JOIN ( \
                 SELECT courier_id, count(*) AS deliveries, count(completed_at) AS completed, \
                     count(*) FILTER (WHERE completed_at <= deadline) AS on_time \
                 FROM couriers.courier_orders GROUP BY courier_id \
             ) AS his ON his.courier_id = courier.id \
         ) AS couriers"
    )
    .fetch_one(connection)
    .await?;
    let check = Check::new(4, "a courier's figures equal a recount of his deliveries");
    Ok(check.counted(
        count.checked.unsigned_abs(),
        count.broken.unsigned_abs(),
        count.examples.unwrap_or_else(Vec::new),
    ))
}

async fn recount_ended(connection: &mut PgConnection) -> anyhow::Result<Check> {
    let count = sqlx::query!(
        "-- audit_ended\n\
         SELECT count(*) AS \"checked!\", count(*) FILTER (WHERE is_wrong) AS \"broken!\", \
             (array_agg(order_id) FILTER (WHERE is_wrong))[1:5] AS examples \
         FROM ( \
             SELECT order_id, state.rank IS NULL OR state.rank = $1 \
                 OR (state.rank = $2) IS DISTINCT FROM (delivery.completed_at IS NOT NULL) AS is_wrong \
             FROM couriers.courier_orders AS delivery \
             LEFT JOIN couriers.order_states AS state USING (order_id) \
         ) AS deliveries",
        OrderStatus::Cancelled.rank(),
        OrderStatus::Completed.rank(),
    )
    .fetch_one(connection)
    .await?;
    let check = Check::new(4, "cancelled orders never count, completed ones do");
    Ok(check.counted(
        count.checked.unsigned_abs(),
        count.broken.unsigned_abs(),
        count.examples.unwrap_or_else(Vec::new),
    ))
}
