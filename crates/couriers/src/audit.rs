//! A recount of the courier service's promises, with traffic going on.
//!
//! What is read first may only lag behind what is read later: the committed offsets, then the
//! topic, then the tables. So what a committed offset covers must be in the tables. Memory: some
//! 100 bytes an order that the topic still knows.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use anyhow::Context;
use chassis::{
    consumer::Position,
    kafka::KafkaConfig,
    recount::Check,
    scan::{Ends, Scanner},
};
use events::{OrderStatus, OrderUid, StatusEvent, StatusWord};
use sqlx::{Connection, PgConnection, postgres::PgConnectOptions};

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
    let told = read_topic(&scanner, status_topic, &committed)?;
    let mut connection = PgConnection::connect_with(database)
        .await
        .context("connecting to the courier service's database")?;
    let mut checks = vec![
        recount_states(&mut connection, &told).await?,
        recount_rejected(&mut connection, status_topic, &told).await?,
        recount_active(&mut connection).await?,
        recount_busy(&mut connection).await?,
    ];
    checks.push(recount_waiting(&mut connection, sweep * 2).await?);
    checks.push(recount_counters(&mut connection).await?);
    checks.push(recount_ended(&mut connection).await?);
    connection.close().await.context("leaving the courier service's database")?;
    Ok(checks)
}

/// What the topic says before the committed offsets.
struct Told {
    highest: HashMap<OrderUid, OrderStatus>,
    unreadable: HashSet<(i32, i64)>,
}

fn read_topic(scanner: &Scanner, topic: &str, committed: &Ends) -> anyhow::Result<Told> {
    let mut told = Told { highest: HashMap::new(), unreadable: HashSet::new() };
    scanner.read(topic, committed, |record| {
        let Position { partition, offset, .. } = record.position;
        match StatusEvent::read(record.value) {
            Err(_) => {
                told.unreadable.insert((partition, offset));
            }
            Ok(StatusEvent { order_id, word: StatusWord::Status(status), .. }) => {
                let highest = told.highest.entry(order_id).or_insert(status);
                *highest = status.max(*highest);
            }
            Ok(_) => {}
        }
        Ok(())
    })?;
    Ok(told)
}

/// A status may have risen since the topic was read.
async fn recount_states(connection: &mut PgConnection, told: &Told) -> anyhow::Result<Check> {
    let mut check = Check::new(1, "an order's state is the highest status that was told of it");
    let told: Vec<_> = told.highest.iter().collect();
    for part in told.chunks(10_000) {
        let ids: Vec<String> = part.iter().map(|(id, _)| id.as_str().to_owned()).collect();
        let ranks = sqlx::query!(
            "-- audit_states\n\
             SELECT order_id, rank FROM couriers.order_states WHERE order_id = ANY ($1)",
            &ids,
        )
        .fetch_all(&mut *connection)
        .await?;
        let ranks: HashMap<String, i16> =
            ranks.into_iter().map(|row| (row.order_id, row.rank)).collect();
        for (order_id, status) in part {
            let rank = ranks.get(order_id.as_str());
            let holds = rank.is_some_and(|rank| *rank >= status.rank());
            check.look(holds, || order_id.as_str().to_owned());
        }
    }
    Ok(check)
}

async fn recount_rejected(
    connection: &mut PgConnection,
    topic: &str,
    told: &Told,
) -> anyhow::Result<Check> {
    let kept = sqlx::query!(
        "-- audit_rejected\n\
         SELECT \"partition\", \"offset\" FROM couriers.rejected_records WHERE topic = $1",
        topic,
    )
    .fetch_all(connection)
    .await?;
    let kept: HashSet<(i32, i64)> =
        kept.into_iter().map(|row| (row.partition, row.offset)).collect();
    let mut check = Check::new(1, "every status record that is no event is kept");
    for place in &told.unreadable {
        check.look(kept.contains(place), || format!("{topic}:{}:{}", place.0, place.1));
    }
    Ok(check)
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
