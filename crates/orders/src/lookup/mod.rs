//! Finding an order: memory, then Redis, then PostgreSQL.
//!
//! ```text
//! find ─▶ memory ─fresh─▶ answer
//!            ├─stale─▶ confirm in PostgreSQL, or serve as it is when PostgreSQL does not answer
//!            └─missing─▶ queue of misses ─▶ Redis ─▶ PostgreSQL ─▶ memory ─▶ answer
//! ```

mod cached;
pub(crate) mod live_feed;
pub(crate) mod memory;
mod misses;
pub(crate) mod queries;
pub(crate) mod redis;
pub(crate) mod warm_up;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use events::OrderUid;
use prometheus_client::registry::Registry;
use sqlx::PgPool;
use tokio::sync::Notify;

use crate::lookup::{
    cached::Cached,
    memory::{Cache, Known},
    misses::Misses,
    queries::View,
    redis::RedisLevel,
};

/// The interval at which a waiting client's order is looked up, in case its event is late.
const WAIT_INTERVAL: Duration = Duration::from_secs(1);

/// The source of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AnsweredBy {
    Memory,
    Redis,
    Database,
}

impl AnsweredBy {
    /// Returns the value of `X-Cache`.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Redis => "redis",
            Self::Database => "db",
        }
    }
}

#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the order is not cached and the database does not answer")]
pub(crate) struct Unavailable;

pub(crate) type Found = (Cached, AnsweredBy);
type Loaded = Result<Option<Found>, Unavailable>;

/// The levels of the cache, and the database behind them.
pub(crate) struct Lookup {
    cache: Arc<Cache>,
    redis: Option<Arc<RedisLevel>>,
    misses: Arc<Misses>,
    /// The orders that clients wait for.
    arrivals: Mutex<HashMap<OrderUid, Arc<Notify>>>,
}

impl Lookup {
    pub(crate) fn new(
        cache: Cache,
        redis: Option<Arc<RedisLevel>>,
        pool: PgPool,
        registry: &mut Registry,
    ) -> Arc<Self> {
        let cache = Arc::new(cache);
        let misses = Misses::new(cache.clone(), redis.clone(), pool, registry);
        Arc::new(Self { cache, redis, misses, arrivals: Mutex::default() })
    }

    pub(crate) fn cache(&self) -> &Cache {
        &self.cache
    }

    /// Returns the order as it is committed here now. A stale hit is confirmed by the database, and
    /// served as it is when the database does not answer.
    pub(crate) async fn find(&self, uid: &OrderUid) -> Loaded {
        match self.cache.get(uid) {
            Known::Fresh(cached) => Ok(Some((cached, AnsweredBy::Memory))),
            Known::Stale(cached) => Ok(self.misses.confirm(uid, cached).await),
            Known::Absent => Ok(None),
            Known::Nothing => self.misses.load(uid).await,
        }
    }

    /// As [`find`](Self::find), but waits up to `timeout` for an order that is on its way.
    pub(crate) async fn wait(&self, uid: &OrderUid, timeout: Duration) -> Loaded {
        let deadline = Instant::now() + timeout;
        let waiter = Waiter::new(self, uid);
        loop {
            // Enabled before the lookup, so that an arrival during the lookup is not missed.
            let mut arrived = std::pin::pin!(waiter.arrival.notified());
            arrived.as_mut().enable();
            // A negative entry is no answer for a client that waits.
            let found = match self.cache.get(uid) {
                Known::Fresh(_) | Known::Stale(_) => self.find(uid).await,
                Known::Absent | Known::Nothing => self.misses.load(uid).await,
            };
            let left = deadline.saturating_duration_since(Instant::now());
            if matches!(found, Ok(Some(_))) || left.is_zero() {
                return found;
            }
            let _ = tokio::time::timeout(left.min(WAIT_INTERVAL), arrived).await;
        }
    }

    /// Adds orders that were committed just now, and wakes the clients that wait for them.
    pub(crate) fn admit(&self, views: Vec<View>) {
        let now = Instant::now();
        for view in &views {
            self.cache.put_confirmed(view, now);
            self.notify(&view.order_uid);
        }
        if let Some(redis) = &self.redis {
            redis.put(views, now);
        }
    }

    /// Notes an event: `version` of an order is committed, here or in another replica.
    pub(crate) fn note_version(&self, uid: &OrderUid, version: i32) {
        self.cache.evict_below(uid, version);
        self.notify(uid);
    }

    fn notify(&self, uid: &OrderUid) {
        if let Some(arrival) = self.arrivals().get(uid) {
            arrival.notify_waiters();
        }
    }

    fn arrivals(&self) -> MutexGuard<'_, HashMap<OrderUid, Arc<Notify>>> {
        self.arrivals.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A client that waits for an order. The last one removes the entry, also when the client goes away.
struct Waiter<'a> {
    lookup: &'a Lookup,
    uid: &'a OrderUid,
    arrival: Arc<Notify>,
}

impl<'a> Waiter<'a> {
    fn new(lookup: &'a Lookup, uid: &'a OrderUid) -> Self {
        let arrival = lookup.arrivals().entry(uid.clone()).or_default().clone();
        Self { lookup, uid, arrival }
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        let mut arrivals = self.lookup.arrivals();
        // Clones are made only under this lock. With two left, the map's and this one, no other
        // client waits.
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
        let wait = |seconds| lookup.wait(&uid, Duration::from_secs(seconds));
        {
            let mut first = std::pin::pin!(wait(30));
            let a_moment = Duration::from_millis(10);
            assert!(tokio::time::timeout(a_moment, first.as_mut()).await.is_err());
            assert!(tokio::time::timeout(a_moment, wait(30)).await.is_err());
            assert_eq!(lookup.arrivals().len(), 1, "the first still waits");
        }
        assert_eq!(lookup.arrivals().len(), 0);
    }
}
