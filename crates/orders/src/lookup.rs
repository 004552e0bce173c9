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

use std::{
    collections::HashMap,
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use events::OrderUid;
use futures_util::{FutureExt as _, future::join_all};
use sqlx::{PgPool, Postgres, pool::PoolConnection};
use tokio::sync::{Notify, oneshot};

use crate::{
    cache::{Cache, Cached, Known},
    redis_level::RedisLevel,
    store::Committed,
    views::{self, View},
};

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
    misses: Mutex<Misses>,
    arrivals: Mutex<HashMap<OrderUid, Arc<Notify>>>,
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
    pub(crate) fn new(cache: Cache, redis: Option<RedisLevel>, pool: PgPool) -> Arc<Self> {
        let (misses, arrivals) = (Mutex::default(), Mutex::default());
        Arc::new(Self { cache, redis: redis.map(Arc::new), pool, misses, arrivals })
    }

    pub(crate) fn cache(&self) -> &Cache {
        &self.cache
    }

    /// The order as it is committed here now. A hit that the database has not confirmed for too long
    /// is asked about again, and served all the same when the database is silent.
    pub(crate) async fn find(self: &Arc<Self>, uid: &OrderUid) -> Loaded {
        match self.cache.get(uid) {
            Known::Fresh(cached) => Ok(Some((cached, Source::Memory))),
            Known::Stale(cached) => Ok(match self.load(uid, Ask::DatabaseOnly).await {
                Ok(found) => found,
                Err(Unavailable) => Some((cached, Source::Memory)),
            }),
            Known::Absent => Ok(None),
            Known::Nothing => self.load(uid, Ask::RedisFirst).await,
        }
    }

    /// As [`find`](Self::find), but waits up to `patience` for an order that is on its way.
    pub(crate) async fn wait(self: &Arc<Self>, uid: &OrderUid, patience: Duration) -> Loaded {
        let deadline = Instant::now() + patience;
        let arrival = self.arrivals().entry(uid.clone()).or_default().clone();
        let found = loop {
            let mut arrived = std::pin::pin!(arrival.notified());
            arrived.as_mut().enable();
            // Absence that was noted before is no answer to somebody who waits.
            let found = match self.cache.get(uid) {
                Known::Fresh(_) | Known::Stale(_) => self.find(uid).await,
                Known::Absent | Known::Nothing => self.load(uid, Ask::RedisFirst).await,
            };
            let left = deadline.saturating_duration_since(Instant::now());
            if matches!(found, Ok(Some(_))) || left.is_zero() {
                break found;
            }
            // Another replica may store it, and its event may be late: look again now and then.
            let _ = tokio::time::timeout(left.min(Duration::from_secs(1)), arrived).await;
        };
        let mut arrivals = self.arrivals();
        // The map and this call hold one each: nobody else waits.
        if Arc::strong_count(&arrival) <= 2 {
            arrivals.remove(uid);
        }
        found
    }

    /// Takes in what was committed, and wakes those who wait for it.
    pub(crate) fn admit(self: &Arc<Self>, committed: &Committed) {
        for view in committed.views() {
            self.cache.put(view);
            self.arrived(&view.order_uid);
        }
        if let Some(redis) = self.redis.clone() {
            let views = committed.views().to_vec();
            tokio::spawn(async move {
                for view in views {
                    redis.put(&view).await;
                }
            });
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

    /// Joins those who wait for this order, or is the first of them. A crew is a task of its own: a
    /// client that goes away does not stop it for the others.
    async fn load(self: &Arc<Self>, uid: &OrderUid, ask: Ask) -> Loaded {
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
        loaded.await.unwrap_or(Err(Unavailable))
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
            Unavailable
        });
        let mut misses = self.misses();
        for Miss { uid, .. } in group {
            let loaded = found.as_ref().map(|found| found.get(uid).cloned()).map_err(|why| *why);
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
            for view in views.into_iter().flatten() {
                if let Some(cached) = self.cache.put(&view) {
                    found.insert(view.order_uid, (cached, Source::Redis));
                }
            }
        }
        let missing = group.iter().map(|miss| &miss.uid).filter(|uid| !found.contains_key(*uid));
        let missing: Vec<&str> = missing.map(OrderUid::as_str).collect();
        if missing.is_empty() {
            return Ok(found);
        }
        let views = self.ask_database(&missing, connection).await?;
        if let Some(redis) = &self.redis {
            join_all(views.iter().map(|view| redis.put(view))).await;
        }
        for view in views {
            // An event may have told of a newer version meanwhile: then this one is served once.
            let cached = self.cache.put(&view).unwrap_or_else(|| self.cache.uncached(&view));
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
        let views = views::find(&mut asked, uids).await?;
        *connection = Some(asked);
        Ok(views)
    }
}
