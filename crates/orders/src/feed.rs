//! The live feed: what happens, as it happens, to every page that watches. Fed by following the
//! status topic and the dead letters, so that each replica sees the work of all.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use events::{OrderEvent, topics::dead_letters};
use serde_json::json;
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

use chassis::{consumer, follower, kafka::KafkaConfig};

use crate::{lookup::Lookup, publish::now};

/// How many events a page that was cut off can catch up with.
const KEPT: usize = 500;
/// More order events than this a second help nobody who watches; the rate tells the rest.
const ORDERS_A_SECOND: u32 = 40;

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
    shown: u32,
    orders: u64,
    rejected: u64,
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
                shown: 0,
                orders: 0,
                rejected: 0,
            }),
        })
    }

    /// Events after `seen` that are still kept, and all that come. `None` if `seen` is too old.
    pub(crate) fn subscribe(
        &self,
        seen: Option<u64>,
    ) -> (Option<Vec<Arc<FeedEvent>>>, broadcast::Receiver<Arc<FeedEvent>>) {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
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

    fn order(&self, event: &OrderEvent) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.orders += 1;
        if state.second.elapsed() >= Duration::from_secs(1) {
            state.second = Instant::now();
            state.shown = 0;
        }
        if state.shown < ORDERS_A_SECOND {
            state.shown += 1;
            let data = json!({ "order_uid": event.order_id, "version": event.version, "at": event.created_at });
            self.tell(&mut state, "order", data.to_string());
        }
    }

    fn rejection(&self, id: &str, reason: &str) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.rejected += 1;
        let data = json!({ "id": id, "reason": reason, "at": now() });
        self.tell(&mut state, "rejection", data.to_string());
    }

    /// Tells the rates of the last second, every second.
    pub(crate) async fn tell_rates(
        &self,
        consumed: consumer::Metrics,
        shutdown: CancellationToken,
    ) {
        let mut ticks = tokio::time::interval(Duration::from_secs(1));
        let mut before = 0;
        loop {
            tokio::select! { () = shutdown.cancelled() => return, _ = ticks.tick() => {} }
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
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
    let heard = move |topic: &str, record: consumer::Record<'_>| {
        if topic == status_topic {
            // Events of others may lack what ours have: they say nothing about an order's content.
            if let Some(Ok(event)) = record.value.map(serde_json::from_slice::<OrderEvent>) {
                lookup.heard_of(&event.order_id, event.version);
                if event.status == events::EventType::Created {
                    feed.order(&event);
                }
            }
        } else {
            let header = |name: &str| record.header(name).unwrap_or("?");
            let id = format!(
                "{}:{}:{}",
                header("__connect.errors.topic"),
                header("__connect.errors.partition"),
                header("__connect.errors.offset")
            );
            feed.rejection(&id, header("waybill.error.reason"));
        }
    };
    follower::follow(kafka, &topics, heard, shutdown).await
}
