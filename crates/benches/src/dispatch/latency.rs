//! Latency: from Kafka's time of `created` to the moment at which another session sees the order's
//! courier, at a steady pace of events.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use sqlx::{Connection as _, PgConnection};
use testkit::Servers;

use super::{Place, SMALL, courier_fixture::CourierFixture};
use crate::{
    Cli,
    figure::{self, Figure, Target},
};

/// Events a second, half of them `created`.
const PACE: u64 = 500;
/// How long, and how much of it at first is not counted.
const SECONDS: u64 = 20;
const WARMING: u64 = 2;

pub async fn measure(_: &Cli, servers: &Servers) -> anyhow::Result<Figure> {
    let fixture = CourierFixture { couriers: SMALL };
    let mut place = Place::new(servers, fixture, 0).await?;
    fixture.settle(&mut place.administrator).await?;
    let service = place.env.start_couriers(&place.database, &[]).await;
    let mut watch = PgConnection::connect(&place.database.url).await?;

    let begun = Instant::now();
    let (mut sent, mut seen, mut unseen) = (0, Vec::new(), BTreeSet::new());
    while sent < PACE * SECONDS || !unseen.is_empty() {
        let due = (begun.elapsed().as_micros() as u64 * PACE / 1_000_000).min(PACE * SECONDS);
        for number in sent..due {
            let (key, value) = fixture.event(number);
            place.env.enqueue_status(Some(&key), &value);
            if number % 2 == 0 {
                unseen.insert(String::from_utf8(key).context("an order's id is text")?);
            }
        }
        sent = due;
        for (order_id, milliseconds) in look(&mut watch, &unseen).await? {
            unseen.remove(&order_id);
            if sent > PACE * WARMING {
                seen.push(milliseconds);
            }
        }
        ensure!(
            begun.elapsed() < Duration::from_secs(SECONDS + 60),
            "{} orders have no courier",
            unseen.len()
        );
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    watch.close().await?;
    service.stop().await?;
    place.leave().await?;
    let p99 = figure::p99("assign-latency", &mut seen);
    Ok(Figure::of_value(
        "assign-latency",
        format!(
            "from `created` on the topic to its committed courier, {PACE} events a second, p99"
        ),
        "ms",
        Target::AtMost { must: 50.0, aim: 50.0 },
        p99,
    ))
}

/// Those of the orders that have a courier now, and for how long they had been on the topic.
async fn look(
    watch: &mut PgConnection,
    unseen: &BTreeSet<String>,
) -> anyhow::Result<Vec<(String, f64)>> {
    let unseen: Vec<&str> = unseen.iter().map(String::as_str).collect();
    let seen = sqlx::query_as(
        "SELECT order_id, \
             (extract(epoch FROM clock_timestamp() - state.created_at) * 1000)::double precision \
         FROM couriers.courier_orders JOIN couriers.order_states AS state USING (order_id) \
         WHERE order_id = ANY ($1)",
    )
    .bind(&unseen)
    .fetch_all(watch)
    .await?;
    Ok(seen)
}
