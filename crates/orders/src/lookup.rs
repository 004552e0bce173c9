//! Finding an order: memory, then Redis, then PostgreSQL. One question at a time for one order,
//! however many ask.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use events::OrderUid;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};
use sqlx::PgPool;
use tokio::sync::{Notify, watch};

use crate::{
    cache::{Cache, Cached, Known},
    redis_level::RedisLevel,
    store::Committed,
    views::{self, View},
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
pub(crate) type Found = (Arc<Cached>, Source);
type Loaded = Result<Option<Found>, Unavailable>;
/// A question that is on its way, and what will have come of it.
type Flight = watch::Receiver<Option<Loaded>>;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LoadedFrom {
    from: &'static str,
}

/// The levels, in the order in which they are asked.
pub(crate) struct Lookup {
    cache: Cache,
    redis: Option<Arc<RedisLevel>>,
    pool: PgPool,
    max_age: Duration,
    /// Set while the database is silent: when to ask it again about what is cached.
    ask_again_at: Mutex<Option<Instant>>,
    flights: Mutex<HashMap<OrderUid, Flight>>,
    arrivals: Mutex<HashMap<OrderUid, Arc<Notify>>>,
    loads: Family<LoadedFrom, Counter>,
}

impl Lookup {
    pub(crate) fn new(
        cache: Cache,
        redis: Option<Arc<RedisLevel>>,
        pool: PgPool,
        max_age: Duration,
        registry: &mut Registry,
    ) -> Arc<Self> {
        let loads = Family::default();
        registry.register(
            "waybill_cache_loads",
            "Orders that memory did not hold, or not fresh, by what told of them",
            loads.clone(),
        );
        let (ask_again_at, flights, arrivals) =
            (Mutex::default(), Mutex::default(), Mutex::default());
        Arc::new(Self { cache, redis, pool, max_age, ask_again_at, flights, arrivals, loads })
    }

    pub(crate) fn cache(&self) -> &Cache {
        &self.cache
    }

    /// The order as it is committed here now. A hit that the database has not confirmed for
    /// `max_age` is asked about again, and served all the same when the database is silent.
    pub(crate) async fn find(self: &Arc<Self>, uid: &OrderUid) -> Loaded {
        match self.cache.get(uid) {
            Known::Value(cached) if cached.confirmed_at.elapsed() < self.max_age => {
                Ok(Some((cached, Source::Memory)))
            }
            Known::Value(stale) => Ok(self.confirm(uid, stale).await),
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
                Known::Value(_) => self.find(uid).await,
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

    /// Takes in what was committed, and wakes those who wait for it.
    pub(crate) fn admit(self: &Arc<Self>, committed: &Committed) {
        for view in committed.views() {
            self.cache.put(view.clone());
            self.arrived(&view.order_uid);
        }
        if let Some(redis) = &self.redis {
            redis.put(committed.views().to_vec(), Instant::now());
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
    async fn confirm(self: &Arc<Self>, uid: &OrderUid, stale: Arc<Cached>) -> Option<Found> {
        let was_silent = {
            let mut ask_again_at = self.ask_again_at();
            let now = Instant::now();
            if ask_again_at.is_some_and(|at| now < at) {
                return Some((stale, Source::Memory));
            }
            ask_again_at.as_mut().map(|at| *at = now + ASK_AGAIN).is_some()
        };
        let flight = self.board(uid, Ask::DatabaseOnly);
        if was_silent {
            return Some((stale, Source::Memory));
        }
        match tokio::time::timeout(PATIENCE, landed(flight)).await {
            Ok(Ok(found)) => found,
            Ok(Err(Unavailable)) => Some((stale, Source::Memory)),
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
        landed(self.board(uid, ask)).await
    }

    /// Joins the flight for this order, or starts it. The flight is a task of its own: a client
    /// that goes away does not end it for the others.
    fn board(self: &Arc<Self>, uid: &OrderUid, ask: Ask) -> Flight {
        let mut flights = self.flights.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(flight) = flights.get(uid) {
            return flight.clone();
        }
        let (sender, receiver) = watch::channel(None);
        flights.insert(uid.clone(), receiver.clone());
        let (itself, uid) = (self.clone(), uid.clone());
        tokio::spawn(async move {
            let loaded = itself.fly(&uid, ask).await;
            itself.count(&loaded);
            itself.flights.lock().unwrap_or_else(PoisonError::into_inner).remove(&uid);
            sender.send_replace(Some(loaded));
        });
        receiver
    }

    fn count(&self, loaded: &Loaded) {
        let from = match loaded {
            Ok(Some((_, source))) => source.as_str(),
            Ok(None) => "none",
            Err(Unavailable) => "silence",
        };
        self.loads.get_or_create(&LoadedFrom { from }).inc();
    }

    async fn fly(&self, uid: &OrderUid, ask: Ask) -> Loaded {
        if let (Ask::RedisFirst, Some(redis)) = (ask, &self.redis)
            && let Some((view, confirmed_at)) = redis.get(uid).await
            && self.cache.put_confirmed(view.clone(), confirmed_at)
        {
            return Ok(Some((self.served(view), Source::Redis)));
        }
        let asked_at = Instant::now();
        let answer = views::find(&self.pool, uid).await;
        if answer.is_ok() {
            *self.ask_again_at() = None;
        }
        match answer {
            Ok(Some(view)) => {
                self.cache.put_confirmed(view.clone(), asked_at);
                if let Some(redis) = &self.redis {
                    redis.put(vec![view.clone()], asked_at);
                }
                Ok(Some((self.served(view), Source::Database)))
            }
            Ok(None) => {
                self.cache.put_absent(uid);
                Ok(None)
            }
            Err(error) => {
                tracing::warn!("finding an order: {error}");
                self.note_silence();
                Err(Unavailable)
            }
        }
    }

    /// What the cache now serves: this view, or a newer one that came meanwhile.
    fn served(&self, view: View) -> Arc<Cached> {
        match self.cache.get(&view.order_uid) {
            Known::Value(cached) => cached,
            Known::Absent | Known::Nothing => {
                Arc::new(Cached { view, confirmed_at: Instant::now() })
            }
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Ask {
    RedisFirst,
    DatabaseOnly,
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

async fn landed(mut flight: Flight) -> Loaded {
    match flight.wait_for(Option::is_some).await {
        Ok(loaded) => loaded.clone().unwrap_or(Err(Unavailable)),
        Err(_) => Err(Unavailable),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A lookup whose database is at no address.
    fn without_database() -> Arc<Lookup> {
        let pool = PgPool::connect_lazy("postgres://nobody@127.0.0.1:1/nothing").unwrap();
        let cache = Cache::new(1 << 20, &mut Registry::default());
        Lookup::new(cache, None, pool, Duration::from_secs(300), &mut Registry::default())
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
