//! Latencies of dispatch at a steady pace of events. Assignment: from Kafka's timestamp of `created`
//! until another session sees the order's courier. Delivery event: from the same timestamp to that
//! of the event on the deliveries topic.

use std::{
    collections::{BTreeSet, HashMap},
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use sqlx::{Connection as _, PgConnection};
use testkit::{Servers, wait_until};

use super::{SMALL, Setup, courier_fixture::CourierFixture};
use crate::{
    Cli,
    figure::{self, Figure, Round, Target},
};

/// Events per second, half of them `created`.
const PACE: u64 = 500;
const SECONDS: u64 = 20;
/// Orders of the first seconds are not counted.
const WARM_UP_SECONDS: u64 = 2;

pub(crate) async fn measure(_: &Cli, servers: &Servers) -> anyhow::Result<[Figure; 2]> {
    let fixture = CourierFixture { couriers: SMALL };
    let mut setup = Setup::new(servers, fixture, 0).await?;
    fixture.settle(&mut setup.administrator).await?;
    let service = setup.env.start_couriers(&setup.database, &[]).await;
    let mut watch = PgConnection::connect(&setup.database.url).await?;

    let begun = Instant::now();
    let (mut sent, mut seen, mut unseen) = (0, HashMap::new(), BTreeSet::new());
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
        for order in assigned(&mut watch, &unseen).await? {
            unseen.remove(&order.order_id);
            if sent > PACE * WARM_UP_SECONDS {
                let Assigned { order_id, created_at, to_assignment } = order;
                seen.insert(order_id.into_bytes(), Latency { created_at, to_assignment });
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
    wait_until("every delivery event to be sent", async || setup.all_sent().await).await;
    let mut to_events = latencies_of_events(&setup, &seen).await?;
    service.stop().await?;
    setup.remove().await?;
    let mut to_assignments =
        seen.into_values().map(|latency| latency.to_assignment).collect::<Vec<_>>();
    let assigned = figure::p99("assign-latency", &mut to_assignments);
    let published = figure::p99("event-latency", &mut to_events);
    let what = |end| format!("from `created` on the topic to {end}, {PACE} events per second, p99");
    let event = Round { waybill: published, baseline: assigned };
    Ok([
        Figure::of_value(
            "assign-latency",
            what("the committed assignment"),
            "ms",
            Target::AtMost { must: 50.0, aim: 50.0 },
            assigned,
        ),
        Figure::of_ratios(
            "event-latency",
            what("the delivery event on its topic; baseline: assign-latency"),
            "ms",
            Target::AtMost { must: 3.0, aim: 2.0 },
            &[event],
        ),
    ])
}

/// The time from Kafka's timestamp of an order's `created`, in milliseconds.
struct Latency {
    created_at: f64,
    to_assignment: f64,
}

#[derive(sqlx::FromRow)]
struct Assigned {
    order_id: String,
    created_at: f64,
    to_assignment: f64,
}

/// Returns the orders that now have a courier.
async fn assigned(
    watch: &mut PgConnection,
    unseen: &BTreeSet<String>,
) -> anyhow::Result<Vec<Assigned>> {
    let unseen: Vec<&str> = unseen.iter().map(String::as_str).collect();
    let seen = sqlx::query_as(
        "SELECT order_id, (extract(epoch FROM state.created_at) * 1000)::double precision AS created_at, \
             (extract(epoch FROM clock_timestamp() - state.created_at) * 1000)::double precision \
                 AS to_assignment \
         FROM couriers.courier_orders JOIN couriers.order_states AS state USING (order_id) \
         WHERE order_id = ANY ($1)",
    )
    .bind(&unseen)
    .fetch_all(watch)
    .await?;
    Ok(seen)
}

/// Returns the milliseconds from the `created` of each order to the first event of its delivery, by
/// Kafka's timestamps.
async fn latencies_of_events(
    setup: &Setup,
    orders: &HashMap<Vec<u8>, Latency>,
) -> anyhow::Result<Vec<f64>> {
    let mut latencies = HashMap::new();
    for event in setup.env.read_all(&setup.env.deliveries_topic()).await {
        let key = event.key.context("a delivery event has a key")?;
        if let Some(order) = orders.get(&key) {
            latencies.entry(key).or_insert(event.timestamp_ms as f64 - order.created_at);
        }
    }
    ensure!(
        latencies.len() == orders.len(),
        "{} of {} orders have a delivery event",
        latencies.len(),
        orders.len()
    );
    Ok(latencies.into_values().collect())
}
