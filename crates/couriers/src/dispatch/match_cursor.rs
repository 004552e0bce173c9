//! The places in the two queues at which a match begins to look.

use time::{OffsetDateTime, macros::datetime};

/// A place in the queue of waiting orders, which is sorted by `waiting_since`, and one in the queue
/// of available couriers, which is sorted by `deliveries`.
///
/// An entry that left a queue leaves a dead index entry behind. The database therefore keeps a
/// cursor before which no live entry is, and a match begins there. The code that adds an entry
/// passes its place to the next match, which moves the cursor back if necessary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MatchCursor {
    pub waiting_since: OffsetDateTime,
    pub deliveries: i64,
}

impl MatchCursor {
    /// Before all entries: the next match looks at the whole of both queues.
    pub const START: Self = Self { waiting_since: OffsetDateTime::UNIX_EPOCH, deliveries: 0 };
    /// Behind all entries: no entry is new.
    pub const END: Self =
        Self { waiting_since: datetime!(9999-01-01 0:00 UTC), deliveries: i64::MAX };

    /// Returns the earlier place in each queue.
    #[must_use]
    pub fn earlier(self, other: Self) -> Self {
        Self {
            waiting_since: self.waiting_since.min(other.waiting_since),
            deliveries: self.deliveries.min(other.deliveries),
        }
    }
}
