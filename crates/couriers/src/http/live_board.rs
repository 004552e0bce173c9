//! The live board: while there are watchers, the newest state of the whole service, read from the
//! database once for all of them. Watchers are sent its figures; a request for the board with those
//! figures does not read the database again.
//!
//! The board shows changes by this replica at once, and changes by other replicas within a second.

use std::{sync::Arc, time::Duration};

use sqlx::PgPool;
use time::OffsetDateTime;
use tokio::{
    sync::{Mutex, Notify, watch},
    time::{Instant, MissedTickBehavior},
};
use tokio_util::sync::CancellationToken;

use super::view::FiguresView;
use crate::read::{self, Board};

/// The longest time between two reads while there are watchers.
const REFRESH_INTERVAL: Duration = Duration::from_secs(1);
/// The shortest time between two reads by [`LiveBoard::keep`].
const MIN_INTERVAL: Duration = Duration::from_millis(250);

/// The most cards of a kind on the board.
const MAX_CARDS: i64 = 200;

/// The newest board. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct LiveBoard {
    newest: watch::Sender<Option<Newest>>,
    changed: Arc<Notify>,
    /// The time at which the newest board was asked for; locked while the database is read, so that
    /// it is read once for all who wait.
    asked_at: Arc<Mutex<Option<Instant>>>,
}

#[derive(Debug, Clone)]
struct Newest {
    board: Arc<Board>,
    /// Its figures, as JSON.
    figures: Arc<str>,
}

impl LiveBoard {
    pub(crate) fn new() -> Self {
        Self { newest: watch::Sender::new(None), changed: Arc::default(), asked_at: Arc::default() }
    }

    /// Notes that something on the board has changed.
    pub(crate) fn changed(&self) {
        self.changed.notify_one();
    }

    /// Returns the kept board, if it is of `at` or later; else reads a new one.
    pub(crate) async fn show(
        &self,
        pool: &PgPool,
        at: Option<OffsetDateTime>,
    ) -> Result<Arc<Board>, sqlx::Error> {
        let newest = self.newest.borrow().as_ref().map(|newest| newest.board.clone());
        match (newest, at) {
            (Some(board), Some(at)) if at <= board.at => Ok(board),
            _ => self.ask(pool).await,
        }
    }

    /// Reads the board.
    async fn ask(&self, pool: &PgPool) -> Result<Arc<Board>, sqlx::Error> {
        let came_at = Instant::now();
        let mut asked_at = self.asked_at.lock().await;
        // The board was read while this call waited for the lock, and the read began after the call:
        // that board shows everything that the caller knew of.
        let newest = self.newest.borrow().as_ref().map(|newest| newest.board.clone());
        if let Some(board) = newest
            && asked_at.is_some_and(|asked_at| came_at <= asked_at)
        {
            return Ok(board);
        }
        let now = Instant::now();
        let board = Arc::new(read::board(pool, MAX_CARDS).await?);
        *asked_at = Some(now);
        let figures = serde_json::to_string(&FiguresView::of(&board))
            .expect("a board has string keys and finite numbers");
        self.newest.send_replace(Some(Newest { board: board.clone(), figures: figures.into() }));
        Ok(board)
    }

    /// Keeps the board fresh until the watcher is dropped.
    pub(crate) fn watch(&self) -> Watcher {
        let mut newest = self.newest.subscribe();
        newest.mark_unchanged();
        self.changed();
        Watcher(newest)
    }

    /// Keeps the board fresh until `shutdown`, as long as there are watchers.
    pub(crate) async fn keep(self, pool: PgPool, shutdown: CancellationToken) {
        let mut refresh = tokio::time::interval(REFRESH_INTERVAL);
        refresh.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut asked_at: Option<Instant> = None;
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = self.changed.notified() => {}
                _ = refresh.tick() => {}
            }
            if self.newest.receiver_count() == 0 {
                continue;
            }
            if let Some(asked_at) = asked_at {
                tokio::select! {
                    () = shutdown.cancelled() => return,
                    () = tokio::time::sleep_until(asked_at + MIN_INTERVAL) => {}
                }
            }
            asked_at = Some(Instant::now());
            // Watchers see the age of the board, and dispatch logs the failure.
            if let Err(error) = self.ask(&pool).await {
                tracing::debug!("asking for the board: {error}");
            }
        }
    }
}

pub(crate) struct Watcher(watch::Receiver<Option<Newest>>);

impl Watcher {
    /// Waits for the figures of the next board, and skips older ones that came meanwhile.
    pub(crate) async fn next(&mut self) -> Option<Arc<str>> {
        loop {
            self.0.changed().await.ok()?;
            if let Some(newest) = self.0.borrow_and_update().as_ref() {
                return Some(newest.figures.clone());
            }
        }
    }
}
