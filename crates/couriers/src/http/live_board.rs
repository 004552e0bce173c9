//! The live board: while anybody watches, the newest state of the whole service, asked of the
//! database once for all watchers. They are sent its figures; who wants to see more asks for the
//! board that these are of, and costs the database nothing.
//!
//! What this replica does shows at once; what other replicas do, within a second.

use std::{sync::Arc, time::Duration};

use sqlx::PgPool;
use time::OffsetDateTime;
use tokio::{
    sync::{Mutex, Notify, watch},
    time::{Instant, MissedTickBehavior},
};
use tokio_util::sync::CancellationToken;

use crate::{
    http::FiguresView,
    read::{self, Board},
};

/// How often the database is asked though nothing is known to have changed.
const REFRESH: Duration = Duration::from_secs(1);
/// However much happens, the board is not asked for more often.
const AT_MOST_EVERY: Duration = Duration::from_millis(250);

/// The most cards of a kind on the board.
const ROWS: i64 = 200;

/// Where watchers find the newest board. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct LiveBoard {
    newest: watch::Sender<Option<Newest>>,
    changed: Arc<Notify>,
    /// When the newest board was asked for; locked while another one is.
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

    /// Something that the board shows has changed.
    pub(crate) fn changed(&self) {
        self.changed.notify_one();
    }

    /// The board as it was at `at` or later, if it is at hand; else, and without `at`, as it is now.
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

    /// Asks the database, one question at a time: whoever waited for it while it was asked and
    /// answered has what he came for.
    async fn ask(&self, pool: &PgPool) -> Result<Arc<Board>, sqlx::Error> {
        let came_at = Instant::now();
        let mut asked_at = self.asked_at.lock().await;
        let newest = self.newest.borrow().as_ref().map(|newest| newest.board.clone());
        if let Some(board) = newest
            && asked_at.is_some_and(|asked_at| came_at <= asked_at)
        {
            return Ok(board);
        }
        let now = Instant::now();
        let board = Arc::new(read::board(pool, ROWS).await?);
        *asked_at = Some(now);
        let figures = serde_json::to_string(&FiguresView::of(&board))
            .expect("a board has string keys and finite numbers");
        self.newest.send_replace(Some(Newest { board: board.clone(), figures: figures.into() }));
        Ok(board)
    }

    /// From now on the board is kept fresh, until the watcher is dropped.
    pub(crate) fn watch(&self) -> Watcher {
        let mut newest = self.newest.subscribe();
        newest.mark_unchanged();
        self.changed();
        Watcher(newest)
    }

    /// Keeps the board fresh until `shutdown`, as long as there are watchers.
    pub(crate) async fn keep(self, pool: PgPool, shutdown: CancellationToken) {
        let mut refresh = tokio::time::interval(REFRESH);
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
                    () = tokio::time::sleep_until(asked_at + AT_MOST_EVERY) => {}
                }
            }
            asked_at = Some(Instant::now());
            // Watchers see by its age that the board is old; dispatch tells the log.
            if let Err(error) = self.ask(&pool).await {
                tracing::debug!("asking for the board: {error}");
            }
        }
    }
}

/// Somebody who watches.
pub(crate) struct Watcher(watch::Receiver<Option<Newest>>);

impl Watcher {
    /// Waits for the next board's figures; those that came meanwhile are skipped but for the newest.
    pub(crate) async fn next(&mut self) -> Option<Arc<str>> {
        loop {
            self.0.changed().await.ok()?;
            if let Some(newest) = self.0.borrow_and_update().as_ref() {
                return Some(newest.figures.clone());
            }
        }
    }
}
