//! The warm-up: fills memory with the newest orders when the service starts. The service does not
//! depend on it: it becomes ready after a time limit even if the cache is not warm. It does not
//! touch Redis.

use std::{
    ops::RangeInclusive,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Instant,
};

use chassis::{
    postgres::{
        address::Address,
        errors::{mark_refusal, no_answer},
        lease::acquire,
        pool::Pools,
        server,
        session::{begin_pooled, end_pooled},
        time_limit::BACKGROUND,
    },
    process::{failpoint, warm_up},
};
use futures_util::{TryFutureExt as _, TryStreamExt as _};
use prometheus_client::metrics::gauge::Gauge;
use sqlx::{PgPool, Postgres, pool::PoolConnection};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use crate::lookup::{
    Lookup,
    confirmation::Confirmation,
    queries::{self, View},
};

/// The number of pages that are read at the same time.
const CONCURRENT_PAGES: usize = 3;
/// The limit on the orders of a page that are read and not yet in the cache. It is more than a page
/// of usual orders, so that these pages are read in parallel. A small cache has a lower limit.
const MAX_BUFFERED_BYTES: u64 = 4 << 20;

chassis::metrics! {
    pub(crate) struct WarmUpMetrics {
        /// Duration of the warm-up of the cache, seconds; 0 until it has ended
        seconds: Gauge<f64, AtomicU64> = "waybill_warm_up_seconds",
    }
}

/// The number of orders in a page while their size is not known.
const FIRST_PAGE_ORDERS: u64 = 100;
/// The smallest and the largest number of orders in a page.
const PAGE_ORDERS: RangeInclusive<u64> = 10..=2_000;

/// Checks the server, fills the cache, and sets `ready` when that is done or after a time limit.
pub(crate) async fn warm_up(
    pools: Pools,
    address: Address,
    lookup: Arc<Lookup>,
    metrics: WarmUpMetrics,
    ready: Arc<AtomicBool>,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let load = || async {
        server::check(&pools, &address, "orders").await?;
        fill(&pools.work, &lookup, &metrics).map_err(mark_refusal).await
    };
    warm_up::warm_up(load, ready, shutdown).await
}

/// Reads pages of orders concurrently and puts them into the cache in their order, newest first,
/// until the cache is full: if it holds fewer orders than the table, it holds the newest ones.
///
/// The memory that this takes is bounded, however large the orders are: a page that is ahead of the
/// others stops reading when its buffer is full, and no more bytes than the capacity of the cache
/// are put into it. The number of orders in a page follows the size of those read before: PostgreSQL
/// may read and sort a whole page before it sends the first row, so a page of large orders must not
/// have many.
async fn fill(pool: &PgPool, lookup: &Lookup, metrics: &WarmUpMetrics) -> anyhow::Result<()> {
    let started = Instant::now();
    let cache = lookup.cache();
    let buffer = (cache.capacity() / (2 * CONCURRENT_PAGES as u64)).clamp(1, MAX_BUFFERED_BYTES);
    // The pages come out newest first, in whatever sequence they are read: each has its own queue.
    // After the cache is full, after an error and at the shutdown, the handles are dropped and no
    // page is read any more.
    let (sender, mut pages) = mpsc::channel(CONCURRENT_PAGES - 1);
    let starting = AbortOnDropHandle::new(tokio::spawn(start_pages(pool.clone(), buffer, sender)));
    let (mut orders, mut bytes) = (0, 0);
    let mut is_full = false;
    'pages: while let Some(mut page) = pages.recv().await {
        while let Some(one) = page.orders.recv().await {
            // Both limits are needed: a cache of a few large orders evicts some of them before it
            // is full.
            is_full = cache.is_full() || bytes >= cache.capacity();
            if is_full {
                break 'pages;
            }
            // Ingest may have stored a newer version since this page was read. The confirmation
            // says when that was, so that version stays.
            cache.put(&one.view, one.confirmation);
            bytes += one.view.json.len() as u64;
            orders += 1;
            if orders == 10 {
                failpoint::try_async_point("warm-up").await?;
            }
        }
        page.reading.await??;
    }
    // If the cache is full, this task may have further pages to start, and is aborted. Otherwise it
    // has ended, perhaps with an error before the last page.
    if !is_full {
        starting.await??;
    }
    metrics.seconds.set(started.elapsed().as_secs_f64());
    tracing::info!(orders, "the cache is warm: {orders} orders");
    Ok(())
}

/// Starts to read the pages one after another, newest first; their starts come from an index.
async fn start_pages(
    pool: PgPool,
    buffer: u64,
    pages: mpsc::Sender<Page>,
) -> Result<(), sqlx::Error> {
    let read = Arc::new(Read::default());
    let mut starts = std::pin::pin!(queries::pages(&pool, || read.page_orders(buffer)));
    // The place first: the page that is put into the cache and those in this queue are all that are
    // read at the same time, and the size of a page follows the orders of those before it.
    while let Ok(place) = pages.reserve().await {
        let Some(page) = starts.try_next().await? else { break };
        place.send(Page::start(pool.clone(), page, buffer, read.clone()));
    }
    Ok(())
}

/// The orders that were read. All pages add to it; it only estimates, so it needs no ordering.
#[derive(Default)]
struct Read {
    orders: AtomicU64,
    bytes: AtomicU64,
}

impl Read {
    fn add(&self, bytes: u64) {
        self.orders.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Returns the number of orders that fill the buffer of a page.
    fn page_orders(&self, buffer: u64) -> i64 {
        let (orders, bytes) =
            (self.orders.load(Ordering::Relaxed), self.bytes.load(Ordering::Relaxed));
        let fitting = match bytes {
            0 => FIRST_PAGE_ORDERS,
            _ => buffer.saturating_mul(orders) / bytes,
        };
        fitting.clamp(*PAGE_ORDERS.start(), *PAGE_ORDERS.end()).cast_signed()
    }
}

/// A page that is being read.
struct Page {
    orders: mpsc::UnboundedReceiver<Buffered>,
    reading: AbortOnDropHandle<Result<(), sqlx::Error>>,
}

/// An order that was read and is not yet in the cache.
struct Buffered {
    view: View,
    confirmation: Confirmation,
    /// Its share of the page's buffer; released when the order is dropped.
    _share: OwnedSemaphorePermit,
}

impl Page {
    /// Starts to read a page. At most `buffer` bytes of it, or one order, wait to be received.
    fn start(pool: PgPool, page: queries::WarmUpPage, buffer: u64, read: Arc<Read>) -> Self {
        let (sender, orders) = mpsc::unbounded_channel();
        let reading = tokio::spawn(read_page(pool, page, buffer, read, sender));
        Self { orders, reading: AbortOnDropHandle::new(reading) }
    }
}

async fn read_page(
    pool: PgPool,
    page: queries::WarmUpPage,
    buffer: u64,
    read: Arc<Read>,
    orders: mpsc::UnboundedSender<Buffered>,
) -> Result<(), sqlx::Error> {
    let buffer = u32::try_from(buffer).unwrap_or(u32::MAX);
    let free = Arc::new(Semaphore::new(buffer as usize));
    let inner = within_limit(&pool, acquire(&pool)).await?;
    let mut connection = PageConnection { inner, is_finished: false };
    within_limit(&pool, begin_pooled(&pool, &mut connection.inner)).await?;
    let sent = Instant::now();
    let mut answered = None;
    let mut views = queries::page(&mut connection.inner, &page);
    while let Some(view) = within_limit(&pool, views.try_next()).await? {
        // The statement reads all rows as they were before its first row arrives. The later rows
        // may arrive much later, because this task waits for the buffer.
        let answered = *answered.get_or_insert_with(Instant::now);
        let confirmation = Confirmation { sent, answered };
        read.add(view.json.len() as u64);
        let bytes = u32::try_from(view.json.len()).unwrap_or(u32::MAX).min(buffer);
        // While this waits, no further row is read: the socket is full, and PostgreSQL waits.
        let share = free.clone().acquire_many_owned(bytes).await;
        let share = share.expect("the semaphore is never closed");
        // Sending fails if the page was dropped; this task is then aborted, too.
        let _ = orders.send(Buffered { view, confirmation, _share: share });
    }
    drop(views);
    within_limit(&pool, end_pooled(&pool, &mut connection.inner)).await?;
    connection.is_finished = true;
    Ok(())
}

/// Ends a step of a read that the database does not answer.
async fn within_limit<T>(
    pool: &PgPool,
    step: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, sqlx::Error> {
    let outcome = tokio::time::timeout(BACKGROUND.total, step).await;
    outcome.unwrap_or_else(|_| Err(no_answer(&pool.connect_options())))
}

/// The connection of a page. If the page is dropped before its last row, the connection is closed:
/// the pool would first read all other rows of the page.
struct PageConnection {
    inner: PoolConnection<Postgres>,
    is_finished: bool,
}

impl Drop for PageConnection {
    fn drop(&mut self) {
        if !self.is_finished {
            self.inner.close_on_drop();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_orders_in_a_page_follows_their_size() {
        for (bytes, expected) in [(0, 100), (1_200, 2_000), (90_000, 46), (1 << 20, 10)] {
            let read = Read::default();
            for _ in 0..3 {
                read.add(bytes);
            }
            assert_eq!(read.page_orders(MAX_BUFFERED_BYTES), expected, "{bytes} bytes");
        }
    }
}
