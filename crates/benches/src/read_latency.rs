//! Read latency: from Kafka's timestamp of an order's record to the response with the order, at a
//! steady rate. Each order is requested at once with `?wait`, on its own connection, so that the
//! response comes as soon as the service has the order.
//!
//! The baseline is the loop of [`baseline`], from the same timestamp to the commit of the order, at
//! the same rate in the same minute. The rate is half of what the loop reaches with a backlog, so
//! that neither of them falls behind.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use rdkafka::Message as _;
use sqlx::types::time::OffsetDateTime;
use testkit::{Servers, TestEnvironment};
use tokio::task::JoinSet;

use crate::{
    Cli, backlog, baseline, child, database,
    figure::{self, Figure, Round, Target, thousands},
    progress,
};

const SECONDS: u64 = 20;
/// Orders of the first seconds are not counted.
const WARM_UP: Duration = Duration::from_secs(2);
/// The age at which the service closes a batch, by its default settings, in milliseconds.
const BATCH_AGE: f64 = 5.0;

/// Orders for one measurement, and the number of them that are sent in a second.
struct Load {
    records: Vec<(Vec<u8>, Vec<u8>)>,
    rate: f64,
}

pub(crate) async fn measure(cli: &Cli, servers: &Servers) -> anyhow::Result<Figure> {
    let binary = child::binary(cli.waybill.as_ref()).await?;
    let (mut rounds, mut rates) = (Vec::new(), Vec::new());
    for number in 1..=cli.rounds {
        let rate = loop_rate(servers, cli.baseline_orders).await? / 2.0;
        progress(&format!("read-latency, round {number}: {} orders/s", thousands(rate)));
        let records = backlog::records(0..(rate * SECONDS as f64) as u64)?;
        let load = Load { records, rate };
        // The baseline comes first in every other round, so that neither always has a warm machine.
        let (waybill, baseline) = if number % 2 == 1 {
            let baseline = loop_p99(servers, &load).await?;
            (waybill_p99(&binary, servers, &load).await?, baseline)
        } else {
            (waybill_p99(&binary, servers, &load).await?, loop_p99(servers, &load).await?)
        };
        rounds.push(Round { waybill: waybill - BATCH_AGE, baseline });
        rates.push(rate);
    }
    let (slowest, fastest) =
        (rates.iter().copied().fold(f64::MAX, f64::min), rates.iter().copied().fold(0.0, f64::max));
    Ok(Figure::of_ratios(
        "read-latency",
        format!(
            "from a record's timestamp to the order over HTTP, p99, minus the {BATCH_AGE} ms that a \
             batch may wait; baseline: one transaction per message, to its commit; both at half the \
             rate that the baseline reaches ({} to {} orders/s)",
            thousands(slowest),
            thousands(fastest),
        ),
        "ms",
        Target::AtMost { must: 1.0, aim: 0.5 },
        &rounds,
    ))
}

/// Returns the orders per second that the loop reaches with a backlog.
async fn loop_rate(servers: &Servers, orders: u64) -> anyhow::Result<f64> {
    let env = TestEnvironment::new(servers).await;
    backlog::fill(&env, 0..orders, None).await?;
    let mut database = database::administrator(&env).await?;
    let rate = baseline::take(&env, &mut database, orders).await?;
    database::drop_all(&env, &[]).await?;
    Ok(rate)
}

async fn loop_p99(servers: &Servers, load: &Load) -> anyhow::Result<f64> {
    let env = TestEnvironment::new(servers).await;
    let mut database = database::administrator(&env).await?;
    baseline::create_tables(&mut database).await?;
    let consumer = baseline::consumer(&env, &env.orders_topic())?;
    let taken = async {
        let mut latencies = Vec::new();
        for _ in &load.records {
            let message = baseline::take_one(&consumer, &mut database).await?;
            let sent = message.timestamp().to_millis().context("Kafka gives a timestamp")?;
            let now = OffsetDateTime::now_utc().unix_timestamp_nanos() as f64 / 1e6;
            latencies.push(now - sent as f64);
        }
        anyhow::Ok(latencies)
    };
    let (mut latencies, ()) = tokio::try_join!(taken, async {
        load.send(|key, value, _| env.enqueue(key, value)).await;
        Ok(())
    })?;
    // The loop takes the records in the order of their partitions, not exactly in that of sending.
    let warm = (load.rate * WARM_UP.as_secs_f64()) as usize;
    database::drop_all(&env, &[]).await?;
    Ok(figure::p99("  loop", &mut latencies[warm..]))
}

async fn waybill_p99(binary: &Path, servers: &Servers, load: &Load) -> anyhow::Result<f64> {
    let env = TestEnvironment::new(servers).await;
    let service = child::waybill(binary, &env, &[], None).await?;
    let client = reqwest::Client::new();
    let mut reads = JoinSet::new();
    load.send(|key, value, counts| {
        let uid = String::from_utf8_lossy(key).into_owned();
        let request = client.get(format!("{}/order/{uid}?wait=10s", service.url));
        env.enqueue(key, value);
        reads.spawn(async move {
            request.send().await?.error_for_status()?.bytes().await?;
            anyhow::Ok(counts.then_some((uid, OffsetDateTime::now_utc())))
        });
    })
    .await;
    let mut read = Vec::new();
    while let Some(one) = reads.join_next().await {
        read.extend(one?.context("an order could not be read within 10 s")?);
    }
    ensure!(!read.is_empty(), "no order was read");
    let mut latencies = since_their_records(&env, &read).await?;
    service.stop().await?;
    database::drop_all(&env, &[]).await?;
    Ok(figure::p99("  Waybill", &mut latencies))
}

impl Load {
    /// Passes the key and the value of each record to `send` at a steady rate, and whether it counts.
    async fn send(&self, mut send: impl FnMut(&[u8], &[u8], bool)) {
        let begun = Instant::now();
        let mut sent = 0;
        while sent < self.records.len() {
            let due = (begun.elapsed().as_secs_f64() * self.rate) as usize;
            let due = due.min(self.records.len());
            for (key, value) in &self.records[sent..due] {
                send(key, value, begun.elapsed() > WARM_UP);
            }
            sent = due;
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

/// Returns the milliseconds from Kafka's timestamp of each order's record to the read.
async fn since_their_records(
    env: &TestEnvironment,
    read: &[(String, OffsetDateTime)],
) -> anyhow::Result<Vec<f64>> {
    let (uids, moments): (Vec<&str>, Vec<OffsetDateTime>) =
        read.iter().map(|(uid, at)| (uid.as_str(), *at)).unzip();
    let latencies: Vec<f64> = sqlx::query_scalar(
        "SELECT (extract(epoch FROM read.at - source_timestamp) * 1000)::double precision \
         FROM UNNEST ($1::text[], $2::timestamptz[]) AS read (order_uid, at) \
         JOIN orders.orders USING (order_uid)",
    )
    .bind(&uids)
    .bind(&moments)
    .fetch_all(&mut database::administrator(env).await?)
    .await?;
    ensure!(latencies.len() == read.len(), "an order that was read is not stored");
    Ok(latencies)
}
