//! The memory level of the cache: orders as ready responses, weighed by bytes.
//!
//! A load never overwrites something newer. An entry is a value with its version; a floor, below
//! which nothing may enter (left by an eviction through an event); or the knowledge that there is no
//! such order, for a second at most and never over a value.

use std::{
    fmt,
    hash::{BuildHasher, RandomState},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use events::OrderUid;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{counter::Counter, gauge::ConstGauge},
    registry::Registry,
};
use quick_cache::{Weighter, sync};

use crate::views::View;

/// How long the absence of an order is believed.
const ABSENCE: Duration = Duration::from_secs(1);
/// Beside its key and bytes an entry takes about so much.
const OVERHEAD_BYTES: u64 = 200;

#[derive(Clone)]
enum Entry {
    Value(Arc<Cached>),
    Floor(i32),
    AbsentUntil(Instant),
}

/// A cached order and when the database last confirmed it.
#[derive(Debug)]
pub(crate) struct Cached {
    pub(crate) view: View,
    pub(crate) confirmed_at: Instant,
}

/// What the cache knows of an order.
pub(crate) enum Known {
    Value(Arc<Cached>),
    Absent,
    Nothing,
}

#[derive(Clone)]
struct ByBytes;

impl Weighter<OrderUid, Entry> for ByBytes {
    fn weight(&self, uid: &OrderUid, entry: &Entry) -> u64 {
        let body = match entry {
            Entry::Value(cached) => cached.view.json.len(),
            Entry::Floor(_) | Entry::AbsentUntil(_) => 0,
        };
        (uid.as_str().len() + body) as u64 + OVERHEAD_BYTES
    }
}

type Entries = sync::Cache<OrderUid, Entry, ByBytes>;

/// The memory level.
pub(crate) struct Cache {
    entries: Arc<Entries>,
    /// Writers of one order take turns, so that each sees what the one before it left.
    turns: Vec<Mutex<()>>,
    hasher: RandomState,
    capacity: u64,
    hits: Counter,
    misses: Counter,
}

impl Cache {
    /// An empty cache of at most `bytes`.
    pub(crate) fn new(bytes: u64, registry: &mut Registry) -> Self {
        let entries = Entries::with_weighter((bytes / 1_400).max(16) as usize, bytes, ByBytes);
        let cache = Self {
            entries: Arc::new(entries),
            turns: (0..64).map(|_| Mutex::new(())).collect(),
            hasher: RandomState::new(),
            capacity: bytes,
            hits: Counter::default(),
            misses: Counter::default(),
        };
        registry.register("waybill_cache_hits", "Orders served from memory", cache.hits.clone());
        registry.register(
            "waybill_cache_misses",
            "Orders asked for that memory did not hold",
            cache.misses.clone(),
        );
        registry.register_collector(Box::new(Weight(cache.entries.clone())));
        cache
    }

    pub(crate) fn get(&self, uid: &OrderUid) -> Known {
        match self.entries.get(uid) {
            Some(Entry::Value(cached)) => {
                self.hits.inc();
                Known::Value(cached)
            }
            Some(Entry::AbsentUntil(until)) if Instant::now() < until => Known::Absent,
            _ => {
                self.misses.inc();
                Known::Nothing
            }
        }
    }

    /// As [`put_confirmed`](Self::put_confirmed), fresh from the database.
    pub(crate) fn put(&self, view: View) -> bool {
        self.put_confirmed(view, Instant::now())
    }

    /// Takes a view in unless something newer is known; the same version is confirmed anew. True if
    /// the view is what the cache would now serve.
    pub(crate) fn put_confirmed(&self, view: View, mut confirmed_at: Instant) -> bool {
        let uid = view.order_uid.clone();
        let _turn = self.turn(&uid);
        let lowest = match self.entries.peek(&uid) {
            Some(Entry::Value(cached)) => {
                if cached.view.version == view.version {
                    confirmed_at = confirmed_at.max(cached.confirmed_at);
                }
                cached.view.version
            }
            Some(Entry::Floor(version)) => version,
            Some(Entry::AbsentUntil(_)) | None => 0,
        };
        if view.version < lowest {
            return false;
        }
        self.entries.insert(uid, Entry::Value(Arc::new(Cached { view, confirmed_at })));
        true
    }

    /// Notes that there is no such order, unless there is.
    pub(crate) fn put_absent(&self, uid: &OrderUid) {
        let _turn = self.turn(uid);
        if !matches!(self.entries.peek(uid), Some(Entry::Value(_) | Entry::Floor(_))) {
            self.entries.insert(uid.clone(), Entry::AbsentUntil(Instant::now() + ABSENCE));
        }
    }

    /// An event told of `version`: what is older leaves, and nothing older enters any more.
    pub(crate) fn evict_below(&self, uid: &OrderUid, version: i32) {
        let _turn = self.turn(uid);
        match self.entries.peek(uid) {
            Some(Entry::Value(cached)) if cached.view.version < version => {
                self.entries.insert(uid.clone(), Entry::Floor(version));
            }
            Some(Entry::Floor(floor)) if floor < version => {
                self.entries.insert(uid.clone(), Entry::Floor(version));
            }
            Some(Entry::AbsentUntil(_)) => {
                self.entries.remove(uid);
            }
            _ => {}
        }
    }

    /// No room left without evicting?
    pub(crate) fn is_full(&self) -> bool {
        self.entries.weight() * 100 >= self.capacity * 95
    }

    fn turn(&self, uid: &OrderUid) -> std::sync::MutexGuard<'_, ()> {
        let turn = self.hasher.hash_one(uid) as usize % self.turns.len();
        self.turns[turn].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells the weight when it is asked for.
struct Weight(Arc<Entries>);

impl fmt::Debug for Weight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Weight")
    }
}

impl Collector for Weight {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let weight = ConstGauge::new(i64::try_from(self.0.weight()).unwrap_or(i64::MAX));
        let help = "Weight of the memory level, bytes.";
        let kind = weight.metric_type();
        weight.encode(encoder.encode_descriptor("waybill_cache_bytes", help, None, kind)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::ContentHash;

    fn cache(bytes: u64) -> Cache {
        Cache::new(bytes, &mut Registry::default())
    }

    fn view(uid: &str, version: i32, size: usize) -> View {
        let json = vec![b'x'; size];
        View {
            order_uid: uid.parse().unwrap(),
            version,
            hash: ContentHash::of(&json),
            json: json.into(),
        }
    }

    fn version(cache: &Cache, uid: &str) -> Option<i32> {
        match cache.get(&uid.parse().unwrap()) {
            Known::Value(cached) => Some(cached.view.version),
            Known::Absent | Known::Nothing => None,
        }
    }

    #[test]
    fn an_older_version_never_replaces_a_newer_one() {
        let cache = cache(1 << 20);
        assert!(cache.put(view("a", 2, 10)));
        assert!(!cache.put(view("a", 1, 10)));
        assert_eq!(version(&cache, "a"), Some(2));
    }

    #[test]
    fn an_older_confirmation_does_not_undo_a_newer_one() {
        let cache = cache(1 << 20);
        let now = Instant::now();
        let confirmed_at = |later: u64, earlier: u64| {
            cache.put_confirmed(view("a", 1, 10), now + Duration::from_secs(later));
            cache.put_confirmed(view("a", 1, 10), now + Duration::from_secs(earlier));
            match cache.get(&"a".parse().unwrap()) {
                Known::Value(cached) => cached.confirmed_at - now,
                Known::Absent | Known::Nothing => panic!("it is cached"),
            }
        };
        assert_eq!(confirmed_at(7, 5), Duration::from_secs(7));
    }

    #[test]
    fn an_eviction_through_an_event_leaves_a_floor() {
        let cache = cache(1 << 20);
        let uid = "a".parse().unwrap();
        cache.put(view("a", 1, 10));
        cache.evict_below(&uid, 2);
        assert_eq!(version(&cache, "a"), None);
        assert!(!cache.put(view("a", 1, 10)), "a load that was on its way is too old");
        assert!(cache.put(view("a", 2, 10)));
        cache.evict_below(&uid, 2);
        assert_eq!(version(&cache, "a"), Some(2), "the event of the cached version evicts nothing");
    }

    #[test]
    fn absence_is_never_put_over_a_value_and_ends_with_the_order() {
        let cache = cache(1 << 20);
        let uid: OrderUid = "a".parse().unwrap();
        cache.put_absent(&uid);
        assert!(matches!(cache.get(&uid), Known::Absent));
        cache.put(view("a", 1, 10));
        cache.put_absent(&uid);
        assert_eq!(version(&cache, "a"), Some(1));
    }

    #[test]
    fn the_byte_budget_holds() {
        let cache = cache(100_000);
        for n in 0..1_000 {
            cache.put(view(&format!("order-{n}"), 1, 1_000));
        }
        let (entries, weight) = (cache.entries.len(), cache.entries.weight());
        assert!(weight <= 100_000, "{weight}");
        assert!(entries > 40 && entries < 100, "{entries}");
    }
}
