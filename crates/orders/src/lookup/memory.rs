//! The memory level of the cache: orders as ready responses, weighted by the bytes they take.
//!
//! An order is in one of four states:
//!
//! - *unknown*: no entry. Any version may enter.
//! - *value*: a version and the time when the database last confirmed it. It is *fresh* for
//!   `max_age` from that time, then *stale*. A higher version replaces it; a lower one does not.
//!   The same version only advances the time.
//! - *minimum version*: an event announced a higher version than the value, and the value was
//!   removed. No lower version may enter, so a query that was sent before the event cannot bring
//!   the old value back. A value of at least this version ends the state.
//! - *absent*: the database did not find the order. These negative entries are kept apart from the
//!   orders, so that requests for thousands of unknown ids evict no order. They last for
//!   [`ABSENT_FOR`] at most, and are never added while the order has an entry. A value or an event
//!   ends the state.
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

use events::OrderUid;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{counter::Counter, gauge::ConstGauge},
    registry::Registry,
};
use quick_cache::{DefaultHashBuilder, Weighter, sync};

use crate::{
    lookup::{cached::Cached, queries::View},
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
    MinimumVersion(i32),
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
            Entry::MinimumVersion(_) => 0,
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
        /// Lookups of orders that memory did not hold
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
            Some(Entry::MinimumVersion(_)) | None => {
                self.metrics.misses.inc();
                Known::Nothing
            }
        }
    }

    /// Returns the order if it is fresh. Otherwise the caller continues with [`get`](Self::get),
    /// which counts the hit or the miss, so that each request is counted once.
    pub(crate) fn fresh(&self, uid: &str, now: Instant) -> Option<Cached> {
        match self.entries.get(uid) {
            Some(Entry::Value(cached)) if self.is_fresh(&cached, now) => {
                self.metrics.hits.inc();
                Some(cached)
            }
            _ => None,
        }
    }

    /// Adds a view like [`put_confirmed`](Self::put_confirmed), confirmed now.
    pub(crate) fn put(&self, view: &View) -> Option<Cached> {
        self.put_confirmed(view, Instant::now())
    }

    /// Adds a view that the database confirmed at that time, unless a newer version is known.
    /// Returns the order to serve: this view or the newer one, or `None` if the newer one is not
    /// cached.
    pub(crate) fn put_confirmed(&self, view: &View, confirmed_at: Instant) -> Option<Cached> {
        let uid = &view.order_uid;
        let _lock = self.lock_key(uid);
        let mut confirmed = self.micros(confirmed_at);
        let lowest = match self.entries.peek(uid) {
            Some(Entry::Value(newer)) if newer.version() > view.version => return Some(newer),
            Some(Entry::Value(known)) => {
                // Two queries may end in another sequence than they were sent: the later
                // confirmation stays.
                if known.version() == view.version {
                    confirmed = confirmed.max(known.confirmed());
                }
                0
            }
            Some(Entry::MinimumVersion(version)) => version,
            None => 0,
        };
        if view.version < lowest {
            return None;
        }
        let cached = Cached::new(view, confirmed);
        // The value first: a reader between the two steps finds it. In the other sequence the
        // reader would find nothing and query the database.
        self.entries.insert(uid.clone(), Entry::Value(cached.clone()));
        self.absent.remove(uid);
        Some(cached)
    }

    /// Returns a view as it would be cached, confirmed at that time.
    pub(crate) fn uncached(&self, view: &View, confirmed_at: Instant) -> Cached {
        Cached::new(view, self.micros(confirmed_at))
    }

    /// Adds a negative entry, unless the order is cached or has a minimum version.
    pub(crate) fn put_absent(&self, uid: &OrderUid) {
        let _lock = self.lock_key(uid);
        // Checked under the lock: an order that this replica commits while the database is queried
        // is already in the entries, or removes this negative entry when it enters.
        if self.entries.peek(uid).is_none() {
            self.absent.insert(uid.clone(), Instant::now() + ABSENT_FOR);
        }
    }

    /// Applies an event about `version`: a lower version is removed and may not enter again.
    pub(crate) fn evict_below(&self, uid: &OrderUid, version: i32) {
        // Without the lock. A query that was sent before the event may add a negative entry after
        // this line; it ends after `ABSENT_FOR`.
        self.absent.remove(uid);
        // No version is lower than the first one, and most events are about the first one.
        if version == FIRST_VERSION {
            return;
        }
        let _lock = self.lock_key(uid);
        let known = match self.entries.peek(uid) {
            Some(Entry::Value(cached)) => cached.version(),
            Some(Entry::MinimumVersion(version)) => version,
            // Nothing to remove. A query that was sent before the event may still add a lower
            // version, which is then served until it is stale, for `max_age` at most.
            None => return,
        };
        if known < version {
            self.entries.insert(uid.clone(), Entry::MinimumVersion(version));
        }
    }

    fn is_fresh(&self, cached: &Cached, now: Instant) -> bool {
        self.micros(now).saturating_sub(cached.confirmed()) < self.max_age.as_micros() as u64
    }

    /// Returns the microseconds from the epoch to `time`.
    fn micros(&self, time: Instant) -> u64 {
        time.saturating_duration_since(self.epoch).as_micros() as u64
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

    fn put(cache: &Cache, uid: &str, version: i32) -> Option<i32> {
        cache.put(&view(uid, version, 10)).map(|cached| cached.version())
    }

    fn version(cache: &Cache, uid: &str) -> Option<i32> {
        match cache.get(&uid.parse().unwrap()) {
            Known::Fresh(cached) => Some(cached.version()),
            Known::Stale(_) | Known::Absent | Known::Nothing => None,
        }
    }

    #[test]
    fn an_older_version_never_replaces_a_newer_one() {
        let cache = cache(1 << 20);
        assert_eq!(put(&cache, "a", 2), Some(2));
        assert_eq!(put(&cache, "a", 1), Some(2));
        assert_eq!(version(&cache, "a"), Some(2));
    }

    #[test]
    fn an_older_confirmation_does_not_undo_a_newer_one() {
        let cache = cache(1 << 20);
        let now = Instant::now();
        for later in [7, 5] {
            cache.put_confirmed(&view("a", 1, 10), now + Duration::from_secs(later));
        }
        let Known::Fresh(cached) = cache.get(&"a".parse().unwrap()) else { panic!("it is fresh") };
        assert_eq!(cached.confirmed(), cache.micros(now + Duration::from_secs(7)));
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
    fn absence_is_never_put_over_a_value_and_ends_with_the_order() {
        let cache = cache(1 << 20);
        let uid: OrderUid = "a".parse().unwrap();
        cache.put_absent(&uid);
        assert!(matches!(cache.get(&uid), Known::Absent));
        put(&cache, "a", 1);
        cache.put_absent(&uid);
        assert_eq!(version(&cache, "a"), Some(1));

        for version in [1, 2] {
            let uid = "b".parse().unwrap();
            cache.put_absent(&uid);
            assert!(matches!(cache.get(&uid), Known::Absent));
            cache.evict_below(&uid, version);
            assert!(matches!(cache.get(&uid), Known::Nothing), "an event ends it");
        }
    }

    #[test]
    fn negative_entries_evict_no_order() {
        let cache = cache(100_000);
        put(&cache, "a", 1);
        for n in 0..3 * MAX_ABSENT {
            cache.put_absent(&format!("unknown-{n}").parse().unwrap());
        }
        assert_eq!(version(&cache, "a"), Some(1));
        assert!(cache.absent.len() <= MAX_ABSENT);
    }

    #[test]
    fn the_byte_budget_holds() {
        let cache = cache(100_000);
        for n in 0..1_000 {
            cache.put(&view(&format!("order-{n}"), 1, 1_000));
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
