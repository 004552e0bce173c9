//! Releases: notes the deliveries whose deadline has passed, and frees the couriers of those that are
//! overdue longer than the grace period.
//!
//! The note is only an entry of the log, so it does not wait. A release does: a delivery seems
//! overdue if its `completed` is on Kafka and not read yet, for example after an
//! outage. So nothing is released while intake is behind. Intake is the work of the whole consumer
//! group, so the partitions of other replicas count too:
//!
//! ```text
//! nothing due ─due─▶ record the time T, then the ends ─▶ held back ─ends committed─▶ release
//!      ▲                                                                                 │
//!      └───────────── only deliveries that were due before T are released ◀──────────────┘
//! ```
//!
//! Each replica sweeps. The requests to Kafka are slow if Kafka is unreachable; matching does not
//! wait for them, because this is a loop of its own.

use std::{fmt::Display, time::Duration};

use anyhow::ensure;
use chassis::{
    kafka::{backlog::Backlog, topic_scan::Ends},
    postgres::{time_limit::BACKGROUND, transaction::change},
    process::failpoint,
};
use sqlx::PgPool;
use time::OffsetDateTime;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{
    DispatchMetrics, MATCH_ROWS, MatchCursor, Policy, Wake, interval,
    metrics::HeldBack,
    statements::{count_due, mark_overdue, release_overdue, requeue},
};
use crate::delivery::ReleasedOrders;

/// The time for which releases are held back before this is logged.
const LOG_AFTER: Duration = Duration::from_secs(60);

/// Sweeps until `shutdown`, and wakes dispatch when couriers are freed. Errors are retried without
/// limit, at the next sweep.
pub async fn run_releases(
    pool: &PgPool,
    policy: Policy,
    backlog: &Backlog,
    wake: &Wake,
    metrics: &DispatchMetrics,
    shutdown: CancellationToken,
) {
    let mut sweeps = interval(policy.sweep);
    let mut releases = Releases { pool, policy, backlog, wake, metrics, recorded: None };
    let mut delay = Delay::default();
    loop {
        if shutdown.run_until_cancelled(sweeps.tick()).await.is_none() {
            return;
        }
        if let Err(error) = releases.mark().await {
            delay.note(&error, Instant::now());
            continue;
        }
        // `find` changes no rows, so the shutdown may cancel it at any await.
        let Some(found) = shutdown.run_until_cancelled(releases.find()).await else { return };
        // Not cancelled: a release that has begun runs to its end.
        let outcome = match found {
            Ok(Finding::Due(before)) => releases.release(before).await.map_err(anyhow::Error::from),
            Ok(Finding::Nothing) => Ok(()),
            Err(error) => Err(error),
        };
        match outcome {
            Ok(()) => delay.end(),
            Err(error) => delay.note(error.root_cause(), Instant::now()),
        }
    }
}

/// The result of a sweep that releases nothing yet.
enum Finding {
    Nothing,
    /// All deliveries that were due before this time may be released.
    Due(OffsetDateTime),
}

struct Releases<'a> {
    pool: &'a PgPool,
    policy: Policy,
    backlog: &'a Backlog,
    wake: &'a Wake,
    metrics: &'a DispatchMetrics,
    recorded: Option<Recorded>,
}

/// The ends of the topic, read after the time `at`.
struct Recorded {
    at: OffsetDateTime,
    ends: Ends,
}

impl Releases<'_> {
    /// Notes the deliveries whose deadline has passed.
    async fn mark(&self) -> Result<(), sqlx::Error> {
        while change(self.pool, BACKGROUND, async |connection| mark_overdue(connection).await)
            .await?
            == MATCH_ROWS
        {}
        Ok(())
    }

    /// Finds what may be released. Returns an error if releases are held back.
    async fn find(&mut self) -> anyhow::Result<Finding> {
        let due = count_due(self.pool, self.policy.grace).await?;
        // Set before the requests to Kafka, so that it is right while they wait or fail.
        self.metrics.held_back.set(due.deliveries);
        if due.deliveries == 0 {
            self.metrics.hold_back(None);
            self.recorded = None;
            return Ok(Finding::Nothing);
        }
        // The time is read before the ends. So every event that was sent before it is before the
        // ends, and is applied when the committed offsets reach them: offsets are committed after
        // the events are. Once recorded, the ends stay the same until they are reached; newer ones
        // might never be, while events arrive all the time.
        let metrics = self.metrics;
        let unreachable = |_: &anyhow::Error| metrics.hold_back(Some(HeldBack::KafkaUnreachable));
        let recorded = match self.recorded.take() {
            Some(recorded) => recorded,
            None => {
                Recorded { at: due.at, ends: self.backlog.ends().await.inspect_err(unreachable)? }
            }
        };
        let Recorded { at, ends } = self.recorded.insert(recorded);
        let unread = self.backlog.unread(ends).await.inspect_err(unreachable)?;
        let partitions: Vec<_> = unread.keys().collect();
        let is_ignored = failpoint::is_skipped("guard.releases-while-behind");
        self.metrics.hold_back((!unread.is_empty()).then_some(HeldBack::IntakeBehind));
        ensure!(
            unread.is_empty() || is_ignored,
            "events of the partitions {partitions:?} are not read yet"
        );
        let due_before = *at;
        self.recorded = None;
        Ok(Finding::Due(due_before))
    }

    async fn release(&self, due_before: OffsetDateTime) -> Result<(), sqlx::Error> {
        // One transaction per `MATCH_ROWS` deliveries, so that no transaction holds its locks for
        // long.
        loop {
            let grace = self.policy.grace;
            let released = change(self.pool, BACKGROUND, async |connection| {
                let released = release_overdue(connection, grace, due_before).await?;
                if self.policy.released == ReleasedOrders::Requeue && !released.is_empty() {
                    requeue(connection, &released).await?;
                }
                failpoint::try_async_point("release").await?;
                Ok::<_, sqlx::Error>(released)
            })
            .await?;
            // Counted and logged after the commit, because a rollback releases nothing.
            self.metrics.released.inc_by(released.len() as u64);
            for delivery in &released {
                tracing::info!(
                    order.id = delivery.order_id,
                    courier.id = delivery.courier_id,
                    "released an overdue delivery and freed its courier"
                );
            }
            // From the start, because the freed couriers may be anywhere in their queue.
            if !released.is_empty() {
                self.wake.wake(MatchCursor::START);
            }
            // Fewer than the limit: the rest is locked by other transactions, or nothing is left.
            // The next sweep releases the rest.
            if released.len() < MATCH_ROWS {
                break;
            }
        }
        self.metrics.held_back.set(0);
        Ok(())
    }
}

/// The time for which releases have been held back without a pause.
#[derive(Debug, Default)]
struct Delay {
    since: Option<Instant>,
    is_logged: bool,
}

impl Delay {
    /// Notes that a sweep held releases back, or failed. Logs the reason once, after a minute.
    fn note(&mut self, reason: impl Display, now: Instant) {
        let since = *self.since.get_or_insert(now);
        if !self.is_logged && now.duration_since(since) >= LOG_AFTER {
            tracing::warn!("overdue deliveries have not been released for a minute: {reason}");
            self.is_logged = true;
        }
    }

    fn end(&mut self) {
        if self.is_logged {
            tracing::info!("overdue deliveries are released again");
        }
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delay_is_logged_once_and_only_after_a_minute() {
        let mut delay = Delay::default();
        let begin = Instant::now();

        delay.note("behind", begin);
        delay.note("behind", begin + LOG_AFTER / 2);
        assert!(!delay.is_logged);
        delay.note("behind", begin + LOG_AFTER);
        assert!(delay.is_logged);

        delay.end();
        delay.note("behind", begin + LOG_AFTER * 2);
        assert!(!delay.is_logged, "the minute begins again");
    }
}
