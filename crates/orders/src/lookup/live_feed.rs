//! The live feed: what happens, as it happens, to every page that watches. Fed by following the
//! status topic and the dead letters, so that each replica sees the work of all.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use events::{OrderStatus, OrderUid, StatusEvent, StatusWord, topics::dead_letters};
use serde_json::json;
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

use chassis::kafka::{
    config::KafkaConfig,
    consumer,
    record::{Position, Record, instant},
    tail,
};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::lookup::Lookup;

/// How many events a page that was cut off can catch up with.
const KEPT: usize = 500;
/// More than so many orders, and so many statuses, a second help nobody who watches; the rate tells
/// the rest.
const A_SECOND: u32 = 40;

/// One event of the feed.
#[derive(Debug, Clone)]
pub(crate) struct FeedEvent {
    /// Rises by one with each event of this process.
    pub(crate) number: u64,
    pub(crate) name: &'static str,
    /// JSON.
    pub(crate) data: String,
}

/// The feed. Each page has a receiver of its own; one that is too slow loses events and reloads.
pub(crate) struct Feed {
    /// Tells this process's numbers from those of the one before.
    pub(crate) epoch: u32,
    events: broadcast::Sender<Arc<FeedEvent>>,
    state: Mutex<State>,
}

struct State {
    next: u64,
    recent: VecDeque<Arc<FeedEvent>>,
    second: Instant,
    orders_shown: u32,
    statuses_shown: u32,
    orders: u64,
    rejected: u64,
    /// Orders that somebody looks at, and how many do: all that is told of them is shown.
    watched: HashMap<OrderUid, usize>,
}

/// Somebody looks at this order until it is dropped.
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
            events: broadcast::channel(KEPT).0,
            state: Mutex::new(State {
                next: 1,
                recent: VecDeque::with_capacity(KEPT),
                second: Instant::now(),
                orders_shown: 0,
                statuses_shown: 0,
                orders: 0,
                rejected: 0,
                watched: HashMap::new(),
            }),
        })
    }

    /// The id of the last event: a page that has seen it goes on from there.
    pub(crate) fn last(&self) -> String {
        let state = self.state();
        format!("{}-{}", self.epoch, state.next - 1)
    }

    /// Has every status of this order told, however much else there is to tell.
    pub(crate) fn watch(self: &Arc<Self>, uid: OrderUid) -> Watch {
        *self.state().watched.entry(uid.clone()).or_default() += 1;
        Watch { feed: self.clone(), uid }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Events after `seen` that are still kept, and all that come. `None` if `seen` is too old.
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

    fn tell(&self, state: &mut State, name: &'static str, data: String) {
        let event = Arc::new(FeedEvent { number: state.next, name, data });
        state.next += 1;
        if state.recent.len() == KEPT {
            state.recent.pop_front();
        }
        state.recent.push_back(event.clone());
        // Nobody may be watching.
        let _ = self.events.send(event);
    }

    /// Tells what an event on the status topic told.
    fn event(&self, event: &StatusEvent, position: Position) {
        let mut state = self.state();
        if state.second.elapsed() >= Duration::from_secs(1) {
            state.second = Instant::now();
            (state.orders_shown, state.statuses_shown) = (0, 0);
        }
        // Only this service tells of versions: the order was stored.
        let stored = event.word == StatusWord::Status(OrderStatus::Created);
        let stored = event.version.filter(|_| stored);
        if let Some(version) = stored {
            state.orders += 1;
            if state.orders_shown < A_SECOND {
                state.orders_shown += 1;
                let data = json!({
                    "order_uid": event.order_id,
                    "version": version,
                    "at": event.created_at.and_then(|at| at.format(&Rfc3339).ok()),
                });
                self.tell(&mut state, "order", data.to_string());
            }
        }
        let watched = state.watched.contains_key(&event.order_id);
        if watched || (stored.is_none() && state.statuses_shown < A_SECOND) {
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
            self.tell(&mut state, "status", data.to_string());
        }
    }

    fn rejection(&self, id: &str, reason: &str) {
        let mut state = self.state();
        state.rejected += 1;
        let at = OffsetDateTime::now_utc().truncate_to_millisecond().format(&Rfc3339).ok();
        let data = json!({ "id": id, "reason": reason, "at": at });
        self.tell(&mut state, "rejection", data.to_string());
    }

    /// Tells the rates of the last second, every second.
    pub(crate) async fn tell_rates(
        self: Arc<Self>,
        consumed: consumer::Metrics,
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
            self.tell(&mut state, "rates", data.to_string());
        }
    }
}

/// Follows the status topic and the dead letters from now on: evicts what other replicas replaced,
/// wakes those who wait, and feeds the pages. Missing an event here costs at most staleness, which
/// `CACHE_MAX_AGE` bounds.
pub(crate) async fn follow(
    kafka: &KafkaConfig,
    status_topic: &str,
    orders_topic: &str,
    feed: Arc<Feed>,
    lookup: Arc<Lookup>,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let topics = [status_topic.to_owned(), dead_letters(orders_topic)];
    let status_topic = status_topic.to_owned();
    let heard = move |topic: &str, record: Record<'_>| {
        if topic == status_topic {
            // What is no event says nothing of an order.
            if let Ok(event) = StatusEvent::read(record.value) {
                if let Some(version) = event.version {
                    lookup.heard_of(&event.order_id, version);
                }
                feed.event(&event, record.position);
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
            feed.rejection(&id, header("waybill.error.reason"));
        }
    };
    tail::read(kafka, &topics, SystemTime::now(), heard, shutdown).await
}
