//! The queue of misses: the orders that memory does not hold, or holds only stale, while they are
//! loaded from Redis or PostgreSQL.
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
//! A miss starts a worker unless [`MAX_WORKERS`] are running; a worker ends when the queue is
//! empty. While all workers are busy the queue grows, so a statement asks for one order if there
//! are few misses, and for up to [`MAX_GROUP`] if there are many. A worker is a task of its own: a
//! client that disconnects does not stop it for the others. After an error the callers of the group
//! get [`Unavailable`]; nothing is retried here, because the next request is a new miss. Only an
//! order that cannot be decoded is separated from the others: each order of its group is then
//! queried alone.
//!
//! If the database does not answer, a query ends after [`BY_KEY`], and so does the wait of each
//! caller, which begins earlier: in the queue. A worker skips the orders whose callers have all
//! left, so the queue does not grow with the length of an outage. Only a probe, which finds out
//! whether the database answers again, needs no caller. A miss that finds [`MAX_QUEUED`] others in
//! the queue is refused at once, so a flood of ids costs the others little.

use std::{
    collections::HashMap,
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use chassis::postgres::{errors::is_all_in_use, read::Reader, time_limit::BY_KEY};
use events::OrderUid;
use futures_util::{FutureExt as _, future::join_all};
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};
use sqlx::PgPool;
use tokio::sync::oneshot;

use crate::lookup::{
    AnsweredBy, Found, Loaded, Unavailable, cached::Cached, confirmation::Confirmation,
    memory::Cache, queries, redis::RedisLevel,
};

/// Each worker holds a connection while it has misses, so this leaves the other connections to other
/// requests. A pool with fewer connections has fewer workers: one that finds all of them in use
/// would answer its callers with an error.
const MAX_WORKERS: usize = 2;
/// The limit on the orders of one statement.
const MAX_GROUP: usize = 64;
/// The limit on the queue: more orders than the database usually finds in a tenth of a second.
const MAX_QUEUED: usize = 4_096;
/// The longest wait for the database to confirm a stale order; after it, the database counts as
/// unavailable.
const CONFIRM_TIMEOUT: Duration = Duration::from_secs(1);
/// While the database is unavailable, the interval of the queries that confirm stale orders.
const CONFIRM_INTERVAL: Duration = Duration::from_secs(1);

pub(super) struct Misses {
    cache: Arc<Cache>,
    redis: Option<Arc<RedisLevel>>,
    pool: PgPool,
    pending: Mutex<Pending>,
    /// The time of the next query that confirms a stale order, while the database is unavailable;
    /// otherwise `None`.
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
    /// The database only, even if no caller waits: to find out whether it answers again.
    Probe,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LoadedFrom {
    from: &'static str,
}

chassis::metrics! {
    struct LoadMetrics {
        /// Orders that memory did not hold, or held only stale, by the source that answered
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

    fn max_workers(&self) -> usize {
        MAX_WORKERS.min(self.pool.options().get_max_connections() as usize)
    }

    /// Loads an order that memory does not hold.
    pub(super) async fn load(self: &Arc<Self>, uid: &OrderUid) -> Loaded {
        let loaded = self.push(uid, Ask::RedisFirst)?;
        let answer = tokio::time::timeout(BY_KEY.total, loaded).await;
        answer.ok().and_then(Result::ok).unwrap_or(Err(Unavailable::NoAnswer))
    }

    /// Queues a miss, unless the order is already queued or loading. Fails if the queue is full.
    fn push(
        self: &Arc<Self>,
        uid: &OrderUid,
        ask: Ask,
    ) -> Result<oneshot::Receiver<Loaded>, Unavailable> {
        let (sender, loaded) = oneshot::channel();
        let needs_worker = {
            let mut pending = self.pending();
            // The order may have been loaded since this caller looked for it: it enters memory before
            // it leaves `waiting`.
            if ask == Ask::RedisFirst
                && !pending.waiting.contains_key(uid)
                && let Some(cached) = self.cache.peek_fresh(uid)
            {
                // The receiver is still here.
                let _ = sender.send(Ok(Some((cached, AnsweredBy::Memory))));
                return Ok(loaded);
            }
            // A caller of an order that is already queued costs no query.
            if pending.queue.len() >= MAX_QUEUED && !pending.waiting.contains_key(uid) {
                drop(pending);
                self.count(&Err(Unavailable::TooMany));
                return Err(Unavailable::TooMany);
            }
            let callers = pending.waiting.entry(uid.clone()).or_default();
            callers.push(sender);
            // Only the first caller queues the order; the others share its query and its answer.
            if callers.len() == 1 {
                pending.queue.push(Miss { uid: uid.clone(), ask });
            }
            // Counted under the lock under which a worker sees the queue empty and ends, so a
            // queued miss always has a worker.
            let needs_worker = !pending.queue.is_empty() && pending.workers < self.max_workers();
            pending.workers += usize::from(needs_worker);
            needs_worker
        };
        if needs_worker {
            // Not awaited: this caller may disconnect, and the worker also answers other callers.
            tokio::spawn(self.clone().work());
        }
        Ok(loaded)
    }

    /// Confirms a stale order in the database, or returns it as it is if the database does not
    /// answer within [`CONFIRM_TIMEOUT`]. While the database is known to be unavailable, it returns
    /// the stale order at once, and only one query per [`CONFIRM_INTERVAL`] is sent.
    pub(super) async fn confirm(self: &Arc<Self>, uid: &OrderUid, stale: Cached) -> Option<Found> {
        let stale = Some((stale, AnsweredBy::Memory));
        let is_unavailable = {
            // Checked and set under one lock: of the clients that come after the interval, only the
            // first finds it over and sends a query.
            let mut confirm_at = self.confirm_at();
            let now = Instant::now();
            if confirm_at.is_some_and(|at| now < at) {
                return stale;
            }
            confirm_at.as_mut().map(|at| *at = now + CONFIRM_INTERVAL).is_some()
        };
        let ask = if is_unavailable { Ask::Probe } else { Ask::DatabaseOnly };
        let Ok(answer) = self.push(uid, ask) else { return stale };
        if is_unavailable {
            // The query goes on without this client. If the database answers, `find` clears
            // `confirm_at`, and the next stale hit waits for the database again.
            return stale;
        }
        match tokio::time::timeout(CONFIRM_TIMEOUT, answer).await {
            Ok(Ok(Ok(found))) => found,
            Ok(Ok(Err(_)) | Err(_)) => stale,
            Err(_) => {
                self.note_unavailable();
                stale
            }
        }
    }

    fn note_unavailable(&self) {
        *self.confirm_at() = Some(Instant::now() + CONFIRM_INTERVAL);
    }

    /// Runs a worker: answers groups of misses until none is left.
    async fn work(self: Arc<Self>) {
        // The worker keeps one connection while it has misses.
        let mut database = Reader::new(&self.pool, BY_KEY);
        while let Some(group) = self.next_group() {
            let group = self.answer_from_redis(group).await;
            if group.is_empty() {
                continue;
            }
            match self.try_find(&group, &mut database).await {
                // One order must not fail the others of its group, so each is queried alone.
                Err(error) if is_fault_of_an_order(&error) && group.len() > 1 => {
                    for alone in group.chunks(1) {
                        self.answer(alone, self.try_find(alone, &mut database).await);
                    }
                }
                found => self.answer(&group, found),
            }
        }
    }

    /// Finds a group like [`find`](Self::find). A panic becomes an error: every caller is answered,
    /// the orders leave `waiting`, and the worker continues, so its place in `workers` is not lost.
    async fn try_find(
        &self,
        group: &[Miss],
        database: &mut Reader<'_>,
    ) -> Result<HashMap<OrderUid, Found>, sqlx::Error> {
        let found = AssertUnwindSafe(self.find(group, database)).catch_unwind().await;
        found.unwrap_or(Err(sqlx::Error::WorkerCrashed))
    }

    /// Takes the next group, or ends the worker.
    fn next_group(&self) -> Option<Vec<Miss>> {
        let mut pending = self.pending();
        let Pending { waiting, queue, workers } = &mut *pending;
        loop {
            // One lock for both: a miss that is queued after this finds the lower count and starts
            // a worker.
            if queue.is_empty() {
                *workers -= 1;
                return None;
            }
            let taken = queue.len().min(MAX_GROUP);
            let mut group: Vec<Miss> = queue.drain(..taken).collect();
            group.retain(|miss| {
                let is_wanted = miss.ask == Ask::Probe
                    || waiting
                        .get(&miss.uid)
                        .is_some_and(|callers| callers.iter().any(|caller| !caller.is_closed()));
                if !is_wanted {
                    // Idle again, under the same lock: the next miss queues the order.
                    waiting.remove(&miss.uid);
                }
                is_wanted
            });
            if !group.is_empty() {
                return Some(group);
            }
        }
    }

    fn answer(&self, group: &[Miss], found: Result<HashMap<OrderUid, Found>, sqlx::Error>) {
        let found = found.map_err(|error| {
            if is_all_in_use(&error) {
                return Unavailable::TooMany;
            }
            tracing::warn!("querying orders that are not cached: {error}");
            // The database has answered: other stale orders can still be confirmed.
            if !is_fault_of_an_order(&error) {
                self.note_unavailable();
            }
            Unavailable::NoAnswer
        });
        // Memory already holds the orders that were found. A request that comes after the order has
        // left `waiting` finds it in memory, or starts a new miss.
        let mut pending = self.pending();
        for Miss { uid, .. } in group {
            let loaded = found.as_ref().map(|found| found.get(uid).cloned()).map_err(|why| *why);
            self.count(&loaded);
            for caller in pending.waiting.remove(uid).into_iter().flatten() {
                // Sending fails if the client has disconnected, which is normal.
                let _ = caller.send(loaded.clone());
            }
        }
    }

    fn count(&self, loaded: &Loaded) {
        let from = match loaded {
            Ok(Some((_, level))) => level.as_str(),
            Ok(None) => "none",
            Err(Unavailable::NoAnswer) => "unavailable",
            Err(Unavailable::TooMany) => "refused",
        };
        self.metrics.loads.get_or_create(&LoadedFrom { from }).inc();
    }

    /// Answers the misses of a group that Redis has, and returns the others. These callers need not
    /// wait for the database, which may be unavailable.
    async fn answer_from_redis(&self, group: Vec<Miss>) -> Vec<Miss> {
        let found = AssertUnwindSafe(self.find_in_redis(&group)).catch_unwind().await;
        let Ok(found) = found else { return group };
        let (hits, others): (Vec<_>, Vec<_>) =
            group.into_iter().partition(|miss| found.contains_key(&miss.uid));
        if !hits.is_empty() {
            self.answer(&hits, Ok(found));
        }
        others
    }

    /// Finds a group in the database.
    async fn find(
        &self,
        group: &[Miss],
        database: &mut Reader<'_>,
    ) -> Result<HashMap<OrderUid, Found>, sqlx::Error> {
        let mut found = HashMap::with_capacity(group.len());
        let missing: Vec<&str> = group.iter().map(|miss| miss.uid.as_str()).collect();
        let sent = Instant::now();
        let mut views = database
            .read(async |connection| queries::find_orders(connection, &missing).await)
            .await?;
        let confirmation = Confirmation::sent_at(sent);
        // The database has answered, so stale hits wait for it again.
        *self.confirm_at() = None;
        // If an event has announced a higher version meanwhile, a view is served once, because it was
        // current when the database was queried, and is not cached. Not in Redis either, which may
        // have lost the announced version.
        views.retain(|view| {
            let cached = self.cache.put(view, confirmation);
            let is_current = cached.is_some();
            let cached = cached.unwrap_or_else(|| self.cache.uncached(view, confirmation));
            found.insert(view.order_uid.clone(), (cached, AnsweredBy::Database));
            is_current
        });
        // An order that is still missing is not stored. Redis alone never proves that.
        let absent = group.iter().filter(|miss| !found.contains_key(&miss.uid));
        for Miss { uid, .. } in absent.clone() {
            self.cache.put_absent(uid, confirmation);
        }
        if let Some(redis) = &self.redis {
            redis.put(views, confirmation);
            // Redis was not asked for a stale order, and may still have it.
            let absent = absent.filter(|miss| miss.ask != Ask::RedisFirst);
            redis.put_absent(absent.map(|miss| miss.uid.clone()).collect(), confirmation);
        }
        Ok(found)
    }

    async fn find_in_redis(&self, group: &[Miss]) -> HashMap<OrderUid, Found> {
        let mut found = HashMap::with_capacity(group.len());
        let Some(redis) = &self.redis else { return found };
        let asked = group.iter().filter(|miss| miss.ask == Ask::RedisFirst);
        let views = join_all(asked.map(|miss| redis.get(&miss.uid))).await;
        for (view, sent) in views.into_iter().flatten() {
            // `None` if the version is below the minimum in memory: Redis is behind, and the
            // database is asked instead.
            if let Some(cached) = self.cache.put_from_redis(&view, sent) {
                found.insert(view.order_uid, (cached, AnsweredBy::Redis));
            }
        }
        found
    }

    // No code that holds one of these locks can panic halfway through a change, so a poisoned lock
    // is used.
    fn pending(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn confirm_at(&self) -> MutexGuard<'_, Option<Instant>> {
        self.confirm_at.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// True if the row of an order cannot be decoded or makes the code panic: the database itself
/// answers, and other orders can be read.
fn is_fault_of_an_order(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::ColumnDecode { .. } | sqlx::Error::WorkerCrashed)
}
