//! The live feed: orders, statuses, deliveries, rejections and rates, sent to every open page.
//!
//! It reads the tail of the status topic, of the deliveries topic and of the dead letters, so each
//! replica shows the work of all replicas. The same reader evicts outdated orders from the cache. It
//! belongs to no consumer group, stores nothing and may miss records;
//! [`http::live`](crate::http::live) writes the events to clients.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use events::{DeliveryEvent, OrderStatus, OrderUid, StatusEvent, StatusWord};
use serde_json::json;
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

use chassis::{
    kafka::{
        config::KafkaConfig,
        consumer,
        record::{Position, Record, instant},
        tail,
    },
    process::failpoint,
};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::lookup::Lookup;

/// The number of events that are kept for pages that reconnect.
const KEPT_EVENTS: usize = 500;
/// The limit on the orders, on the statuses and on the deliveries, shown per second. The rates cover
/// the rest.
const MAX_SHOWN_PER_SECOND: u32 = 40;

/// One event of the feed.
#[derive(Debug, Clone)]
pub(crate) struct FeedEvent {
    /// Starts at 1 and rises by one with each event of this process.
    pub(crate) number: u64,
    pub(crate) name: &'static str,
    /// JSON.
    pub(crate) data: String,
}

/// The feed. Each page has its own receiver; a page that is too slow loses events and reloads.
pub(crate) struct Feed {
    /// Distinguishes this process's numbers from those of an earlier process.
    pub(crate) epoch: u32,
    events: broadcast::Sender<Arc<FeedEvent>>,
    state: Mutex<FeedState>,
}

struct FeedState {
    next: u64,
    recent: VecDeque<Arc<FeedEvent>>,
    second: Instant,
    orders_shown: u32,
    statuses_shown: u32,
    deliveries_shown: u32,
    orders: u64,
    rejected: u64,
    /// Orders whose page is open, with the number of these pages: all of their events are shown.
    watched: HashMap<OrderUid, usize>,
}

impl FeedState {
    /// Resets the limits at the first event of a second.
    fn begin_second(&mut self) {
        if self.second.elapsed() >= Duration::from_secs(1) {
            self.second = Instant::now();
            (self.orders_shown, self.statuses_shown, self.deliveries_shown) = (0, 0, 0);
        }
    }
}

/// An open page of an order. Dropping it means that the page was closed.
pub(crate) struct Watch {
    feed: Arc<Feed>,
    uid: OrderUid,
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut state = self.feed.state();
        if let Some(watchers) = state.watched.get_mut(&self.uid) {
            *watchers -= 1;
            if *watchers == 0 {
                state.watched.remove(&self.uid);
            }
        }
    }
}

impl Feed {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            epoch: rand::random(),
            events: broadcast::channel(KEPT_EVENTS).0,
            state: Mutex::new(FeedState {
                next: 1,
                recent: VecDeque::with_capacity(KEPT_EVENTS),
                second: Instant::now(),
                orders_shown: 0,
                statuses_shown: 0,
                deliveries_shown: 0,
                orders: 0,
                rejected: 0,
                watched: HashMap::new(),
            }),
        })
    }

    /// Returns the id of the last event, from which a page can resume.
    pub(crate) fn last(&self) -> String {
        let state = self.state();
        format!("{}-{}", self.epoch, state.next - 1)
    }

    /// Exempts the statuses and the deliveries of this order from the limit per second.
    pub(crate) fn watch(self: &Arc<Self>, uid: OrderUid) -> Watch {
        *self.state().watched.entry(uid.clone()).or_default() += 1;
        Watch { feed: self.clone(), uid }
    }

    fn state(&self) -> MutexGuard<'_, FeedState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the kept events after `seen`, or `None` if some of them are no longer kept, and a
    /// receiver of all later events. Both are taken under the lock under which events are sent, so
    /// no event is lost or repeated between them.
    pub(crate) fn subscribe(
        &self,
        seen: Option<u64>,
    ) -> (Option<Vec<Arc<FeedEvent>>>, broadcast::Receiver<Arc<FeedEvent>>) {
        let state = self.state();
        let missed = match seen {
            None => Some(Vec::new()),
            Some(seen)
                if state.recent.front().is_none_or(|first| first.number > seen + 1)
                    && seen + 1 != state.next =>
            {
                None
            }
            Some(seen) => {
                Some(state.recent.iter().filter(|event| event.number > seen).cloned().collect())
            }
        };
        (missed, self.events.subscribe())
    }

    /// Sends an event. The caller holds the lock: number, kept events and broadcast change
    /// together, so every receiver gets the events in the sequence of their numbers.
    fn send(&self, state: &mut FeedState, name: &'static str, data: String) {
        let event = Arc::new(FeedEvent { number: state.next, name, data });
        state.next += 1;
        if state.recent.len() == KEPT_EVENTS {
            state.recent.pop_front();
        }
        state.recent.push_back(event.clone());
        // Sending fails if no page is open, which is normal.
        let _ = self.events.send(event);
    }

    /// Counts an order that is stored, and sends it unless the limit of this second is reached.
    /// `event` is the `created` event of this installation. It is not sent as a status, because it is
    /// not recorded: the history shows the order's row instead.
    fn send_order(&self, event: &StatusEvent) {
        let mut state = self.state();
        state.begin_second();
        state.orders += 1;
        if state.orders_shown < MAX_SHOWN_PER_SECOND {
            state.orders_shown += 1;
            let data = json!({
                "order_uid": event.order_id,
                "version": event.version,
                "at": event.created_at.and_then(|at| at.format(&Rfc3339).ok()),
            });
            self.send(&mut state, "order", data.to_string());
        }
    }

    /// Sends a status event, unless the limit of this second is reached.
    fn send_status(&self, event: &StatusEvent, position: Position) {
        let mut state = self.state();
        state.begin_second();
        // The status of a watched order is always sent, and does not count against the limit, so
        // that a page which shows one order misses nothing.
        let watched = state.watched.contains_key(&event.order_id);
        if watched || state.statuses_shown < MAX_SHOWN_PER_SECOND {
            if !watched {
                state.statuses_shown += 1;
            }
            let data = json!({
                "order_uid": event.order_id,
                "status": event.status,
                "version": event.version,
                "at": instant(position.timestamp_ms).format(&Rfc3339).ok(),
                "partition": position.partition,
                "offset": position.offset,
            });
            self.send(&mut state, "status", data.to_string());
        }
    }

    /// Sends a delivery event, unless the limit of this second is reached, by the same rules.
    fn send_delivery(&self, event: &DeliveryEvent) {
        let mut state = self.state();
        state.begin_second();
        let watched = state.watched.contains_key(&event.order_id);
        if watched || state.deliveries_shown < MAX_SHOWN_PER_SECOND {
            if !watched {
                state.deliveries_shown += 1;
            }
            let data = serde_json::to_string(event).expect("an event has string keys");
            self.send(&mut state, "delivery", data);
        }
    }

    fn send_rejection(&self, id: &str, reason: &str) {
        let mut state = self.state();
        state.rejected += 1;
        let at = OffsetDateTime::now_utc().truncate_to_millisecond().format(&Rfc3339).ok();
        let data = json!({ "id": id, "reason": reason, "at": at });
        self.send(&mut state, "rejection", data.to_string());
    }

    /// Sends the rates of the last second, every second.
    pub(crate) async fn send_rates(
        self: Arc<Self>,
        consumed: consumer::ConsumerMetrics,
        shutdown: CancellationToken,
    ) {
        let mut ticks = tokio::time::interval(Duration::from_secs(1));
        let mut before = 0;
        loop {
            tokio::select! { () = shutdown.cancelled() => return, _ = ticks.tick() => {} }
            let mut state = self.state();
            let data = json!({
                "orders_per_second": state.orders - before,
                "lag_seconds": consumed.lag_seconds(),
                "rejected_total": state.rejected,
            });
            before = state.orders;
            self.send(&mut state, "rates", data.to_string());
        }
    }
}

/// The topics of the feed.
pub(crate) struct FeedTopics {
    pub(crate) status: String,
    /// May be missing.
    pub(crate) deliveries: String,
    pub(crate) dead_letters: String,
    /// The values of `ce_source` of this installation's events.
    pub(crate) own_sources: [String; 2],
    /// The earliest Kafka timestamp of the records to read.
    pub(crate) since: SystemTime,
}

/// Reads the tail of the topics: evicts orders that other replicas replaced, wakes waiting clients,
/// and sends the events to the pages. A missed event leaves an old version in the cache for
/// `CACHE_MAX_AGE` at most.
pub(crate) async fn read_tail(
    kafka: KafkaConfig,
    feed_topics: FeedTopics,
    feed: Arc<Feed>,
    lookup: Arc<Lookup>,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let FeedTopics { status: status_topic, deliveries, dead_letters, own_sources, since } =
        feed_topics;
    let topics = [status_topic.clone(), deliveries.clone(), dead_letters];
    let handle = move |topic: &str, record: Record<'_>| {
        if topic == status_topic {
            // Records that are not events are skipped here; the status consumer counts them.
            if let Ok(event) = StatusEvent::read(record.value) {
                let source = record.header("ce_source");
                let is_own =
                    source.is_some_and(|source| own_sources.iter().any(|own| own == source));
                // The cache first: a page that gets this event and then loads the order does not
                // find the version before it.
                if let Some(version) = event.version {
                    // Only this installation knows the version of a row. Any producer may write a
                    // version, and one that is never reached must not keep the order out of the
                    // cache.
                    if is_own && event.word == StatusWord::Updated {
                        failpoint::point("tail-read");
                        lookup.note_update(&event.order_id, version);
                    } else {
                        lookup.note_version(&event.order_id, version);
                    }
                }
                if is_own && event.word == StatusWord::Status(OrderStatus::Created) {
                    feed.send_order(&event);
                } else {
                    feed.send_status(&event, record.position);
                }
            }
        } else if topic == deliveries {
            if let Ok(event) = DeliveryEvent::read(record.value) {
                feed.send_delivery(&event);
            }
        } else {
            let headers = record.headers();
            let header = |name: &str| headers.get(name).unwrap_or("?");
            let id = format!(
                "{}:{}:{}",
                header("__connect.errors.topic"),
                header("__connect.errors.partition"),
                header("__connect.errors.offset")
            );
            feed.send_rejection(&id, header("waybill.error.reason"));
        }
    };
    tail::read(&kafka, &topics, since, handle, shutdown).await
}
