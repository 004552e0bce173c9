//! The warm-up: fills memory with the newest orders when the service starts. The service does not
//! depend on it: it becomes ready after a time limit even if the cache is not warm. It does not
//! touch Redis.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64},
    },
    time::Instant,
};

use chassis::{
    postgres::errors::mark_refusal,
    process::{crash, warm_up},
};
use futures_util::{FutureExt as _, TryFutureExt as _, TryStreamExt as _};
use prometheus_client::metrics::gauge::Gauge;
use sqlx::PgPool;
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use crate::lookup::{Lookup, queries};

/// The number of pages that are read at the same time.
const CONCURRENT_PAGES: usize = 3;

chassis::metrics! {
    pub(crate) struct WarmUpMetrics {
        /// Duration of the warm-up of the cache, seconds; 0 until it has ended
        seconds: Gauge<f64, AtomicU64> = "waybill_warm_up_seconds",
    }
}

/// Fills the cache, and sets `ready` when that is done or after a time limit.
pub(crate) async fn warm_up(
    pool: PgPool,
    lookup: Arc<Lookup>,
    metrics: WarmUpMetrics,
    ready: Arc<AtomicBool>,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let load = || fill(&pool, &lookup, &metrics).map_err(mark_refusal);
    warm_up::warm_up(load, ready, shutdown).await
}

/// Reads pages of orders concurrently and puts them into the cache in their order, newest first,
/// until the cache is full: if it holds fewer orders than the table, it holds the newest ones.
async fn fill(pool: &PgPool, lookup: &Lookup, metrics: &WarmUpMetrics) -> anyhow::Result<()> {
    let started = Instant::now();
    // The starts of the pages come one after another from an index; the pages themselves are read
    // by tasks, several at a time. A task is aborted when its handle is dropped: after the cache is
    // full, after an error and at the shutdown, no page is read any more.
    let pages = queries::pages(pool).map_ok(|begin| {
        let pool = pool.clone();
        let reading = tokio::spawn(async move { queries::page(&pool, begin.as_ref()).await });
        AbortOnDropHandle::new(reading).map(|page| Ok(page??))
    });
    // Buffered in sequence: the pages come out newest first, in whatever sequence they were read.
    let mut pages =
        std::pin::pin!(pages.map_err(anyhow::Error::new).try_buffered(CONCURRENT_PAGES));
    let mut orders = 0;
    'pages: while let Some(page) = pages.try_next().await? {
        for view in &page {
            if lookup.cache().is_full() {
                break 'pages;
            }
            // Ingest may have stored a newer version since this page was read. `put` never replaces
            // a version with a lower one, so that version stays.
            lookup.cache().put(view);
            orders += 1;
            if orders == 10 {
                crash::point("warm-up");
            }
        }
    }
    metrics.seconds.set(started.elapsed().as_secs_f64());
    tracing::info!(orders, "the cache is warm: {orders} orders");
    Ok(())
}
