//! Finding an order: memory, then Redis, then PostgreSQL. One question at a time for one order,
//! however many ask.
//!
//! ```text
//! miss ─┐
//! miss ─┼─▶ queue ─▶ a crew takes all of it ─▶ one statement ─▶ memory ─▶ everybody who waits
//! miss ─┘
//! ```
//!
//! While no crew is free, misses gather; so a statement asks for one order when little is missed,
//! and for many when much is.

pub(crate) mod live_feed;
pub(crate) mod memory;
pub(crate) mod queries;
pub(crate) mod redis;
pub(crate) mod warm_up;

use std::{
    collections::HashMap,
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex, PoisonError},
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
use tokio::sync::{Notify, oneshot};

use crate::lookup::{
    memory::{Cache, Cached, Known},
    queries::View,
    redis::RedisLevel,
};

/// So long the database may take to confirm what is cached; then it counts as silent.
const PATIENCE: Duration = Duration::from_secs(1);
/// While the database is silent, it is asked so often about what is cached.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// Where an answer came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    Memory,
    Redis,
    Database,
}

impl Source {
    /// The word in `X-Cache`.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Redis => "redis",
            Self::Database => "db",
        }
    }
}

/// Neither cached nor to be had from the database.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the order is not cached and the database does not answer")]
pub(crate) struct Unavailable;

/// An order and where it came from.
pub(crate) type Found = (Cached, Source);
type Loaded = Result<Option<Found>, Unavailable>;

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

/// How many statements may be on their way at once. Each holds a connection while there is anything
/// to ask for, so misses leave the other connections to the rest of the service.
const CREWS: usize = 2;
/// The most orders of one statement.
const GROUP: usize = 64;

/// The levels, in the order in which they are asked.
pub(crate) struct Lookup {
    cache: Cache,
    redis: Option<Arc<RedisLevel>>,
    pool: PgPool,
    /// Set while the database is silent: when to ask it again about what is cached.
    ask_again_at: Mutex<Option<Instant>>,
    misses: Mutex<Misses>,
    arrivals: Mutex<HashMap<OrderUid, Arc<Notify>>>,
    metrics: LoadMetrics,
}

#[derive(Default)]
struct Misses {
    /// Who waits for which order.
    waiting: HashMap<OrderUid, Vec<oneshot::Sender<Loaded>>>,
    /// The orders that no crew has taken yet.
    queue: Vec<Miss>,
    /// Crews at work.
    crews: usize,
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

impl Lookup {
    pub(crate) fn new(
        cache: Cache,
        redis: Option<Arc<RedisLevel>>,
        pool: PgPool,
        registry: &mut Registry,
    ) -> Arc<Self> {
        let metrics = LoadMetrics::register(registry);
        let (ask_again_at, misses, arrivals) =
            (Mutex::default(), Mutex::default(), Mutex::default());
        Arc::new(Self { cache, redis, pool, ask_again_at, misses, arrivals, metrics })
    }

    pub(crate) fn cache(&self) -> &Cache {
        &self.cache
    }

    /// The order as it is committed here now. A hit that the database has not confirmed for too long
    /// is asked about again, and served all the same when the database is silent.
    pub(crate) async fn find(self: &Arc<Self>, uid: &OrderUid) -> Loaded {
        match self.cache.get(uid) {
            Known::Fresh(cached) => Ok(Some((cached, Source::Memory))),
            Known::Stale(cached) => Ok(self.confirm(uid, cached).await),
            Known::Absent => Ok(None),
            Known::Nothing => self.load(uid, Ask::RedisFirst).await,
        }
    }

    /// As [`find`](Self::find), but waits up to `patience` for an order that is on its way.
    pub(crate) async fn wait(self: &Arc<Self>, uid: &OrderUid, patience: Duration) -> Loaded {
        let deadline = Instant::now() + patience;
        let waiting = Waiting::for_order(self, uid);
        loop {
            let mut arrived = std::pin::pin!(waiting.arrival.notified());
            arrived.as_mut().enable();
            // Absence that was noted before is no answer to somebody who waits.
            let found = match self.cache.get(uid) {
                Known::Fresh(_) | Known::Stale(_) => self.find(uid).await,
                Known::Absent | Known::Nothing => self.load(uid, Ask::RedisFirst).await,
            };
            let left = deadline.saturating_duration_since(Instant::now());
            if matches!(found, Ok(Some(_))) || left.is_zero() {
                return found;
            }
            // Another replica may store it, and its event may be late: look again now and then.
            let _ = tokio::time::timeout(left.min(Duration::from_secs(1)), arrived).await;
        }
    }

    /// Takes in what was committed just now, and wakes those who wait for it.
    pub(crate) fn admit(&self, views: Vec<View>) {
        let now = Instant::now();
        for view in &views {
            self.cache.put_confirmed(view, now);
            self.arrived(&view.order_uid);
        }
        if let Some(redis) = &self.redis {
            redis.put(views, now);
        }
    }

    /// An event told that `version` of an order is committed, here or in another replica.
    pub(crate) fn heard_of(&self, uid: &OrderUid, version: i32) {
        self.cache.evict_below(uid, version);
        self.arrived(uid);
    }

    fn arrived(&self, uid: &OrderUid) {
        if let Some(waiting) = self.arrivals().get(uid) {
            waiting.notify_waiters();
        }
    }

    fn arrivals(&self) -> std::sync::MutexGuard<'_, HashMap<OrderUid, Arc<Notify>>> {
        self.arrivals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the database says of an order that is cached; while it is silent, what is cached. Only
    /// who meets the silence first waits: until the database answers again it is asked beside the
    /// answers, once a second.
    async fn confirm(self: &Arc<Self>, uid: &OrderUid, stale: Cached) -> Option<Found> {
        let was_silent = {
            let mut ask_again_at = self.ask_again_at();
            let now = Instant::now();
            if ask_again_at.is_some_and(|at| now < at) {
                return Some((stale, Source::Memory));
            }
            ask_again_at.as_mut().map(|at| *at = now + ASK_AGAIN).is_some()
        };
        let answer = self.ask_for(uid, Ask::DatabaseOnly);
        if was_silent {
            return Some((stale, Source::Memory));
        }
        match tokio::time::timeout(PATIENCE, answer).await {
            Ok(Ok(Ok(found))) => found,
            Ok(Ok(Err(Unavailable)) | Err(_)) => Some((stale, Source::Memory)),
            Err(_) => {
                self.note_silence();
                Some((stale, Source::Memory))
            }
        }
    }

    fn note_silence(&self) {
        *self.ask_again_at() = Some(Instant::now() + ASK_AGAIN);
    }

    fn ask_again_at(&self) -> std::sync::MutexGuard<'_, Option<Instant>> {
        self.ask_again_at.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn load(self: &Arc<Self>, uid: &OrderUid, ask: Ask) -> Loaded {
        self.ask_for(uid, ask).await.unwrap_or(Err(Unavailable))
    }

    /// Joins those who wait for this order, or is the first of them. A crew is a task of its own: a
    /// client that goes away does not stop it for the others.
    fn ask_for(self: &Arc<Self>, uid: &OrderUid, ask: Ask) -> oneshot::Receiver<Loaded> {
        let (sender, loaded) = oneshot::channel();
        let another_crew = {
            let mut misses = self.misses();
            let waiting = misses.waiting.entry(uid.clone()).or_default();
            waiting.push(sender);
            if waiting.len() == 1 {
                misses.queue.push(Miss { uid: uid.clone(), ask });
            }
            let another = !misses.queue.is_empty() && misses.crews < CREWS;
            misses.crews += usize::from(another);
            another
        };
        if another_crew {
            tokio::spawn(self.clone().work());
        }
        loaded
    }

    fn count(&self, loaded: &Loaded) {
        let from = match loaded {
            Ok(Some((_, source))) => source.as_str(),
            Ok(None) => "none",
            Err(Unavailable) => "silence",
        };
        self.metrics.loads.get_or_create(&LoadedFrom { from }).inc();
    }

    /// A crew: takes what has gathered, again and again, until nothing is left.
    async fn work(self: Arc<Self>) {
        let mut connection = None;
        while let Some(group) = self.next_group() {
            // Whatever happens, nobody is left to wait, and the next group has its crew.
            let asked = AssertUnwindSafe(self.ask(&group, &mut connection)).catch_unwind().await;
            match asked.unwrap_or(Err(sqlx::Error::WorkerCrashed)) {
                // The others of its group shall not suffer from an order that cannot be read.
                Err(sqlx::Error::ColumnDecode { .. }) if group.len() > 1 => {
                    for alone in group.chunks(1) {
                        self.answer(alone, self.ask(alone, &mut connection).await);
                    }
                }
                found => self.answer(&group, found),
            }
        }
    }

    /// What a crew takes next; without anything the crew is at its end.
    fn next_group(&self) -> Option<Vec<Miss>> {
        let mut misses = self.misses();
        if misses.queue.is_empty() {
            misses.crews -= 1;
            return None;
        }
        let taken = misses.queue.len().min(GROUP);
        Some(misses.queue.drain(..taken).collect())
    }

    fn misses(&self) -> std::sync::MutexGuard<'_, Misses> {
        self.misses.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answer(&self, group: &[Miss], found: Result<HashMap<OrderUid, Found>, sqlx::Error>) {
        let found = found.map_err(|error| {
            tracing::warn!("finding orders: {error}");
            self.note_silence();
            Unavailable
        });
        let mut misses = self.misses();
        for Miss { uid, .. } in group {
            let loaded = found.as_ref().map(|found| found.get(uid).cloned()).map_err(|why| *why);
            self.count(&loaded);
            for waiting in misses.waiting.remove(uid).into_iter().flatten() {
                // Who does not listen any more has gone away.
                let _ = waiting.send(loaded.clone());
            }
        }
    }

    /// Finds a group in Redis, and what is not there in the database.
    async fn ask(
        &self,
        group: &[Miss],
        connection: &mut Option<PoolConnection<Postgres>>,
    ) -> Result<HashMap<OrderUid, Found>, sqlx::Error> {
        let mut found = HashMap::with_capacity(group.len());
        if let Some(redis) = &self.redis {
            let asked = group.iter().filter(|miss| miss.ask == Ask::RedisFirst);
            let views = join_all(asked.map(|miss| redis.get(&miss.uid))).await;
            for (view, confirmed_at) in views.into_iter().flatten() {
                if let Some(cached) = self.cache.put_confirmed(&view, confirmed_at) {
                    found.insert(view.order_uid, (cached, Source::Redis));
                }
            }
        }
        let missing = group.iter().map(|miss| &miss.uid).filter(|uid| !found.contains_key(*uid));
        let missing: Vec<&str> = missing.map(OrderUid::as_str).collect();
        if missing.is_empty() {
            return Ok(found);
        }
        let asked_at = Instant::now();
        let views = self.ask_database(&missing, connection).await?;
        *self.ask_again_at() = None;
        if let Some(redis) = &self.redis {
            redis.put(views.clone(), asked_at);
        }
        for view in views {
            // An event may have told of a newer version meanwhile: then this one is served once.
            let cached = self.cache.put_confirmed(&view, asked_at);
            let cached = cached.unwrap_or_else(|| self.cache.uncached(&view, asked_at));
            found.insert(view.order_uid, (cached, Source::Database));
        }
        for Miss { uid, .. } in group {
            if !found.contains_key(uid) {
                self.cache.put_absent(uid);
            }
        }
        Ok(found)
    }

    async fn ask_database(
        &self,
        uids: &[&str],
        connection: &mut Option<PoolConnection<Postgres>>,
    ) -> Result<Vec<View>, sqlx::Error> {
        let mut asked = match connection.take() {
            Some(connection) => connection,
            None => self.pool.acquire().await?,
        };
        // After a failure it is left to the pool, which looks whether it is still good.
        let views = queries::find_orders(&mut asked, uids).await?;
        *connection = Some(asked);
        Ok(views)
    }
}
/// Somebody who waits for an order. However that ends, also by the client's going away, the last
/// who waited leaves nothing behind.
struct Waiting<'a> {
    lookup: &'a Lookup,
    uid: &'a OrderUid,
    arrival: Arc<Notify>,
}

impl<'a> Waiting<'a> {
    fn for_order(lookup: &'a Lookup, uid: &'a OrderUid) -> Self {
        let arrival = lookup.arrivals().entry(uid.clone()).or_default().clone();
        Self { lookup, uid, arrival }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut arrivals = self.lookup.arrivals();
        // The map and this one hold one each: nobody else waits.
        if Arc::strong_count(&self.arrival) <= 2 {
            arrivals.remove(self.uid);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A lookup whose database is at no address.
    fn without_database() -> Arc<Lookup> {
        let pool = PgPool::connect_lazy("postgres://nobody@127.0.0.1:1/nothing").unwrap();
        let cache = Cache::new(1 << 20, Duration::from_secs(300), &mut Registry::default());
        Lookup::new(cache, None, pool, &mut Registry::default())
    }

    #[tokio::test]
    async fn a_client_that_waits_and_goes_away_leaves_nothing_behind() {
        let lookup = without_database();
        let uid: OrderUid = "soon".parse().unwrap();
        let wait = |patience| lookup.wait(&uid, Duration::from_secs(patience));
        {
            let mut first = std::pin::pin!(wait(30));
            let impatient = Duration::from_millis(10);
            assert!(tokio::time::timeout(impatient, first.as_mut()).await.is_err());
            assert!(tokio::time::timeout(impatient, wait(30)).await.is_err());
            assert_eq!(lookup.arrivals().len(), 1, "the first still waits");
        }
        assert_eq!(lookup.arrivals().len(), 0);
    }
}
