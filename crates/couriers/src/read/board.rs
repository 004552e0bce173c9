//! The content of the board, read in one snapshot: the figures, and the first rows of each list.

use chassis::postgres::{read::snapshot, time_limit::LIST};
use sqlx::PgPool;
use time::OffsetDateTime;

use super::{
    figures::{CourierCounts, Statistics, count_couriers, statistics},
    queue::queue,
    rows::{List, Rows, Window, read_rows},
};
use crate::delivery::WaitReason;

/// The content of the board: all of it is from one snapshot of the database.
#[derive(Debug, Clone, PartialEq)]
pub struct Board {
    /// The time at which the transaction of the snapshot began, by the database's clock.
    pub at: OffsetDateTime,
    /// The time of the first snapshot since which nothing on the board has changed.
    pub changed_at: OffsetDateTime,
    pub counts: CourierCounts,
    pub statistics: Statistics,
    pub queue: QueueCounts,
    /// The first rows of each list, in the sequence of [`List::ALL`]; those of `Overdue` are the first
    /// ones of `Road`.
    first: Vec<(List, Rows)>,
}

/// The numbers of orders without a courier, and the reason why the waiting ones have none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueCounts {
    pub waiting: i64,
    pub held: i64,
    pub released: i64,
    /// The time from which the first order waits.
    pub oldest: Option<OffsetDateTime>,
    pub reason: Option<WaitReason>,
}

impl Board {
    /// Returns the first rows of a list.
    #[must_use]
    pub fn rows(&self, list: List) -> Rows {
        let stored = if list == List::Overdue { List::Road } else { list };
        let found = self.first.iter().find(|(one, _)| *one == stored);
        let mut rows = found.map(|(_, rows)| rows.clone()).expect("the board has each list");
        if list == List::Overdue {
            // Active deliveries are sorted by their deadline, so these are the first ones of them.
            let all = rows.orders.len();
            rows.orders.retain(|row| {
                row.carried.as_ref().is_some_and(|carried| carried.deadline < self.at)
            });
            rows.has_next &= rows.orders.len() == all;
        }
        rows
    }

    /// Returns true if both show the same, at different times.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        (&self.counts, &self.statistics, &self.queue, &self.first)
            == (&other.counts, &other.statistics, &other.queue, &other.first)
    }
}

/// Returns the board with the first `rows` rows of each list.
pub async fn board(pool: &PgPool, rows: i64) -> Result<Board, sqlx::Error> {
    snapshot(pool, LIST, async |snapshot| {
        let counts = count_couriers(snapshot).await?;
        let statistics = statistics(snapshot).await?;
        // The first order tells the reason and the age of all that wait.
        let queue = queue(snapshot, None, 1).await?;
        let oldest = queue.orders.iter().find(|order| order.position.is_some());
        let queue = QueueCounts {
            waiting: queue.waiting,
            held: queue.held,
            released: queue.released,
            oldest: oldest.map(|order| order.since),
            reason: oldest.map(|order| order.reason),
        };
        let mut first = Vec::new();
        for list in List::ALL.into_iter().filter(|list| *list != List::Overdue) {
            first.push((list, read_rows(snapshot, list, &Window::default(), rows).await?));
        }
        // `now()` is the time at which the transaction began, and the snapshot is not older. So
        // everything that was committed before `at` is on the board.
        let at = sqlx::query_scalar!(r#"SELECT now() AS "now!""#).fetch_one(snapshot).await?;
        Ok(Board { at, changed_at: at, counts, statistics, queue, first })
    })
    .await
}
