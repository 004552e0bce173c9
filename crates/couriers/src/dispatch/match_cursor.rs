//! The match cursor: the places in the two queues at which a match begins to search.
//!
//! It saves time and decides nothing: a match from an earlier place finds the same pairs.

use time::{OffsetDateTime, macros::datetime};

/// A place in the queue of waiting orders, which is sorted by `waiting_since`, and one in the queue
/// of available couriers, which is sorted by `deliveries`.
///
/// When an entry leaves a queue, its index entry stays until a vacuum removes it. To skip these
/// dead entries, the database stores a cursor; no live entry is before it, and a match begins
/// there. The code that adds an entry passes the place of that entry to the next match, which moves
/// the stored cursor back if necessary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MatchCursor {
    pub waiting_since: OffsetDateTime,
    pub deliveries: i64,
}

impl MatchCursor {
    /// Before all entries: the next match searches both queues completely.
    pub const START: Self = Self { waiting_since: OffsetDateTime::UNIX_EPOCH, deliveries: 0 };
    /// After all entries: the caller has added none, and the stored cursor stays where it is.
    pub const END: Self =
        Self { waiting_since: datetime!(9999-01-01 0:00 UTC), deliveries: i64::MAX };

    /// Returns the earlier place in each queue.
    // The minimum per queue is before every entry that either of the two announces. A cursor that
    // is too early only costs time; a cursor that is too late would miss an entry.
    #[must_use]
    pub fn earlier(self, other: Self) -> Self {
        Self {
            waiting_since: self.waiting_since.min(other.waiting_since),
            deliveries: self.deliveries.min(other.deliveries),
        }
    }
}
