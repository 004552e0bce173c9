//! The live board: while anybody watches, the newest figures of the whole service, asked of the
//! database once for all watchers. Who wants to see more than figures asks for it when they come.
//!
//! What this replica does shows at once; what other replicas do, within a second.

use std::{sync::Arc, time::Duration};

use sqlx::PgPool;
use tokio::{
    sync::{Notify, watch},
    time::{Instant, MissedTickBehavior},
};
use tokio_util::sync::CancellationToken;

use crate::{http::FiguresView, statistics};

/// How often the database is asked though nothing is known to have changed.
const REFRESH: Duration = Duration::from_secs(1);
/// However much happens, the board is not asked for more often.
const AT_MOST_EVERY: Duration = Duration::from_millis(250);

/// Where watchers find the newest figures, as JSON. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct LiveBoard {
    newest: watch::Sender<Option<Arc<str>>>,
    changed: Arc<Notify>,
}

impl LiveBoard {
    pub(crate) fn new() -> Self {
        Self { newest: watch::Sender::new(None), changed: Arc::default() }
    }

    /// Something that the board shows has changed.
    pub(crate) fn changed(&self) {
        self.changed.notify_one();
    }

    /// From now on the board is kept fresh, until the watcher is dropped.
    pub(crate) fn watch(&self) -> Watcher {
        let mut newest = self.newest.subscribe();
        newest.mark_unchanged();
        self.changed();
        Watcher(newest)
    }

    /// Keeps the board fresh until `shutdown`, as long as there are watchers.
    pub(crate) async fn keep(&self, pool: &PgPool, shutdown: CancellationToken) {
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
            match statistics::board(pool, 0).await {
                Ok(board) => {
                    let json = serde_json::to_string(&FiguresView::of(&board))
                        .expect("a board has string keys and finite numbers");
                    self.newest.send_replace(Some(json.into()));
                }
                // Watchers see by its age that the board is old; dispatch tells the log.
                Err(error) => tracing::debug!("asking for the board: {error}"),
            }
        }
    }
}

/// Somebody who watches.
pub(crate) struct Watcher(watch::Receiver<Option<Arc<str>>>);

impl Watcher {
    /// Waits for the next board; those that came meanwhile are skipped but for the newest.
    pub(crate) async fn next(&mut self) -> Option<Arc<str>> {
        loop {
            self.0.changed().await.ok()?;
            if let Some(board) = self.0.borrow_and_update().clone() {
                return Some(board);
            }
        }
    }
}
