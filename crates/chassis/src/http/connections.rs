//! The number of open connections, and the choice of those that are closed when it is at its limit.
//!
//! ```text
//! accepted ─▶ a place for requests ─▶ served until it ends
//!     │         (near the limit, the connection that has waited longest for a request is closed)
//!     └─ all in use ─▶ one of 64 reserved places ─▶ one answer: health and metrics, else 503
//! ```
//!
//! A connection waits for a request while the head of none is complete: a new connection, and one
//! that is idle between two requests. Only such connections are closed, so no request whose head has
//! arrived loses its answer.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering},
    },
    time::Duration,
};

use prometheus_client::metrics::counter::Counter;
use tokio::{
    sync::{Notify, OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout},
};

/// The places beyond the limit, for health and metrics.
const RESERVED: usize = 64;
/// One of this many places is kept free by closing waiting connections.
const FREE_SHARE: usize = 16;
/// The most connections that are considered before one is closed.
const MAX_TURNS: usize = 1_024;
/// The longest wait for a place after a connection was asked to close.
const CLOSE_TIMEOUT: Duration = Duration::from_millis(100);

/// The connections of a service.
pub(crate) struct Connections {
    regular: Arc<Places>,
    reserved: Arc<Places>,
    /// Waiting connections are closed while fewer places than this are free.
    min_free: usize,
}

impl Connections {
    pub(crate) fn new(limit: usize, closed: Counter) -> Self {
        Self {
            regular: Places::new(Kind::Regular, limit, closed.clone()),
            reserved: Places::new(Kind::Reserved, RESERVED, closed),
            min_free: limit / FREE_SHARE,
        }
    }

    /// Waits for a place for an accepted connection.
    pub(crate) async fn admit(&self) -> Place {
        loop {
            if let Some(place) = self.regular.try_take() {
                // One is closed for each one that is admitted, so that some places stay free.
                if self.regular.permits.available_permits() < self.min_free {
                    self.regular.close_longest_waiting();
                }
                return place;
            }
            if self.regular.close_longest_waiting()
                && let Some(place) = self.regular.take_soon().await
            {
                return place;
            }
            if let Some(place) = self.reserved.try_take() {
                return place;
            }
            self.reserved.close_longest_waiting();
            // The next ones wait in the queue of the kernel.
            tokio::select! {
                place = self.regular.take_soon() => if let Some(place) = place {
                    return place;
                },
                place = self.reserved.take_soon() => if let Some(place) = place {
                    return place;
                },
            }
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Regular,
    Reserved,
}

/// Places of one kind.
struct Places {
    kind: Kind,
    permits: Arc<Semaphore>,
    queue: Mutex<Queue>,
    /// Counts the connections that were closed.
    closed: Counter,
}

/// The connections that may be closed, in the sequence in which they are considered: a connection
/// that is in use when its turn comes goes to the end.
#[derive(Default)]
struct Queue {
    next_number: u64,
    connections: BTreeMap<u64, Arc<State>>,
}

impl Queue {
    fn push(&mut self, state: Arc<State>) {
        state.number.store(self.next_number, Ordering::Relaxed);
        self.connections.insert(self.next_number, state);
        self.next_number += 1;
    }
}

impl Places {
    fn new(kind: Kind, limit: usize, closed: Counter) -> Arc<Self> {
        let permits = Arc::new(Semaphore::new(limit));
        Arc::new(Self { kind, permits, queue: Mutex::default(), closed })
    }

    fn try_take(self: &Arc<Self>) -> Option<Place> {
        let permit = self.permits.clone().try_acquire_owned().ok()?;
        Some(self.place(permit))
    }

    async fn take_soon(self: &Arc<Self>) -> Option<Place> {
        let permit = timeout(CLOSE_TIMEOUT, self.permits.clone().acquire_owned()).await.ok()?;
        Some(self.place(permit.expect("the semaphore is never closed")))
    }

    fn place(self: &Arc<Self>, permit: OwnedSemaphorePermit) -> Place {
        let state = Arc::new(State::new());
        self.lock().push(state.clone());
        Place { state, places: self.clone(), _permit: permit }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        // The queue is complete at every point at which its code could panic.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks the connection that has waited longest for a request to close. Returns false if none
    /// waits.
    fn close_longest_waiting(&self) -> bool {
        let mut queue = self.lock();
        // Twice: an idle connection that was used since its last turn is passed over once. Bounded,
        // because the accept loop waits; the next call continues with the next turn.
        for _ in 0..MAX_TURNS.min(2 * queue.connections.len()) {
            let Some((_, state)) = queue.connections.pop_first() else { return false };
            if state.waits() {
                state.close.notify_one();
                return true;
            }
            queue.push(state);
        }
        false
    }
}

const IN_REQUEST: u8 = 1;
const USED: u8 = 2;

/// The state of one connection. The connection's own task changes it; the accept loop reads it.
pub(crate) struct State {
    /// `IN_REQUEST` from the complete head of a request to the end of its answer; `USED` from then
    /// until its next turn in the queue.
    flags: AtomicU8,
    /// True while bytes of an answer wait for the client to read.
    is_unread: AtomicBool,
    /// The time of the last answer in microseconds since `start`; 0 after
    /// [`take_answered`](Self::take_answered).
    answered_at: AtomicU64,
    start: Instant,
    /// The key in the queue; changed only under its lock.
    number: AtomicU64,
    close: Notify,
}

impl State {
    fn new() -> Self {
        Self {
            flags: AtomicU8::new(0),
            is_unread: AtomicBool::new(false),
            answered_at: AtomicU64::new(0),
            start: Instant::now(),
            number: AtomicU64::new(0),
            close: Notify::new(),
        }
    }

    pub(crate) fn begin_request(&self) {
        self.flags.store(IN_REQUEST | USED, Ordering::Relaxed);
    }

    pub(crate) fn end_request(&self) {
        self.flags.store(USED, Ordering::Relaxed);
        let micros = u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.answered_at.store(micros.max(1), Ordering::Relaxed);
    }

    pub(super) fn is_in_request(&self) -> bool {
        self.flags.load(Ordering::Relaxed) & IN_REQUEST != 0
    }

    /// Returns the time of the last answer, once, unless another request is being answered.
    pub(super) fn take_answered(&self) -> Option<Instant> {
        if self.is_in_request() {
            return None;
        }
        // Only the connection's own task writes it, so the two steps need not be one.
        let micros = self.answered_at.load(Ordering::Relaxed);
        (micros > 0).then(|| {
            self.answered_at.store(0, Ordering::Relaxed);
            self.start + Duration::from_micros(micros)
        })
    }

    pub(super) fn is_unread(&self) -> bool {
        self.is_unread.load(Ordering::Relaxed)
    }

    pub(crate) fn set_unread(&self, is_unread: bool) {
        self.is_unread.store(is_unread, Ordering::Relaxed);
    }

    /// Returns true if no request is being answered and none was since the last call.
    fn waits(&self) -> bool {
        let flags = self.flags.fetch_and(!USED, Ordering::Relaxed);
        flags == 0 && !self.is_unread()
    }

    fn is_answering(&self) -> bool {
        self.is_in_request() || self.is_unread()
    }
}

/// The place of one connection, which is free again when this value is dropped.
pub(crate) struct Place {
    state: Arc<State>,
    places: Arc<Places>,
    _permit: OwnedSemaphorePermit,
}

impl Place {
    pub(crate) fn is_reserved(&self) -> bool {
        self.places.kind == Kind::Reserved
    }

    pub(crate) fn state(&self) -> &Arc<State> {
        &self.state
    }

    /// Waits until the connection is to be closed. The caller polls the connection first: a request
    /// that arrives at the same time is answered.
    pub(crate) async fn closing(&self) {
        loop {
            self.state.close.notified().await;
            // The flags are exact here, because only the task of this connection changes them, and
            // it is in this function.
            if !self.state.is_answering() {
                self.places.closed.inc();
                return;
            }
            // A head arrived after the choice. Another connection is closed instead; this one may be
            // chosen again later.
            self.places.lock().push(self.state.clone());
            self.places.close_longest_waiting();
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut queue = self.places.lock();
        // Read under the lock, because a turn in the queue changes it. A connection that was chosen
        // is no longer in the queue, and its number is not used again.
        queue.connections.remove(&self.state.number.load(Ordering::Relaxed));
    }
}

/// The live streams of a service. They never end by themselves, so they may take only half of its
/// connections.
#[derive(Debug, Clone)]
pub struct Streams(Arc<Semaphore>);

/// The place of one stream, until it is dropped.
pub type StreamPlace = OwnedSemaphorePermit;

impl Streams {
    #[must_use]
    pub fn of_connections(limit: usize) -> Self {
        Self(Arc::new(Semaphore::new((limit / 2).max(1))))
    }

    /// Takes a place for a stream, or returns a 503.
    pub fn take(&self) -> Result<StreamPlace, super::problem::Problem> {
        let place = self.0.clone().try_acquire_owned();
        place.map_err(|_| super::problems::TOO_MANY_STREAMS.problem())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connections(limit: usize) -> Connections {
        Connections::new(limit, Counter::default())
    }

    async fn is_chosen(place: &Place) -> bool {
        timeout(Duration::ZERO, place.closing()).await.is_ok()
    }

    #[tokio::test]
    async fn the_connection_that_waits_longest_is_closed() {
        let connections = connections(3);
        let busy = connections.admit().await;
        busy.state().begin_request();
        let used = connections.admit().await;
        used.state().begin_request();
        used.state().end_request();
        let new = connections.admit().await;

        assert!(connections.regular.close_longest_waiting());
        assert!(is_chosen(&new).await, "it never sent a request");
        assert!(connections.regular.close_longest_waiting());
        assert!(is_chosen(&used).await, "it is idle");
        assert!(!connections.regular.close_longest_waiting(), "the other one is answered");
        assert!(!is_chosen(&busy).await);
    }

    #[tokio::test]
    async fn a_request_that_arrives_in_time_keeps_its_connection() {
        let connections = connections(1);
        let place = connections.admit().await;
        assert!(connections.regular.close_longest_waiting());
        place.state().begin_request();
        assert!(!is_chosen(&place).await);
        place.state().end_request();
        assert!(connections.regular.close_longest_waiting(), "it is in the queue again");
    }

    #[tokio::test]
    async fn another_connection_is_closed_instead() {
        let connections = connections(2);
        let (first, second) = (connections.admit().await, connections.admit().await);
        assert!(connections.regular.close_longest_waiting());
        first.state().begin_request();
        assert!(!is_chosen(&first).await);
        assert!(is_chosen(&second).await);
    }

    #[tokio::test]
    async fn an_answer_that_is_not_read_yet_keeps_its_connection() {
        let connections = connections(1);
        let place = connections.admit().await;
        place.state().set_unread(true);
        assert!(!connections.regular.close_longest_waiting());
    }

    #[tokio::test]
    async fn some_places_stay_free_near_the_limit() {
        let connections = connections(32);
        let mut open = Vec::new();
        for _ in 0..40 {
            open.push(connections.admit().await);
            let mut kept = Vec::new();
            for place in open {
                if !is_chosen(&place).await {
                    kept.push(place);
                }
            }
            open = kept;
        }
        assert!(open.iter().all(|place| !place.is_reserved()));
        assert_eq!(open.len(), 30, "two of 32 are free");
    }

    #[tokio::test]
    async fn beyond_the_limit_there_are_64_reserved_places() {
        let connections = connections(1);
        let first = connections.admit().await;
        first.state().begin_request();
        let mut reserved = Vec::new();
        for _ in 0..RESERVED {
            let place = connections.admit().await;
            assert!(place.is_reserved());
            place.state().begin_request();
            reserved.push(place);
        }
        assert!(timeout(Duration::from_millis(250), connections.admit()).await.is_err());
        drop(first);
        assert!(!connections.admit().await.is_reserved());
        drop(reserved);
        assert_eq!(connections.reserved.lock().connections.len(), 0);
    }

    #[test]
    fn streams_take_half_of_the_connections() {
        let streams = Streams::of_connections(4);
        let taken = [streams.take(), streams.take()];
        assert!(taken.iter().all(Result::is_ok));
        assert_eq!(streams.take().unwrap_err().status, 503);
        drop(taken);
        assert!(streams.take().is_ok());
        assert!(Streams::of_connections(1).take().is_ok());
    }
}
