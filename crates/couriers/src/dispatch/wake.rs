//! The signal that a match may be possible.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

use crate::dispatch::MatchCursor;

/// A handle that wakes dispatch; clones wake the same loop. Call it after each commit that could
/// make a match possible, and after each transaction that locked a waiting order or a courier, also
/// after a rollback: a match may have skipped the locked row.
#[derive(Debug, Clone)]
pub struct Wake(Arc<Pending>);

#[derive(Debug)]
struct Pending {
    notify: Notify,
    /// The earliest cursor of all wake-ups since the last match began.
    cursor: Mutex<MatchCursor>,
}

impl Default for Wake {
    fn default() -> Self {
        Self(Arc::new(Pending { notify: Notify::new(), cursor: Mutex::new(MatchCursor::END) }))
    }
}

impl Wake {
    /// Requests a match; new entries of the queues are at `cursor` or after it.
    pub fn wake(&self, cursor: MatchCursor) {
        // The cursor is written by one assignment, so it is whole even if a thread panicked while
        // it held the lock.
        let mut pending = self.0.cursor.lock().unwrap_or_else(PoisonError::into_inner);
        *pending = pending.earlier(cursor);
        // Never lost: `notify_one` stores a permit if dispatch does not wait now, so the next
        // `woken` returns at once. The cursor is merged before, and under the lock, so the
        // notification never arrives without it.
        self.0.notify.notify_one();
    }

    /// Waits for a wake-up, and takes the cursor of all wake-ups so far.
    pub(super) async fn woken(&self) -> MatchCursor {
        self.0.notify.notified().await;
        // A wake-up between these two lines adds its cursor to this match and leaves a permit for
        // another match, which then finds nothing new: harmless. There is no await after
        // `notified`, so a cancelled call cannot take the permit without returning the cursor.
        let mut pending = self.0.cursor.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *pending, MatchCursor::END)
    }
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    #[tokio::test]
    async fn wake_ups_are_merged_to_the_earliest_cursor() {
        let wake = Wake::default();
        let (early, late) = (datetime!(2026-01-01 0:00 UTC), datetime!(2026-01-02 0:00 UTC));

        wake.wake(MatchCursor { waiting_since: late, deliveries: 3 });
        wake.wake(MatchCursor { waiting_since: early, deliveries: 7 });

        assert_eq!(wake.woken().await, MatchCursor { waiting_since: early, deliveries: 3 });
        wake.wake(MatchCursor::END);
        assert_eq!(wake.woken().await, MatchCursor::END);
    }
}
