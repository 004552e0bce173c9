//! The memory level of the cache: orders as ready responses, weighted by the bytes they take.
//!
//! An order is in one of four states:
//!
//! - *unknown*: no entry. Any version may enter.
//! - *value*: a version with its [`Confirmation`] by the database. It is *fresh* for `max_age` from
//!   the time when the query was sent, then *stale*. An answer of the database replaces it if the
//!   query was sent after the value was confirmed, whether the version is higher or lower. If the
//!   two queries overlap, the higher version wins. An answer from before the query of the value
//!   never replaces it. A value from Redis never replaces it.
//! - *minimum version*: an `updated` event of this installation announced a higher version than the
//!   value, or the order had no value. No lower version may enter, so a query, a page of the
//!   warm-up or a value in Redis from before the event cannot bring the old value back. A value of
//!   at least this version ends the state, and so does the end of `max_age`: a row may have been
//!   deleted and its record sent again, and then has a lower version.
//! - *absent*: the database did not find the order. These negative entries are kept apart from the
//!   orders, so that requests for thousands of unknown ids evict no order. They last for
//!   [`ABSENT_FOR`] at most, and are never added while the order has a value that was confirmed
//!   later, or a minimum version. A value or an event ends the state.
//!
//! An event of another producer may name any version, so it never sets a minimum: it only makes a
//! lower version stale, which costs one query. The stale order is still served while the database
//! does not answer.
//!
//! The cache may evict any entry at any time, which makes its order unknown; the next lookup asks
//! the database again. Changes of one order are serialised by a lock on its key; reads take no
//! lock. Nothing here does I/O.

use std::{
    fmt,
    hash::BuildHasher,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use chassis::process::failpoint;
use events::OrderUid;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{counter::Counter, gauge::ConstGauge},
    registry::Registry,
};
use quick_cache::{DefaultHashBuilder, Weighter, sync};

use crate::{
    lookup::{cached::Cached, confirmation::Confirmation, queries::View},
    order::FIRST_VERSION,
};

/// The time for which a negative entry is used.
const ABSENT_FOR: Duration = Duration::from_secs(1);
/// The limit on negative entries: more than the database can answer in [`ABSENT_FOR`].
const MAX_ABSENT: usize = 20_000;
/// An `Arc` allocates two counters before its value.
const ARC_BYTES: usize = 16;
/// The size of an entry in the table, with its share of the index and of the list of recent
/// evictions.
const ENTRY_BYTES: usize = 104;
/// The length up to which an id is stored in the entry itself; a longer one is allocated.
const MAX_INLINE_ID_BYTES: usize = 24;
/// The weight of most orders.
const USUAL_BYTES: u64 = 1_200;

#[derive(Clone)]
enum Entry {
    Value(Cached),
    /// No lower version may enter before `until`, in microseconds after the epoch.
    MinimumVersion {
        version: i32,
        until: u64,
    },
}

/// The state of an order in the cache.
pub(crate) enum Known {
    /// Confirmed within the maximum age.
    Fresh(Cached),
    Stale(Cached),
    Absent,
    /// No value: the order is unknown, or has only a minimum version.
    Nothing,
}

#[derive(Clone)]
struct ByBytes;

impl Weighter<OrderUid, Entry> for ByBytes {
    fn weight(&self, uid: &OrderUid, entry: &Entry) -> u64 {
        let value = match entry {
            Entry::Value(cached) => allocated(ARC_BYTES + cached.bytes()),
            Entry::MinimumVersion { .. } => 0,
        };
        let id = match uid.as_str().len() {
            ..=MAX_INLINE_ID_BYTES => 0,
            longer => allocated(longer),
        };
        (id + value + ENTRY_BYTES) as u64
    }
}

/// Returns the size of an allocation: allocators have four sizes from one power of two to the next.
fn allocated(bytes: usize) -> usize {
    bytes.next_multiple_of((bytes.next_power_of_two() / 8).max(8))
}

type CacheEntries = sync::Cache<OrderUid, Entry, ByBytes>;

chassis::metrics! {
    struct CacheMetrics {
        /// Lookups of orders that memory held, fresh or stale
        hits: Counter = "waybill_cache_hits",
        /// Lookups that memory could not answer; negative entries are not counted
        misses: Counter = "waybill_cache_misses",
    }
}

pub(crate) struct Cache {
    entries: Arc<CacheEntries>,
    /// The negative entries, each with the time when it ends.
    absent: sync::Cache<OrderUid, Instant>,
    /// Each change of an order reads its entry and then writes it; the lock makes this atomic.
    /// Orders share locks by hash.
    key_locks: Vec<Mutex<()>>,
    hasher: DefaultHashBuilder,
    capacity: u64,
    max_age: Duration,
    /// Times are counted from here. An order that was confirmed before it is stale.
    epoch: Instant,
    metrics: CacheMetrics,
}

impl Cache {
    /// Makes an empty cache of at most `bytes`, in which an order is fresh for `max_age`.
    pub(crate) fn new(bytes: u64, max_age: Duration, registry: &mut Registry) -> Self {
        let now = Instant::now();
        let entries =
            CacheEntries::with_weighter((bytes / USUAL_BYTES).max(16) as usize, bytes, ByBytes);
        let cache = Self {
            entries: Arc::new(entries),
            absent: sync::Cache::new(MAX_ABSENT),
            key_locks: (0..64).map(|_| Mutex::new(())).collect(),
            hasher: DefaultHashBuilder::default(),
            capacity: bytes,
            max_age,
            // One maximum age in the past, because Redis may return orders that were confirmed
            // before this process started.
            epoch: now.checked_sub(max_age).unwrap_or(now),
            metrics: CacheMetrics::register(registry),
        };
        registry.register_collector(Box::new(Weight(cache.entries.clone())));
        cache
    }

    pub(crate) fn get(&self, uid: &OrderUid) -> Known {
        // No lock: a read sees the entry before or after a concurrent change, never a part of it.
        let now = Instant::now();
        match self.entries.get(uid) {
            Some(Entry::Value(cached)) => {
                self.metrics.hits.inc();
                if self.is_fresh(&cached, now) {
                    Known::Fresh(cached)
                } else {
                    Known::Stale(cached)
                }
            }
            None if self.absent.get(uid).is_some_and(|until| now < until) => Known::Absent,
            Some(Entry::MinimumVersion { .. }) | None => {
                self.metrics.misses.inc();
                Known::Nothing
            }
        }
    }

    /// Returns the order if it is fresh, and counts a hit. Otherwise counts nothing: the caller
    /// continues with [`get`](Self::get), which counts a hit or a miss, or nothing for a negative
    /// entry.
    pub(crate) fn fresh(&self, uid: &str, now: Instant) -> Option<Cached> {
        match self.entries.get(uid) {
            Some(Entry::Value(cached)) if self.is_fresh(&cached, now) => {
                self.metrics.hits.inc();
                Some(cached)
            }
            _ => None,
        }
    }

    /// Returns the order if it is fresh, and counts neither a hit nor a miss.
    pub(crate) fn peek_fresh(&self, uid: &OrderUid) -> Option<Cached> {
        match self.entries.peek(uid) {
            Some(Entry::Value(cached)) if self.is_fresh(&cached, Instant::now()) => Some(cached),
            _ => None,
        }
    }

    /// Adds a view that the database confirmed, unless the order in the cache is the later one or a
    /// higher version was announced. Returns the order to serve: this view or the later one, or
    /// `None` if the view is older than the announced version.
    pub(crate) fn put(&self, view: &View, confirmation: Confirmation) -> Option<Cached> {
        let _lock = self.lock_key(&view.order_uid);
        let confirmation = self.since_epoch(confirmation);
        match self.entries.peek(&view.order_uid) {
            Some(Entry::Value(known))
                if !confirmation.replaces(view.version, known.confirmation(), known.version()) =>
            {
                Some(known)
            }
            known => self.insert(view, confirmation, known.as_ref()),
        }
    }

    /// Adds a view from Redis, unless the order has a value or a higher version was announced.
    /// `sent` is the time when the database was queried for the view. Returns the order to serve,
    /// as [`put`](Self::put) does.
    pub(crate) fn put_from_redis(&self, view: &View, sent: Instant) -> Option<Cached> {
        let _lock = self.lock_key(&view.order_uid);
        match self.entries.peek(&view.order_uid) {
            // It entered while Redis was asked. It comes from the database itself, and the time of
            // the value in Redis is less exact, so the two are not compared.
            Some(Entry::Value(known)) => Some(known),
            known => {
                let confirmation = self.since_epoch(Confirmation::sent_at(sent));
                self.insert(view, confirmation, known.as_ref())
            }
        }
    }

    /// Inserts the view, unless `known` is a higher minimum version. The caller holds the lock.
    fn insert(
        &self,
        view: &View,
        confirmation: Confirmation<u64>,
        known: Option<&Entry>,
    ) -> Option<Cached> {
        if known.is_some_and(|known| view.version < self.minimum(known)) {
            return None;
        }
        let (uid, cached) = (&view.order_uid, Cached::new(view, confirmation));
        // The value first: a reader between the two steps finds it. In the other sequence the
        // reader would find nothing and query the database.
        self.entries.insert(uid.clone(), Entry::Value(cached.clone()));
        self.absent.remove(uid);
        Some(cached)
    }

    /// Converts a view without adding it to the cache.
    pub(crate) fn uncached(&self, view: &View, confirmation: Confirmation) -> Cached {
        Cached::new(view, self.since_epoch(confirmation))
    }

    /// Applies the answer that there is no such order: removes a value that was confirmed before
    /// the query was sent, and adds a negative entry unless the order has another value or a
    /// minimum version.
    pub(crate) fn put_absent(&self, uid: &OrderUid, confirmation: Confirmation) {
        let _lock = self.lock_key(uid);
        let sent = self.since_epoch(confirmation).sent;
        // Checked under the lock: an order that this replica commits while the database is queried
        // is already in the entries, or removes this negative entry when it enters.
        let known = self.entries.peek(uid);
        let is_outdated = match &known {
            Some(Entry::Value(cached)) => sent > cached.confirmation().answered,
            Some(minimum) => self.minimum(minimum) == 0,
            None => true,
        };
        if is_outdated {
            // The negative entry first: a reader between the two steps finds one of them.
            self.absent.insert(uid.clone(), Instant::now() + ABSENT_FOR);
            self.entries.remove(uid);
        }
    }

    /// Applies an event of this installation about `version`: a lower version is removed, and may
    /// not enter for `max_age`.
    pub(crate) fn evict_below(&self, uid: &OrderUid, version: i32) {
        // Without the lock. A query that was sent before the event may add a negative entry after
        // this line; it ends after `ABSENT_FOR`.
        self.absent.remove(uid);
        // No version is lower than the first one.
        if version <= FIRST_VERSION {
            return;
        }
        let _lock = self.lock_key(uid);
        let known = match self.entries.peek(uid) {
            Some(Entry::Value(cached)) => cached.version(),
            Some(minimum) => self.minimum(&minimum),
            // An order that is not cached also gets a minimum: a query or a page of the warm-up
            // that was sent before the event may still bring the lower version.
            None => 0,
        };
        if known < version && failpoint::is_skipped("guard.minimum-version") {
            self.entries.remove(uid);
        } else if known < version {
            let until = self.micros(Instant::now()).saturating_add(micros(self.max_age));
            self.entries.insert(uid.clone(), Entry::MinimumVersion { version, until });
        }
    }

    /// Applies an event of another producer about `version`: a lower version becomes stale.
    pub(crate) fn expire_below(&self, uid: &OrderUid, version: i32) {
        self.absent.remove(uid);
        let _lock = self.lock_key(uid);
        if let Some(Entry::Value(cached)) = self.entries.peek(uid)
            && cached.version() < version
            // An order that is already stale is skipped: expiring it copies the entry.
            && self.is_fresh(&cached, Instant::now())
        {
            self.entries.insert(uid.clone(), Entry::Value(cached.expired()));
        }
    }

    /// Returns the lowest version that may enter; 0 if any may.
    fn minimum(&self, entry: &Entry) -> i32 {
        match entry {
            Entry::MinimumVersion { version, until } if self.micros(Instant::now()) < *until => {
                *version
            }
            Entry::MinimumVersion { .. } | Entry::Value(_) => 0,
        }
    }

    fn is_fresh(&self, cached: &Cached, now: Instant) -> bool {
        self.micros(now).saturating_sub(cached.confirmation().sent) < micros(self.max_age)
    }

    fn since_epoch(&self, Confirmation { sent, answered }: Confirmation) -> Confirmation<u64> {
        Confirmation { sent: self.micros(sent), answered: self.micros(answered) }
    }

    /// Returns the microseconds from the epoch to `time`.
    fn micros(&self, time: Instant) -> u64 {
        micros(time.saturating_duration_since(self.epoch))
    }

    /// Returns the limit on the bytes of all entries.
    pub(crate) fn capacity(&self) -> u64 {
        self.capacity
    }

    /// True if further orders would evict others.
    pub(crate) fn is_full(&self) -> bool {
        // The cache is divided into shards that do not fill evenly, so orders are evicted before
        // the total reaches the capacity.
        self.entries.weight() * 100 >= self.capacity * 95
    }

    fn lock_key(&self, uid: &OrderUid) -> MutexGuard<'_, ()> {
        // The locks guard no data of their own, so after a panic there is nothing to repair and a
        // poisoned lock is used.
        let index = self.hasher.hash_one(uid) as usize % self.key_locks.len();
        self.key_locks[index].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// Reads the weight of the cache when the metrics are read.
struct Weight(Arc<CacheEntries>);

impl fmt::Debug for Weight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Weight")
    }
}

impl Collector for Weight {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let weight = ConstGauge::new(i64::try_from(self.0.weight()).unwrap_or(i64::MAX));
        let help = "Memory that the cached orders take, bytes.";
        let kind = weight.metric_type();
        weight.encode(encoder.encode_descriptor("waybill_cache_bytes", help, None, kind)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::order::content_hash::ContentHash;

    fn cache(bytes: u64) -> Cache {
        Cache::new(bytes, Duration::from_secs(300), &mut Registry::default())
    }

    fn view(uid: &str, version: i32, size: usize) -> View {
        let json = vec![b'x'; size];
        View { order_uid: uid.parse().unwrap(), version, hash: ContentHash::of(&json), json }
    }

    /// Returns a confirmation sent and answered these numbers of seconds after the cache was
    /// created.
    fn seconds(cache: &Cache, sent: u64, answered: u64) -> Confirmation {
        let made = cache.epoch + cache.max_age;
        let at = |seconds| made + Duration::from_secs(seconds);
        Confirmation { sent: at(sent), answered: at(answered) }
    }

    fn put_at(cache: &Cache, uid: &str, version: i32, sent: u64, answered: u64) -> Option<i32> {
        let confirmation = seconds(cache, sent, answered);
        cache.put(&view(uid, version, 10), confirmation).map(|cached| cached.version())
    }

    fn put(cache: &Cache, uid: &str, version: i32) -> Option<i32> {
        put_at(cache, uid, version, 0, 1)
    }

    fn version(cache: &Cache, uid: &str) -> Option<i32> {
        match cache.get(&uid.parse().unwrap()) {
            Known::Fresh(cached) => Some(cached.version()),
            Known::Stale(_) | Known::Absent | Known::Nothing => None,
        }
    }

    #[test]
    fn an_older_version_replaces_a_newer_one_only_if_it_was_read_later() {
        let cache = cache(1 << 20);
        assert_eq!(put_at(&cache, "a", 3, 1, 3), Some(3));
        assert_eq!(put_at(&cache, "a", 1, 2, 4), Some(3), "the queries overlap");
        assert_eq!(version(&cache, "a"), Some(3));
        assert_eq!(put_at(&cache, "a", 1, 4, 5), Some(1), "the row was deleted and sent again");
        assert_eq!(version(&cache, "a"), Some(1));
        assert_eq!(put_at(&cache, "a", 3, 2, 3), Some(1), "an answer from before that");
    }

    #[test]
    fn an_older_confirmation_does_not_undo_a_newer_one() {
        let cache = cache(1 << 20);
        for sent in [7, 5] {
            put_at(&cache, "a", 1, sent, 9);
        }
        let Known::Fresh(cached) = cache.get(&"a".parse().unwrap()) else { panic!("it is fresh") };
        let later = cache.since_epoch(seconds(&cache, 7, 9));
        assert_eq!(cached.confirmation(), later);
    }

    #[test]
    fn an_order_is_as_old_as_its_query() {
        let cache = cache(1 << 20);
        let made = cache.epoch + cache.max_age;
        let sent = made.checked_sub(Duration::from_secs(299)).unwrap();
        cache.put(&view("a", 1, 10), Confirmation { sent, answered: made });
        assert!(cache.fresh("a", made).is_some());
        assert!(cache.fresh("a", made + Duration::from_secs(2)).is_none());
    }

    #[test]
    fn a_value_from_redis_never_replaces_one_from_the_database() {
        let cache = cache(1 << 20);
        put(&cache, "a", 1);
        let now = Instant::now();
        let served = |uid, version| {
            let served = cache.put_from_redis(&view(uid, version, 10), now);
            served.map(|cached| cached.version())
        };
        assert_eq!(served("a", 2), Some(1));
        assert_eq!(served("b", 2), Some(2));
        cache.evict_below(&"c".parse().unwrap(), 3);
        assert_eq!((served("c", 2), served("c", 3)), (None, Some(3)));
        // Any query that is sent later replaces a false value.
        assert_eq!(served("d", i32::MAX), Some(i32::MAX));
        assert_eq!(put_at(&cache, "d", 1, 5, 6), Some(1));
    }

    #[test]
    fn an_eviction_by_an_event_leaves_a_minimum_version() {
        let cache = cache(1 << 20);
        let uid = "a".parse().unwrap();
        put(&cache, "a", 1);
        cache.evict_below(&uid, 2);
        assert_eq!(version(&cache, "a"), None);
        assert_eq!(put(&cache, "a", 1), None, "a query sent before the event is too old");
        assert_eq!(put(&cache, "a", 2), Some(2));
        cache.evict_below(&uid, 2);
        assert_eq!(version(&cache, "a"), Some(2), "the event of the cached version evicts nothing");
    }

    #[test]
    fn an_order_that_is_not_cached_gets_a_minimum_version_too() {
        let cache = cache(1 << 20);
        let uid = "a".parse().unwrap();
        cache.evict_below(&uid, 2);
        assert_eq!(put(&cache, "a", 1), None);
        cache.evict_below(&uid, 3);
        assert_eq!(put(&cache, "a", 2), None);
        assert_eq!(put(&cache, "a", 3), Some(3));
    }

    #[test]
    fn a_minimum_version_ends_after_the_maximum_age() {
        let cache = Cache::new(1 << 20, Duration::from_millis(20), &mut Registry::default());
        let uid = "a".parse().unwrap();
        cache.evict_below(&uid, 2);
        std::thread::sleep(Duration::from_millis(25));
        assert_eq!(put(&cache, "a", 1), Some(1));
        cache.evict_below(&uid, 2);
        std::thread::sleep(Duration::from_millis(25));
        cache.put_absent(&uid, seconds(&cache, 0, 1));
        assert!(matches!(cache.get(&uid), Known::Absent));
    }

    #[test]
    fn an_event_of_another_producer_costs_one_confirmation_and_evicts_nothing() {
        let cache = cache(1 << 20);
        let uid = "hot".parse().unwrap();
        cache.expire_below(&uid, 17);
        assert_eq!(put(&cache, "hot", 1), Some(1), "it sets no minimum");
        cache.expire_below(&uid, 1);
        assert_eq!(version(&cache, "hot"), Some(1), "nothing is lower than version 1");
        cache.expire_below(&uid, 17);
        assert!(matches!(cache.get(&uid), Known::Stale(cached) if cached.version() == 1));
        assert_eq!(put_at(&cache, "hot", 1, 2, 3), Some(1));
        assert_eq!(version(&cache, "hot"), Some(1));
    }

    #[test]
    fn a_negative_entry_replaces_only_a_value_confirmed_before_it() {
        let cache = cache(1 << 20);
        let uid: OrderUid = "a".parse().unwrap();
        let early = seconds(&cache, 0, 0);
        cache.put_absent(&uid, early);
        assert!(matches!(cache.get(&uid), Known::Absent));
        put_at(&cache, "a", 1, 1, 3);
        cache.put_absent(&uid, seconds(&cache, 2, 4));
        assert_eq!(version(&cache, "a"), Some(1), "the query may have read before the commit");
        cache.put_absent(&uid, seconds(&cache, 4, 5));
        assert!(matches!(cache.get(&uid), Known::Absent), "the row was deleted");

        for event in [Cache::evict_below, Cache::expire_below] {
            for version in [1, 2] {
                let uid = format!("b{version}").parse().unwrap();
                cache.put_absent(&uid, early);
                assert!(matches!(cache.get(&uid), Known::Absent));
                event(&cache, &uid, version);
                assert!(matches!(cache.get(&uid), Known::Nothing), "an event ends it");
                cache.entries.remove(&uid);
            }
        }
    }

    #[test]
    fn negative_entries_evict_no_order() {
        let cache = cache(100_000);
        put(&cache, "a", 1);
        for n in 0..3 * MAX_ABSENT {
            cache.put_absent(&format!("unknown-{n}").parse().unwrap(), seconds(&cache, 0, 0));
        }
        assert_eq!(version(&cache, "a"), Some(1));
        assert!(cache.absent.len() <= MAX_ABSENT);
    }

    #[test]
    fn the_byte_budget_holds() {
        let cache = cache(100_000);
        for n in 0..1_000 {
            cache.put(&view(&format!("order-{n}"), 1, 1_000), seconds(&cache, 0, 0));
        }
        let (entries, weight) = (cache.entries.len(), cache.entries.weight());
        assert!(weight <= 100_000, "{weight}");
        assert!(entries > 40 && entries < 100, "{entries}");
    }

    #[test]
    fn only_a_fresh_order_is_answered_at_once() {
        let cache = cache(1 << 20);
        put(&cache, "a", 1);
        let now = Instant::now();
        assert!(cache.fresh("a", now).is_some());
        assert!(cache.fresh("a", now + Duration::from_secs(301)).is_none());
        assert!(cache.fresh("b", now).is_none());
    }

    #[test]
    fn an_allocation_is_rounded_up_to_the_next_of_four_sizes() {
        for (bytes, taken) in [(1, 8), (36, 40), (64, 64), (65, 80), (885, 896), (1_025, 1_280)] {
            assert_eq!(allocated(bytes), taken, "{bytes}");
        }
    }
}
