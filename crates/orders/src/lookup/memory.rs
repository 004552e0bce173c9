//! The memory level of the cache: orders as ready responses, weighed by the bytes they take.
//!
//! A load never overwrites something newer. An entry is a value with its version, or a floor, below
//! which nothing may enter (left by an eviction through an event). That there is no such order is
//! known elsewhere, for a second at most and never over a value: whoever asks for thousands of ids
//! that mean nothing drives no order out.

use std::{
    fmt,
    hash::BuildHasher,
    iter,
    ops::Range,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;
use events::OrderUid;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{counter::Counter, gauge::ConstGauge},
    registry::Registry,
};
use quick_cache::{DefaultHashBuilder, Weighter, sync};

use crate::{
    lookup::queries::View,
    order::{FIRST_VERSION, content_hash::ContentHash},
};

/// How long the absence of an order is believed.
const ABSENCE: Duration = Duration::from_secs(1);
/// How many absences are known at once: not more than the database can tell of in that time.
const ABSENCES: usize = 20_000;
/// Two counters stand before what an `Arc` holds.
const ARC_BYTES: usize = 16;
/// An entry's place in the table, its share of the index, and of the places that remember what has
/// lately been evicted.
const PLACE_BYTES: usize = 104;
/// Longer ids have memory of their own.
const ID_IN_PLACE: usize = 24;
/// What an order mostly weighs.
const USUAL_BYTES: u64 = 1_200;

#[derive(Clone)]
enum Entry {
    Value(Cached),
    Floor(i32),
}

/// A cached order: when the database last confirmed it, its version, its hash, and its JSON.
///
/// All of that is one piece of memory. An allocator rounds every piece up, and beside a JSON of 1 KB
/// there is room for the rest in what is rounded up anyway.
#[derive(Clone)]
pub(crate) struct Cached(Arc<[u8]>);

const CONFIRMED: Range<usize> = 0..8;
const VERSION: Range<usize> = 8..12;
const HASH: Range<usize> = 12..28;
const JSON: usize = 28;

impl Cached {
    /// Confirmed so many microseconds after the cache's epoch.
    fn new(view: &View, confirmed: u64) -> Self {
        // Made in its place: from a vector it would be copied once more.
        let mut piece: Arc<[u8]> = iter::repeat_n(0, JSON + view.json.len()).collect();
        let bytes = Arc::get_mut(&mut piece).expect("nobody else has it yet");
        bytes[CONFIRMED].copy_from_slice(&confirmed.to_le_bytes());
        bytes[VERSION].copy_from_slice(&view.version.to_le_bytes());
        bytes[HASH].copy_from_slice(view.hash.as_bytes());
        bytes[JSON..].copy_from_slice(&view.json);
        Self(piece)
    }

    fn confirmed(&self) -> u64 {
        u64::from_le_bytes(self.part(CONFIRMED))
    }

    /// From 1.
    pub(crate) fn version(&self) -> i32 {
        i32::from_le_bytes(self.part(VERSION))
    }

    /// Of the JSON.
    pub(crate) fn hash(&self) -> ContentHash {
        self.part(HASH).into()
    }

    /// The canonical order, not copied.
    pub(crate) fn json(&self) -> Bytes {
        Bytes::from_owner(self.clone())
    }

    fn part<const N: usize>(&self, range: Range<usize>) -> [u8; N] {
        self.0[range].try_into().expect("each part has its own length")
    }
}

/// The canonical order.
impl AsRef<[u8]> for Cached {
    fn as_ref(&self) -> &[u8] {
        &self.0[JSON..]
    }
}

/// What the cache knows of an order.
pub(crate) enum Known {
    /// Confirmed within the greatest age.
    Fresh(Cached),
    Stale(Cached),
    Absent,
    Nothing,
}

#[derive(Clone)]
struct ByBytes;

impl Weighter<OrderUid, Entry> for ByBytes {
    fn weight(&self, uid: &OrderUid, entry: &Entry) -> u64 {
        let value = match entry {
            Entry::Value(Cached(piece)) => allocated(ARC_BYTES + piece.len()),
            Entry::Floor(_) => 0,
        };
        let id = match uid.as_str().len() {
            ..=ID_IN_PLACE => 0,
            longer => allocated(longer),
        };
        (id + value + PLACE_BYTES) as u64
    }
}

/// What an allocation of so many bytes takes: allocators know four sizes from one power of two to
/// the next.
fn allocated(bytes: usize) -> usize {
    bytes.next_multiple_of((bytes.next_power_of_two() / 8).max(8))
}

type Entries = sync::Cache<OrderUid, Entry, ByBytes>;

chassis::metrics! {
    struct CacheMetrics {
        /// Orders served from memory
        hits: Counter = "waybill_cache_hits",
        /// Orders asked for that memory did not hold
        misses: Counter = "waybill_cache_misses",
    }
}

/// The memory level.
pub(crate) struct Cache {
    entries: Arc<Entries>,
    /// Until when there is no such order.
    absences: sync::Cache<OrderUid, Instant>,
    /// Writers of one order take turns, so that each sees what the one before it left.
    turns: Vec<Mutex<()>>,
    hasher: DefaultHashBuilder,
    capacity: u64,
    max_age: Duration,
    /// Moments are counted from here: what was confirmed before it is stale already.
    epoch: Instant,
    metrics: CacheMetrics,
}

impl Cache {
    /// An empty cache of at most `bytes`, in which an order is fresh for `max_age`.
    pub(crate) fn new(bytes: u64, max_age: Duration, registry: &mut Registry) -> Self {
        let now = Instant::now();
        let entries =
            Entries::with_weighter((bytes / USUAL_BYTES).max(16) as usize, bytes, ByBytes);
        let cache = Self {
            entries: Arc::new(entries),
            absences: sync::Cache::new(ABSENCES),
            turns: (0..64).map(|_| Mutex::new(())).collect(),
            hasher: DefaultHashBuilder::default(),
            capacity: bytes,
            max_age,
            epoch: now.checked_sub(max_age).unwrap_or(now),
            metrics: CacheMetrics::register(registry),
        };
        registry.register_collector(Box::new(Weight(cache.entries.clone())));
        cache
    }

    pub(crate) fn get(&self, uid: &OrderUid) -> Known {
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
            None if self.absences.get(uid).is_some_and(|until| now < until) => Known::Absent,
            Some(Entry::Floor(_)) | None => {
                self.metrics.misses.inc();
                Known::Nothing
            }
        }
    }

    /// The order, if it is here and fresh. Anything else is left to [`get`](Self::get), which counts
    /// it.
    pub(crate) fn fresh(&self, uid: &str, now: Instant) -> Option<Cached> {
        match self.entries.get(uid) {
            Some(Entry::Value(cached)) if self.is_fresh(&cached, now) => {
                self.metrics.hits.inc();
                Some(cached)
            }
            _ => None,
        }
    }

    /// As [`put_confirmed`](Self::put_confirmed), fresh from the database.
    pub(crate) fn put(&self, view: &View) -> Option<Cached> {
        self.put_confirmed(view, Instant::now())
    }

    /// Takes in a view that the database confirmed at that moment, unless something newer is known;
    /// the same version is confirmed anew. Returns what is to be served now: this view, or the newer
    /// one. Nothing if an event told of a newer one that is not here.
    pub(crate) fn put_confirmed(&self, view: &View, confirmed_at: Instant) -> Option<Cached> {
        let uid = &view.order_uid;
        let _turn = self.turn(uid);
        let mut confirmed = self.micros(confirmed_at);
        let lowest = match self.entries.peek(uid) {
            Some(Entry::Value(newer)) if newer.version() > view.version => return Some(newer),
            Some(Entry::Value(known)) => {
                if known.version() == view.version {
                    confirmed = confirmed.max(known.confirmed());
                }
                0
            }
            Some(Entry::Floor(version)) => version,
            None => 0,
        };
        if view.version < lowest {
            return None;
        }
        let cached = Cached::new(view, confirmed);
        self.entries.insert(uid.clone(), Entry::Value(cached.clone()));
        self.absences.remove(uid);
        Some(cached)
    }

    /// A view as it would be cached, confirmed at that moment.
    pub(crate) fn uncached(&self, view: &View, confirmed_at: Instant) -> Cached {
        Cached::new(view, self.micros(confirmed_at))
    }

    /// Notes that there is no such order, unless there is.
    pub(crate) fn put_absent(&self, uid: &OrderUid) {
        let _turn = self.turn(uid);
        if self.entries.peek(uid).is_none() {
            self.absences.insert(uid.clone(), Instant::now() + ABSENCE);
        }
    }

    /// An event told of `version`: what is older leaves, and nothing older enters any more.
    pub(crate) fn evict_below(&self, uid: &OrderUid, version: i32) {
        self.absences.remove(uid);
        // Nothing is older than the first version, and most events tell of that.
        if version == FIRST_VERSION {
            return;
        }
        let _turn = self.turn(uid);
        let known = match self.entries.peek(uid) {
            Some(Entry::Value(cached)) => cached.version(),
            Some(Entry::Floor(floor)) => floor,
            None => return,
        };
        if known < version {
            self.entries.insert(uid.clone(), Entry::Floor(version));
        }
    }

    fn is_fresh(&self, cached: &Cached, now: Instant) -> bool {
        self.micros(now).saturating_sub(cached.confirmed()) < self.max_age.as_micros() as u64
    }

    /// From the epoch to `moment`.
    fn micros(&self, moment: Instant) -> u64 {
        moment.saturating_duration_since(self.epoch).as_micros() as u64
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
    fn an_eviction_through_an_event_leaves_a_floor() {
        let cache = cache(1 << 20);
        let uid = "a".parse().unwrap();
        put(&cache, "a", 1);
        cache.evict_below(&uid, 2);
        assert_eq!(version(&cache, "a"), None);
        assert_eq!(put(&cache, "a", 1), None, "a load that was on its way is too old");
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
            assert!(matches!(cache.get(&uid), Known::Nothing), "an event told of it");
        }
    }

    #[test]
    fn absences_drive_no_order_out() {
        let cache = cache(100_000);
        put(&cache, "a", 1);
        for n in 0..3 * ABSENCES {
            cache.put_absent(&format!("nobody-{n}").parse().unwrap());
        }
        assert_eq!(version(&cache, "a"), Some(1));
        assert!(cache.absences.len() <= ABSENCES);
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
    fn a_view_comes_out_as_it_went_in() {
        let cache = cache(1 << 20);
        let view = view("a", 7, 1_000);
        let cached = cache.put(&view).unwrap();
        assert_eq!((cached.version(), cached.hash()), (7, view.hash));
        assert_eq!(cached.json(), view.json);
    }

    #[test]
    fn only_what_is_fresh_is_answered_at_once() {
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
