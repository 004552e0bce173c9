//! Finds an order: in memory, then in Redis, then in PostgreSQL.
//!
//! ```text
//! find ─▶ memory ─fresh─▶ answer
//!            ├─stale─▶ confirm in PostgreSQL, or serve as it is if PostgreSQL does not answer
//!            ├─absent─▶ no such order
//!            └─unknown─▶ queue of misses ─▶ Redis ─▶ PostgreSQL ─▶ memory ─▶ answer
//! ```
//!
//! The state of the order in [`memory`] decides what a lookup does:
//!
//! - *fresh*: memory answers, and nothing else is asked.
//! - *stale*: PostgreSQL is asked for the current version. If it does not answer, the stale order
//!   is served, so that cached reads continue while PostgreSQL is down.
//! - *absent*: PostgreSQL said within the last second that there is no such order. That is the
//!   answer, except for a client that waits for the order.
//! - *unknown*: the order joins the queue of [`misses`]. If PostgreSQL does not answer, there is
//!   nothing to serve, and the lookup fails with [`Unavailable`].
//!
//! Each order in memory and in Redis carries its [`confirmation`]: the time at which the database
//! held it. It decides which of two states of an order replaces the other, and when an order is
//! stale.
//!
//! Memory also changes without a lookup: a committed batch adds its orders ([`Lookup::admit`]), an
//! `updated` event of this installation evicts lower versions ([`Lookup::note_update`]), another
//! event with a version makes lower versions stale ([`Lookup::note_version`]), and the warm-up fills
//! it. All but the warm-up also wake the clients that wait for the order. A client that waits repeats its
//! lookup when it is woken, and at least once per [`WAIT_INTERVAL`], until the order is found or
//! its time is over.
//!
//! Nothing here writes to PostgreSQL or Kafka, or knows HTTP.

mod cached;
pub(crate) mod confirmation;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
pub(crate) mod live_feed;
pub(crate) mod memory;
mod misses;
pub(crate) mod queries;
pub(crate) mod redis;
mod redis_connection;
pub(crate) mod warm_up;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use chassis::process::failpoint;
use events::OrderUid;
use prometheus_client::registry::Registry;
use sqlx::PgPool;
use tokio::sync::Notify;

use crate::{
    lookup::{
        cached::Cached,
        confirmation::Confirmation,
        memory::{Cache, Known},
        misses::Misses,
        queries::View,
        redis::RedisLevel,
    },
    order::FIRST_VERSION,
};

/// The interval at which a waiting client looks its order up again, in case the event is late or
/// was missed.
const WAIT_INTERVAL: Duration = Duration::from_secs(1);

/// The shortest time for a lookup of a waiting client, so that the last lookup, which begins when
/// the client's time is over, can still be answered.
const MIN_LOOKUP_TIMEOUT: Duration = Duration::from_millis(250);

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

/// The reason why an order that is not cached cannot be found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unavailable {
    #[error("the order is not cached and the database does not answer")]
    NoAnswer,
    #[error("the order is not cached and too many others are looked up")]
    TooMany,
}

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

    /// Finds an order. A stale hit is confirmed by the database, and served as it is if the
    /// database does not answer.
    pub(crate) async fn find(&self, uid: &OrderUid) -> Loaded {
        match self.cache.get(uid) {
            Known::Fresh(cached) => Ok(Some((cached, AnsweredBy::Memory))),
            Known::Stale(cached) => Ok(self.misses.confirm(uid, cached).await),
            Known::Absent => Ok(None),
            Known::Nothing => self.misses.load(uid).await,
        }
    }

    /// Finds an order like [`find`](Self::find), but waits up to `timeout` if it is not stored yet.
    /// The limit also ends a lookup that the database does not answer.
    pub(crate) async fn wait(&self, uid: &OrderUid, timeout: Duration) -> Loaded {
        let deadline = Instant::now() + timeout;
        let waiter = Waiter::new(self, uid);
        loop {
            // Enabled before the lookup: an order that arrives while it is looked up notifies this
            // client, and the wait below ends at once.
            let mut arrived = std::pin::pin!(waiter.arrival.notified());
            arrived.as_mut().enable();
            let limit = deadline.saturating_duration_since(Instant::now()).max(MIN_LOOKUP_TIMEOUT);
            let found = match self.cache.get(uid) {
                Known::Fresh(cached) => Ok(Some((cached, AnsweredBy::Memory))),
                Known::Stale(cached) => {
                    let confirmed = self.misses.confirm(uid, cached.clone());
                    let confirmed = tokio::time::timeout(limit, confirmed).await;
                    Ok(confirmed.unwrap_or(Some((cached, AnsweredBy::Memory))))
                }
                // A negative entry may be older than the order, so it is no answer for a client
                // that waits: the database is asked.
                Known::Absent | Known::Nothing => {
                    let loaded = tokio::time::timeout(limit, self.misses.load(uid)).await;
                    loaded.unwrap_or(Err(Unavailable::NoAnswer))
                }
            };
            let left = deadline.saturating_duration_since(Instant::now());
            if matches!(found, Ok(Some(_))) || left.is_zero() {
                return found;
            }
            // The lookup is repeated in any case: after a notification, after the interval, and
            // also after an error, because the database may answer again before the deadline.
            let _ = tokio::time::timeout(left.min(WAIT_INTERVAL), arrived).await;
        }
    }

    /// Adds orders that were committed just now, and wakes the clients that wait for them.
    pub(crate) fn admit(&self, views: Vec<View>, confirmation: Confirmation) {
        for view in &views {
            // The cache first: a client that is woken finds the order there.
            self.cache.put(view, confirmation);
            self.notify(&view.order_uid);
        }
        if let Some(redis) = &self.redis {
            // Only queued, so a slow Redis does not delay the batch.
            redis.put(views, confirmation);
        }
    }

    /// Applies an `updated` event of this installation: this replica or another one has committed
    /// `version` of an order.
    pub(crate) fn note_update(&self, uid: &OrderUid, version: i32) {
        if failpoint::is_skipped("guard.evict-on-update") {
            return;
        }
        // Evicted first: a client that is woken must not find the old version again.
        self.cache.evict_below(uid, version);
        if let Some(redis) = &self.redis
            && version > FIRST_VERSION
        {
            redis.put_minimum(uid, version);
        }
        self.notify(uid);
    }

    /// Applies any other event with a version. Its producer may be unknown and the version wrong,
    /// so the order stays in the cache, and its next lookup asks the database for confirmation.
    pub(crate) fn note_version(&self, uid: &OrderUid, version: i32) {
        self.cache.expire_below(uid, version);
        self.notify(uid);
    }

    fn notify(&self, uid: &OrderUid) {
        if let Some(arrival) = self.arrivals().get(uid) {
            arrival.notify_waiters();
        }
    }

    // No code that holds this lock can panic halfway through a change, so a poisoned lock is used.
    fn arrivals(&self) -> MutexGuard<'_, HashMap<OrderUid, Arc<Notify>>> {
        self.arrivals.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A client that waits for an order. The last one to be dropped removes the entry of the order,
/// also if its client disconnects.
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
        // Clones are made and counted only under this lock, so no new client can take the entry
        // between the check and the removal. With two clones left, the map's and this one, no other
        // client waits.
        if Arc::strong_count(&self.arrival) <= 2 {
            arrivals.remove(self.uid);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns a lookup whose database is unreachable.
    fn without_database() -> Arc<Lookup> {
        let pool = PgPool::connect_lazy("postgres://nobody@127.0.0.1:1/nothing").unwrap();
        let cache = Cache::new(1 << 20, Duration::from_secs(300), &mut Registry::default());
        Lookup::new(cache, None, pool, &mut Registry::default())
    }

    #[tokio::test]
    async fn a_waiting_client_that_disconnects_leaves_no_entry() {
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
