//! Memory: the peak of the resident memory while the release binary ingests a backlog, minus
//! `CACHE_BYTES`.

use testkit::{Servers, TestEnvironment};

use crate::{
    Cli, backlog, child, database,
    figure::{Figure, Target, thousands},
    ingest, progress,
};

pub(crate) async fn measure(cli: &Cli, servers: &Servers) -> anyhow::Result<Figure> {
    let orders = cli.orders.unwrap_or(1_000_000);
    let binary = child::binary(cli.waybill.as_ref()).await?;
    progress(&format!("memory: filling Kafka with {} orders", thousands(orders as f64)));
    let env = TestEnvironment::new(servers).await;
    backlog::fill(&env, 0..orders, None).await?;
    let more = ["--cache-bytes".to_owned(), cli.cache_bytes.to_string()];
    let taken = ingest::take(&binary, &env, orders, &more).await?;
    database::drop_all(&env, &[]).await?;
    Ok(Figure::of_value(
        "memory",
        format!(
            "peak resident memory minus CACHE_BYTES = {} after a backlog of {orders} orders",
            cli.cache_bytes
        ),
        "MB",
        Target::AtMost { must: 110.0, aim: 90.0 },
        (taken.peak - cli.cache_bytes as f64) / 1e6,
    ))
}
