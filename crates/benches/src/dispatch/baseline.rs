//! The baseline of dispatch: the loop of many similar services. It uses one transaction per event
//! on the same tables with the same indexes, and commits offsets in the background.
//!
//! Within this design it is as fast as possible: typed parsing, prepared statements, one connection
//! without a pool, auto-commit, no queue for an order that gets a courier at once, and no check for
//! repeated or late events.

use std::time::Instant;

use anyhow::{Context, ensure};
use rdkafka::{Message as _, consumer::Consumer as _};
use serde::Deserialize;
use sqlx::{Connection as _, PgConnection};
use testkit::{CourierDatabase, TestEnvironment};

use crate::baseline::{consumer, next_message};

#[derive(Deserialize)]
struct Event {
    order_id: String,
    status: String,
}

/// Processes the first `events` records of the backlog. Returns the events per second, measured
/// from the start of the consumer to the last commit.
pub(super) async fn take(
    env: &TestEnvironment,
    database: &CourierDatabase,
    events: u64,
) -> anyhow::Result<f64> {
    let mut connection = PgConnection::connect(&database.url).await?;
    let begun = Instant::now();
    let consumer = consumer(env, &env.status_topic())?;
    for _ in 0..events {
        let message = next_message(&consumer).await?;
        let value = message.payload().context("the backlog has no null records")?;
        let event: Event = serde_json::from_slice(value).context("the backlog is valid")?;
        let at = message.timestamp().to_millis().context("every record has a timestamp")?;
        match event.status.as_str() {
            "created" => assign(&mut connection, &event.order_id, at).await?,
            _ => complete(&mut connection, &event.order_id, at).await?,
        }
        consumer.store_offset_from_message(&message)?;
    }
    let rate = events as f64 / begun.elapsed().as_secs_f64();
    connection.close().await?;
    Ok(rate)
}

async fn assign(connection: &mut PgConnection, order_id: &str, at: i64) -> anyhow::Result<()> {
    let mut transaction = connection.begin().await?;
    let courier: Option<(i64, String)> = sqlx::query_as(
        "SELECT id, transport_type FROM couriers.couriers WHERE status = 'available' \
         ORDER BY deliveries, free_since, id LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED",
    )
    .fetch_optional(&mut *transaction)
    .await?;
    sqlx::query(
        "INSERT INTO couriers.order_states (order_id, rank, created_at, changed_at, waiting_since) \
         SELECT $1, 0, at, at, CASE WHEN $3 THEN at END FROM to_timestamp($2::bigint / 1000.0) AS at",
    )
    .bind(order_id)
    .bind(at)
    .bind(courier.is_none())
    .execute(&mut *transaction)
    .await?;
    if let Some((courier_id, transport_type)) = courier {
        sqlx::query(
            "INSERT INTO couriers.courier_orders \
                 (order_id, courier_id, transport_type, assigned_at, deadline, by_hand) \
             VALUES ($1, $2, $3, now(), now() + CASE $3 WHEN 'on_foot' THEN interval '30 min' \
                 WHEN 'scooter' THEN interval '15 min' ELSE interval '5 min' END, false)",
        )
        .bind(order_id)
        .bind(courier_id)
        .bind(transport_type)
        .execute(&mut *transaction)
        .await?;
        sqlx::query(
            "UPDATE couriers.couriers SET status = 'busy', deliveries = deliveries + 1 WHERE id = $1",
        )
        .bind(courier_id)
        .execute(&mut *transaction)
        .await?;
    }
    transaction.commit().await?;
    Ok(())
}

async fn complete(connection: &mut PgConnection, order_id: &str, at: i64) -> anyhow::Result<()> {
    let mut transaction = connection.begin().await?;
    sqlx::query(
        "UPDATE couriers.order_states SET rank = 5, changed_at = to_timestamp($2::bigint / 1000.0), \
         waiting_since = NULL WHERE order_id = $1",
    )
    .bind(order_id)
    .bind(at)
    .execute(&mut *transaction)
    .await?;
    let delivery: Option<(i64, bool)> = sqlx::query_as(
        "UPDATE couriers.courier_orders SET completed_at = to_timestamp($2::bigint / 1000.0) \
         WHERE order_id = $1 RETURNING courier_id, completed_at <= deadline",
    )
    .bind(order_id)
    .bind(at)
    .fetch_optional(&mut *transaction)
    .await?;
    let (courier_id, is_on_time) = delivery.context("a courier carries the order")?;
    let freed = sqlx::query(
        "UPDATE couriers.couriers SET status = 'available', free_since = now(), \
         completed = completed + 1, on_time = on_time + $2::boolean::integer WHERE id = $1",
    )
    .bind(courier_id)
    .bind(is_on_time)
    .execute(&mut *transaction)
    .await?;
    ensure!(freed.rows_affected() == 1, "the courier {courier_id} does not exist");
    transaction.commit().await?;
    Ok(())
}
