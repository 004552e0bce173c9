//! Failpoints: named points at which a test makes the process fail, and guards that a test turns
//! off.
//!
//! They exist only with the feature `failpoints`, which the tests and the chaos runner enable;
//! without it, every function here is empty. Three environment variables control them:
//!
//! - `WAYBILL_FAILPOINTS`: actions by name, such as `before-commit=5%kill;send=20%3*error`. An
//!   action is `[P%][N*]kind[(milliseconds)][@K]`: with a probability of P percent, at most N times,
//!   and only after K other hits. The kinds are `kill` (SIGKILL: no destructor runs, and nothing is
//!   flushed), `delay(milliseconds)`, `hold`, `error` (at the points in [`RETURN_ERRORS`]), `panic`,
//!   and, for a guard, `skip`. If a name has several actions, the first one that fires is performed.
//! - `WAYBILL_FAILPOINT_LOG`: a file. Before an action is performed, a line with the milliseconds
//!   since 1970, the process id, the name and the kind is appended to it. A guard is evaluated for
//!   each record, so only its first skip is logged.
//! - `WAYBILL_FAILPOINT_HOLD`: a file. `hold` waits while it exists.

#[cfg(feature = "failpoints")]
mod plan;

/// The points and their places.
pub const NAMES: &[(&str, &str)] = &[
    // The start and the end of a service, and rebalances.
    ("before-listening", "the configuration is valid, and the port is not bound yet"),
    ("topics-checked", "the topics exist, and nothing is consumed yet"),
    ("warm-up", "ten orders are loaded into the cache"),
    ("assign", "partitions are assigned, and their committed offsets are not read yet"),
    ("revoke", "partitions are revoked, and their batches are not finished yet"),
    ("drain", "the lanes have ended, and the stored offsets are not committed yet"),
    // The steps of every batch.
    ("parse", "a record is taken from Kafka, and not parsed yet"),
    ("begin", "a batch has a connection, and its transaction has not begun yet"),
    ("before-commit", "the rows of a batch are written and not committed"),
    ("after-commit", "a batch is committed, and the caller does not know it yet"),
    ("split", "the database refused a batch, which is split"),
    ("before-rejecting", "the rest of a split batch is committed, and its rejections are not"),
    ("between-sends", "the next record of a group is not sent yet"),
    ("send", "a record is about to join the queue of the client, which may refuse it"),
    ("after-publish", "the events and dead letters of a batch are acknowledged"),
    ("store-offsets", "a batch is settled, and its offsets are not stored yet"),
    // The order service.
    ("cache-update", "orders are committed, and not in the cache yet"),
    ("before-publish", "orders are committed and cached, and no event is sent yet"),
    ("status-recorded", "status events are committed, and not settled yet"),
    ("tail-read", "an event of this installation is read, and the cache not changed yet"),
    ("redis-write", "orders are about to be written to Redis"),
    ("order-posted", "posted orders are on Kafka, and not answered yet"),
    ("before-replay", "a rejected record is about to be sent again"),
    ("after-replay", "a rejected record is sent again, and the call not answered yet"),
    // The courier service.
    ("before-wake", "status events are committed, and dispatch is not woken yet"),
    ("match", "orders are matched, and not committed yet"),
    ("matched", "a match is committed, and not counted yet"),
    ("release", "overdue deliveries are released, and not committed yet"),
    ("outbox-read", "entries of the log are read, and their events are not sent yet"),
    ("outbox-sent", "delivery events are acknowledged, and not deleted from the outbox yet"),
    ("outbox-deleted", "sent entries are deleted from the outbox, and not committed yet"),
    ("assign-manually", "an order is assigned manually, and not committed yet"),
    ("unassign", "an order is taken from its courier manually, and not committed yet"),
];

/// The points whose step can return an error. It is treated as a transient error.
pub const RETURN_ERRORS: &[&str] = &[
    "warm-up",
    "begin",
    "before-commit",
    "after-commit",
    "send",
    "redis-write",
    "match",
    "release",
    "outbox-deleted",
    "assign-manually",
    "unassign",
];

/// The points at which a panic makes a rejection of a valid record, as any panic in these steps
/// does. After a panic at another point, the process ends, or the step is repeated.
pub const PANIC_REJECTS: &[&str] = &["parse", "begin", "before-commit", "after-commit"];

/// The guards, and the faults that follow when they are skipped.
pub const GUARDS: &[(&str, &str)] = &[
    ("guard.greater-position", "of the records of an order in a batch, the earliest one wins"),
    ("guard.commit-before-offsets", "offsets are stored before their batch is committed"),
    ("guard.publish-before-offsets", "offsets are stored before the events are published"),
    ("guard.resend-refused", "records that Kafka refuses are not sent again"),
    ("guard.transient-retried", "a transient error of the database refuses the records"),
    ("guard.both-halves", "the second half of a split batch is forgotten"),
    ("guard.rejected-stored", "rejected records are not stored"),
    ("guard.dead-letter-sent", "rejected records have no dead letters"),
    ("guard.updated-published", "replaced orders have no `updated` event"),
    ("guard.evict-on-update", "an `updated` event changes nothing in the cache"),
    ("guard.minimum-version", "an eviction leaves no minimum version"),
    ("guard.highest-status", "of the events of an order in a batch, the last one wins"),
    ("guard.cancelled-applied", "cancellations are ignored"),
    ("guard.completed-frees", "a completed order keeps its courier"),
    ("guard.releases-while-behind", "deliveries are released while intake is behind"),
];

/// The error that a failpoint returns.
#[derive(Debug, thiserror::Error)]
#[error("the failpoint {0} returned an error")]
pub struct Injected(&'static str);

/// The interval at which `hold` looks for its file.
#[cfg(feature = "failpoints")]
const HOLD_INTERVAL: std::time::Duration = std::time::Duration::from_millis(20);

/// A point in code that does not wait and cannot fail. A delay blocks the thread.
#[inline]
pub fn point(name: &'static str) {
    // The plan accepts `error` only for the points of `RETURN_ERRORS`.
    let _ = try_point(name);
}

/// A point in code that does not wait, and whose caller handles a transient error. A delay blocks the
/// thread.
#[inline]
pub fn try_point(name: &'static str) -> Result<(), Injected> {
    #[cfg(feature = "failpoints")]
    match plan::fire(name) {
        Some(plan::Action::Delay(pause)) => std::thread::sleep(*pause),
        Some(plan::Action::Hold) => {
            while plan::is_held() {
                std::thread::sleep(HOLD_INTERVAL);
            }
        }
        Some(plan::Action::Error) => return Err(Injected(name)),
        _ => {}
    }
    #[cfg(not(feature = "failpoints"))]
    let _ = name;
    Ok(())
}

/// A point in asynchronous code that cannot fail.
#[inline]
pub async fn async_point(name: &'static str) {
    // The plan accepts `error` only for the points of `RETURN_ERRORS`.
    let _ = try_async_point(name).await;
}

/// A point in asynchronous code whose caller handles a transient error.
#[inline]
pub async fn try_async_point(name: &'static str) -> Result<(), Injected> {
    #[cfg(feature = "failpoints")]
    match plan::fire(name) {
        Some(plan::Action::Delay(pause)) => tokio::time::sleep(*pause).await,
        Some(plan::Action::Hold) => {
            while plan::is_held() {
                tokio::time::sleep(HOLD_INTERVAL).await;
            }
        }
        Some(plan::Action::Error) => return Err(Injected(name)),
        _ => {}
    }
    #[cfg(not(feature = "failpoints"))]
    let _ = name;
    Ok(())
}

/// Returns true if a guard is turned off.
#[inline]
#[must_use]
pub fn is_skipped(guard: &'static str) -> bool {
    #[cfg(feature = "failpoints")]
    return matches!(plan::fire(guard), Some(plan::Action::Skip));
    #[cfg(not(feature = "failpoints"))]
    {
        let _ = guard;
        false
    }
}
