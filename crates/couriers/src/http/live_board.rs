//! The live board: while there are watchers, one task reads the board from the database for all of
//! them. Watchers receive its figures. A request for the board of those figures is answered from
//! memory and does not read the database again.
//!
//! The board shows changes by this replica within [`MIN_INTERVAL`], and changes by other replicas
//! within [`REFRESH_INTERVAL`]. It is only a copy for display: no decision depends on it.

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

/// The number of rows at the start of each list that all readers share. Further rows are read for the
/// reader who asks for them.
pub(crate) const FIRST_ROWS: i64 = 50;

/// The newest board. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct LiveBoard {
    newest: watch::Sender<Option<Newest>>,
    changed: Arc<Notify>,
    /// The time at which the read of the newest board began. The lock is held during a read, so
    /// that concurrent calls share one read.
    read_began_at: Arc<Mutex<Option<Instant>>>,
}

#[derive(Debug, Clone)]
struct Newest {
    board: Arc<Board>,
    /// Its figures, as JSON.
    figures: Arc<str>,
}

impl LiveBoard {
    pub(crate) fn new() -> Self {
        Self {
            newest: watch::Sender::new(None),
            changed: Arc::default(),
            read_began_at: Arc::default(),
        }
    }

    /// Notes that something on the board has changed.
    pub(crate) fn changed(&self) {
        // A call during a read leaves a permit, so another read follows it.
        self.changed.notify_one();
    }

    /// Returns the newest board in memory if it is of `at` or later. Otherwise reads a new one.
    pub(crate) async fn show(
        &self,
        pool: &PgPool,
        at: Option<OffsetDateTime>,
    ) -> Result<Arc<Board>, sqlx::Error> {
        let newest = self.newest.borrow().as_ref().map(|newest| newest.board.clone());
        match (newest, at) {
            (Some(board), Some(at)) if at <= board.at => Ok(board),
            _ => self.read(pool).await,
        }
    }

    /// Reads the board from the database, or returns the board of a read that began after this call.
    async fn read(&self, pool: &PgPool) -> Result<Arc<Board>, sqlx::Error> {
        let called_at = Instant::now();
        let mut read_began_at = self.read_began_at.lock().await;
        // Another call read the board while this one waited for the lock. If that read began after
        // this call, its board contains every change that was committed before this call.
        let newest = self.newest.borrow().as_ref().map(|newest| newest.board.clone());
        if let Some(board) = newest
            && read_began_at.is_some_and(|began_at| called_at <= began_at)
        {
            return Ok(board);
        }
        let now = Instant::now();
        let mut board = read::board(pool, FIRST_ROWS).await?;
        if let Some(before) = self.newest.borrow().as_ref().map(|newest| &newest.board)
            && board.is_same(before)
        {
            // A reader who has that board need not ask for this one.
            board.changed_at = before.changed_at;
        }
        let board = Arc::new(board);
        // Only after a success: after an error the next call in the line reads by itself.
        *read_began_at = Some(now);
        let figures = serde_json::to_string(&FiguresView::of(&board))
            .expect("a board has string keys and finite numbers");
        self.newest.send_replace(Some(Newest { board: board.clone(), figures: figures.into() }));
        Ok(board)
    }

    /// Returns a watcher. The board is refreshed until the last watcher is dropped.
    pub(crate) fn watch(&self) -> Watcher {
        let mut newest = self.newest.subscribe();
        // The board in memory may be old, from the time of an earlier watcher. The first event is
        // the next board. The notification comes after the subscription, because `keep` ignores it
        // while there are no receivers.
        newest.mark_unchanged();
        self.changed();
        Watcher(newest)
    }

    /// Refreshes the board while there are watchers, until `shutdown`.
    pub(crate) async fn keep(self, pool: PgPool, shutdown: CancellationToken) {
        let mut refresh = tokio::time::interval(REFRESH_INTERVAL);
        refresh.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut refreshed_at: Option<Instant> = None;
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = self.changed.notified() => {}
                _ = refresh.tick() => {}
            }
            if self.newest.receiver_count() == 0 {
                continue;
            }
            // The read comes after the pause, so it contains all changes during the pause.
            if let Some(refreshed_at) = refreshed_at {
                tokio::select! {
                    () = shutdown.cancelled() => return,
                    () = tokio::time::sleep_until(refreshed_at + MIN_INTERVAL) => {}
                }
            }
            refreshed_at = Some(Instant::now());
            // Only at `debug`: watchers see the age of the board, and dispatch logs that PostgreSQL
            // is unreachable.
            if let Err(error) = self.read(&pool).await {
                tracing::debug!("reading the board: {error}");
            }
        }
    }
}

/// A receiver of the board's figures. The board is refreshed while there is at least one.
pub(crate) struct Watcher(watch::Receiver<Option<Newest>>);

impl Watcher {
    /// Waits for the next board and returns its figures. A slow watcher receives only the newest
    /// board.
    pub(crate) async fn next(&mut self) -> Option<Arc<str>> {
        loop {
            self.0.changed().await.ok()?;
            if let Some(newest) = self.0.borrow_and_update().as_ref() {
                return Some(newest.figures.clone());
            }
        }
    }
}
