//! The queue of misses: orders that memory does not hold, or not fresh, on their way from Redis or
//! PostgreSQL.
//!
//! ```text
//! miss ─┐
//! miss ─┼─▶ queue ─▶ a worker takes a group ─▶ Redis ─▶ one statement ─▶ memory ─▶ all callers
//! miss ─┘
//! ```
//!
//! An order is in one of three states:
//!
//! - *idle*: not in `waiting`. The first miss makes it *queued*.
//! - *queued*: in `waiting` and in `queue`. Further misses only add a caller.
//! - *loading*: in `waiting`, taken from `queue` by a worker. Further misses still only add a
//!   caller, so there is at most one query for an order at a time (single flight). The answer goes
//!   to all callers and makes it idle again.
//!
//! A miss starts a worker unless [`MAX_WORKERS`] are running; a worker ends when the queue is empty.
//! While all workers are busy the queue grows, so a statement asks for one order when there are few
//! misses, and for up to [`MAX_GROUP`] when there are many. A worker is a task of its own: a client
//! that disconnects does not stop it for the others.

use std::{
    collections::HashMap,
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use events::OrderUid;
use futures_util::{FutureExt as _, future::join_all};
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};
use sqlx::{PgPool, Postgres, pool::PoolConnection};
use tokio::sync::oneshot;

use crate::lookup::{
    AnsweredBy, Found, Loaded, Unavailable, cached::Cached, memory::Cache, queries,
    redis::RedisLevel,
};

/// Each worker holds a connection while it has misses, so this leaves the other connections to the
/// rest of the service.
const MAX_WORKERS: usize = 2;
/// The limit on the orders of one statement.
const MAX_GROUP: usize = 64;
/// A database that takes longer to confirm a stale order counts as unavailable.
const CONFIRM_TIMEOUT: Duration = Duration::from_secs(1);
/// While the database is unavailable, the interval of the queries that confirm stale orders.
const CONFIRM_INTERVAL: Duration = Duration::from_secs(1);

pub(super) struct Misses {
    cache: Arc<Cache>,
    redis: Option<Arc<RedisLevel>>,
    pool: PgPool,
    pending: Mutex<Pending>,
    /// Set while the database is unavailable: the time of the next query that confirms.
    confirm_at: Mutex<Option<Instant>>,
    metrics: LoadMetrics,
}

#[derive(Default)]
struct Pending {
    /// The callers that wait for an order.
    waiting: HashMap<OrderUid, Vec<oneshot::Sender<Loaded>>>,
    /// The misses that no worker has taken yet.
    queue: Vec<Miss>,
    workers: usize,
}

struct Miss {
    uid: OrderUid,
    ask: Ask,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ask {
    RedisFirst,
    DatabaseOnly,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LoadedFrom {
    from: &'static str,
}

chassis::metrics! {
    struct LoadMetrics {
        /// Orders that memory did not hold, or not fresh, by what told of them
        loads: Family<LoadedFrom, Counter> = "waybill_cache_loads",
    }
}

impl Misses {
    pub(super) fn new(
        cache: Arc<Cache>,
        redis: Option<Arc<RedisLevel>>,
        pool: PgPool,
        registry: &mut Registry,
    ) -> Arc<Self> {
        let metrics = LoadMetrics::register(registry);
        let (pending, confirm_at) = (Mutex::default(), Mutex::default());
        Arc::new(Self { cache, redis, pool, pending, confirm_at, metrics })
    }

    /// Loads an order that memory does not hold.
    pub(super) async fn load(self: &Arc<Self>, uid: &OrderUid) -> Loaded {
        self.push(uid, Ask::RedisFirst).await.unwrap_or(Err(Unavailable))
    }

    /// Queues a miss, unless the order is already queued or loading.
    fn push(self: &Arc<Self>, uid: &OrderUid, ask: Ask) -> oneshot::Receiver<Loaded> {
        let (sender, loaded) = oneshot::channel();
        let needs_worker = {
            let mut pending = self.pending();
            let callers = pending.waiting.entry(uid.clone()).or_default();
            callers.push(sender);
            if callers.len() == 1 {
                pending.queue.push(Miss { uid: uid.clone(), ask });
            }
            // Counted under the lock that also ends a worker, so a queued miss always has one.
            let needs_worker = !pending.queue.is_empty() && pending.workers < MAX_WORKERS;
            pending.workers += usize::from(needs_worker);
            needs_worker
        };
        if needs_worker {
            tokio::spawn(self.clone().work());
        }
        loaded
    }

    /// Asks the database for a stale order. Only the first client that finds the database unavailable
    /// waits for it; until it answers again, the others get the stale order at once.
    pub(super) async fn confirm(self: &Arc<Self>, uid: &OrderUid, stale: Cached) -> Option<Found> {
        let stale = Some((stale, AnsweredBy::Memory));
        let is_unavailable = {
            // Of the clients that come after the interval, only the first finds it expired.
            let mut confirm_at = self.confirm_at();
            let now = Instant::now();
            if confirm_at.is_some_and(|at| now < at) {
                return stale;
            }
            confirm_at.as_mut().map(|at| *at = now + CONFIRM_INTERVAL).is_some()
        };
        let answer = self.push(uid, Ask::DatabaseOnly);
        if is_unavailable {
            return stale;
        }
        match tokio::time::timeout(CONFIRM_TIMEOUT, answer).await {
            Ok(Ok(Ok(found))) => found,
            Ok(Ok(Err(Unavailable)) | Err(_)) => stale,
            Err(_) => {
                self.note_no_answer();
                stale
            }
        }
    }

    fn note_no_answer(&self) {
        *self.confirm_at() = Some(Instant::now() + CONFIRM_INTERVAL);
    }

    /// A worker: answers groups of misses until none is left.
    async fn work(self: Arc<Self>) {
        let mut connection = None;
        while let Some(group) = self.next_group() {
            // Even after a panic every caller is answered, and the worker continues.
            let found = AssertUnwindSafe(self.find(&group, &mut connection)).catch_unwind().await;
            match found.unwrap_or(Err(sqlx::Error::WorkerCrashed)) {
                // An order that cannot be read must not fail the others of its group.
                Err(sqlx::Error::ColumnDecode { .. }) if group.len() > 1 => {
                    for alone in group.chunks(1) {
                        self.answer(alone, self.find(alone, &mut connection).await);
                    }
                }
                found => self.answer(&group, found),
            }
        }
    }

    /// Takes the next group, or ends the worker.
    fn next_group(&self) -> Option<Vec<Miss>> {
        let mut pending = self.pending();
        if pending.queue.is_empty() {
            pending.workers -= 1;
            return None;
        }
        let taken = pending.queue.len().min(MAX_GROUP);
        Some(pending.queue.drain(..taken).collect())
    }

    fn answer(&self, group: &[Miss], found: Result<HashMap<OrderUid, Found>, sqlx::Error>) {
        let found = found.map_err(|error| {
            tracing::warn!("finding orders: {error}");
            self.note_no_answer();
            Unavailable
        });
        let mut pending = self.pending();
        for Miss { uid, .. } in group {
            let loaded = found.as_ref().map(|found| found.get(uid).cloned()).map_err(|why| *why);
            self.count(&loaded);
            for caller in pending.waiting.remove(uid).into_iter().flatten() {
                // A caller that has gone away is no error.
                let _ = caller.send(loaded.clone());
            }
        }
    }

    fn count(&self, loaded: &Loaded) {
        let from = match loaded {
            Ok(Some((_, level))) => level.as_str(),
            Ok(None) => "none",
            Err(Unavailable) => "silence",
        };
        self.metrics.loads.get_or_create(&LoadedFrom { from }).inc();
    }

    /// Finds a group in Redis, and the rest of it in the database.
    async fn find(
        &self,
        group: &[Miss],
        connection: &mut Option<PoolConnection<Postgres>>,
    ) -> Result<HashMap<OrderUid, Found>, sqlx::Error> {
        let mut found = self.find_in_redis(group).await;
        let missing = group.iter().map(|miss| &miss.uid).filter(|uid| !found.contains_key(*uid));
        let missing: Vec<&str> = missing.map(OrderUid::as_str).collect();
        if missing.is_empty() {
            return Ok(found);
        }
        // Taken before the query: the answer confirms nothing that was stored after this moment.
        let asked_at = Instant::now();
        let mut asked = match connection.take() {
            Some(connection) => connection,
            None => self.pool.acquire().await?,
        };
        // After an error the connection goes back to the pool, which checks it.
        let views = queries::find_orders(&mut asked, &missing).await?;
        *connection = Some(asked);
        *self.confirm_at() = None;
        if let Some(redis) = &self.redis {
            redis.put(views.clone(), asked_at);
        }
        for view in views {
            // If an event has evicted this version meanwhile, it is served once and not cached.
            let cached = self.cache.put_confirmed(&view, asked_at);
            let cached = cached.unwrap_or_else(|| self.cache.uncached(&view, asked_at));
            found.insert(view.order_uid, (cached, AnsweredBy::Database));
        }
        for Miss { uid, .. } in group {
            if !found.contains_key(uid) {
                self.cache.put_absent(uid);
            }
        }
        Ok(found)
    }

    async fn find_in_redis(&self, group: &[Miss]) -> HashMap<OrderUid, Found> {
        let mut found = HashMap::with_capacity(group.len());
        let Some(redis) = &self.redis else { return found };
        let asked = group.iter().filter(|miss| miss.ask == Ask::RedisFirst);
        let views = join_all(asked.map(|miss| redis.get(&miss.uid))).await;
        for (view, confirmed_at) in views.into_iter().flatten() {
            if let Some(cached) = self.cache.put_confirmed(&view, confirmed_at) {
                found.insert(view.order_uid, (cached, AnsweredBy::Redis));
            }
        }
        found
    }

    // No code panics while it holds one of these locks in an inconsistent state.
    fn pending(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn confirm_at(&self) -> MutexGuard<'_, Option<Instant>> {
        self.confirm_at.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
