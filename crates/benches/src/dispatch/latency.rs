//! Assignment latency: from Kafka's timestamp of `created` until another session sees the order's
//! courier, at a steady pace of events.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use sqlx::{Connection as _, PgConnection};
use testkit::Servers;

use super::{SMALL, Setup, courier_fixture::CourierFixture};
use crate::{
    Cli,
    figure::{self, Figure, Target},
};

/// Events per second, half of them `created`.
const PACE: u64 = 500;
const SECONDS: u64 = 20;
/// Orders of the first seconds are not counted.
const WARM_UP_SECONDS: u64 = 2;

pub(crate) async fn measure(_: &Cli, servers: &Servers) -> anyhow::Result<Figure> {
    let fixture = CourierFixture { couriers: SMALL };
    let mut setup = Setup::new(servers, fixture, 0).await?;
    fixture.settle(&mut setup.administrator).await?;
    let service = setup.env.start_couriers(&setup.database, &[]).await;
    let mut watch = PgConnection::connect(&setup.database.url).await?;

    let begun = Instant::now();
    let (mut sent, mut seen, mut unseen) = (0, Vec::new(), BTreeSet::new());
    while sent < PACE * SECONDS || !unseen.is_empty() {
        let due = (begun.elapsed().as_micros() as u64 * PACE / 1_000_000).min(PACE * SECONDS);
        for number in sent..due {
            let (key, value) = fixture.event(number);
            setup.env.enqueue_status(Some(&key), &value);
            if number % 2 == 0 {
                unseen.insert(String::from_utf8(key).context("an order's id is valid UTF-8")?);
            }
        }
        sent = due;
        for (order_id, milliseconds) in assigned(&mut watch, &unseen).await? {
            unseen.remove(&order_id);
            if sent > PACE * WARM_UP_SECONDS {
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
    setup.remove().await?;
    let p99 = figure::p99("assign-latency", &mut seen);
    Ok(Figure::of_value(
        "assign-latency",
        format!(
            "from `created` on the topic to the committed assignment, {PACE} events per second, p99"
        ),
        "ms",
        Target::AtMost { must: 50.0, aim: 50.0 },
        p99,
    ))
}

/// Returns the orders that now have a courier, with the milliseconds since Kafka's timestamp.
async fn assigned(
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
