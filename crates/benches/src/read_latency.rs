//! Read latency: from Kafka's timestamp of an order's record to the response with the order, at a
//! steady rate. Each order is requested at once with `?wait`, on its own connection, so that the
//! response comes as soon as the service has the order.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use sqlx::types::time::OffsetDateTime;
use testkit::{Servers, TestEnvironment};
use tokio::task::JoinSet;

use crate::{
    Cli, backlog, child, database,
    figure::{self, Figure, Target},
};

/// Orders per second.
const PACE: u64 = 1_000;
const SECONDS: u64 = 20;
/// Orders of the first seconds are not counted.
const WARM_UP_SECONDS: u64 = 2;
/// The age at which the service closes a batch, by its default settings, in milliseconds.
const BATCH_AGE: f64 = 5.0;

pub(crate) async fn measure(cli: &Cli, servers: &Servers) -> anyhow::Result<Figure> {
    let binary = child::binary(cli.waybill.as_ref()).await?;
    let env = TestEnvironment::new(servers).await;
    let records = backlog::records(0..PACE * SECONDS)?;
    let service = child::waybill(&binary, &env, &[], None).await?;
    let client = reqwest::Client::new();

    let begun = Instant::now();
    let (mut sent, mut reads) = (0, JoinSet::new());
    while sent < records.len() {
        let due = (begun.elapsed().as_micros() as u64 * PACE / 1_000_000) as usize;
        for (key, value) in &records[sent..due.min(records.len())] {
            let uid = str::from_utf8(key)?.to_owned();
            let order = format!("{}/order/{uid}?wait=10s", service.url);
            let counts = begun.elapsed() > Duration::from_secs(WARM_UP_SECONDS);
            env.enqueue(key, value);
            let request = client.get(order);
            reads.spawn(async move {
                request.send().await?.error_for_status()?.bytes().await?;
                anyhow::Ok(counts.then_some((uid, OffsetDateTime::now_utc())))
            });
        }
        sent = due.min(records.len());
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let mut read = Vec::new();
    while let Some(one) = reads.join_next().await {
        read.extend(one?.context("an order could not be read within 10 s")?);
    }
    ensure!(!read.is_empty(), "no order was read");
    let mut latencies = since_their_records(&env, &read).await?;
    service.stop().await?;
    database::drop_all(&env, &[]).await?;
    let p99 = figure::p99("read-latency", &mut latencies);
    Ok(Figure::of_value(
        "read-latency",
        format!(
            "from a record's timestamp to the order over HTTP, {PACE} orders per second, p99, \
             minus the {BATCH_AGE} ms that a batch may wait"
        ),
        "ms",
        Target::AtMost { must: 20.0, aim: 8.0 },
        p99 - BATCH_AGE,
    ))
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
