//! Compares the events of the status topic with the rows of `order_events`, and these with the rows
//! of `order_status`.
//!
//! Both sides of the first comparison come in the order of partition and offset, so it needs no
//! memory for them.

use chassis::{
    audit::{check::Check, rejected::Due, scanned::ScannedTopic},
    kafka::record::{Position, milliseconds},
};
use events::{StatusEvent, StatusWord};
use futures_util::{TryStreamExt as _, stream::BoxStream};
use sqlx::PgConnection;
use time::OffsetDateTime;

use crate::status::verdict::Ignored;

/// The rows of `order_events` of a topic, in the order of their positions.
pub(super) struct RecordedEvents<'c> {
    topic: &'c str,
    rows: BoxStream<'c, Result<EventRow, sqlx::Error>>,
    next: Option<EventRow>,
    check: Check,
    /// The positions of rows without a record. There are many only if the topic was re-created.
    without_record: Vec<Position>,
}

struct EventRow {
    order_uid: String,
    partition: i32,
    offset: i64,
    record_timestamp: OffsetDateTime,
    word: String,
    rank: Option<i16>,
    told_at: Option<OffsetDateTime>,
    version: Option<i32>,
    ignored: Option<String>,
}

impl<'c> RecordedEvents<'c> {
    /// Begins to read the rows. Times that only a manual change can write are clamped or left out,
    /// because they could not be read.
    pub(super) async fn query(
        connection: &'c mut PgConnection,
        topic: &'c str,
    ) -> Result<Self, sqlx::Error> {
        let mut rows: BoxStream<'c, _> = sqlx::query_as!(
            EventRow,
            "-- audit_events\n\
             SELECT order_uid, \"partition\", \"offset\", \
                 greatest('epoch', least(record_timestamp, '9999-12-31T23:59:59.999Z')) \
                     AS \"record_timestamp!\", \
                 word, rank, \
                 CASE WHEN told_at BETWEEN '0001-01-01T00:00:00Z BC' \
                         AND '9999-12-31T23:59:59.999999Z' \
                     THEN told_at END AS told_at, \
                 version, ignored \
             FROM orders.order_events WHERE topic = $1 \
             ORDER BY \"partition\", \"offset\", order_events.record_timestamp",
            topic
        )
        .fetch(connection);
        let next = rows.try_next().await?;
        let check = Check::new(1, "every status event is recorded with its fields");
        Ok(Self { topic, rows, next, check, without_record: Vec::new() })
    }

    /// Compares a record with its row. The records come in the order of their positions.
    pub(super) async fn look(
        &mut self,
        position: Position,
        event: Option<&StatusEvent>,
        due: Due,
        scanned: &ScannedTopic,
    ) -> Result<(), sqlx::Error> {
        if due != Due::Unknown {
            self.check.note_read();
        }
        let Position { partition, offset, .. } = position;
        let id = |topic: &str| format!("{topic}:{partition}:{offset}");
        let mut is_recorded = false;
        while let Some(row) =
            self.next.take_if(|row| (row.partition, row.offset) <= (partition, offset))
        {
            self.next = self.rows.try_next().await?;
            match event {
                Some(event) if row.is_of(position, event) => {
                    is_recorded = true;
                    let field = row.difference(event);
                    let example = || format!("{}: {}", id(self.topic), field.unwrap_or_default());
                    if field.is_some() || due != Due::Unknown {
                        self.check.look(field.is_none(), example);
                    }
                }
                // Not kept, because there may be many.
                _ if scanned.has_deleted(row.position()) => {
                    scanned.skip_absent(&mut self.check, row.position());
                }
                _ => self.without_record.push(row.position()),
            }
        }
        if event.is_some() && !is_recorded && due == Due::Committed {
            self.check.look(false, || id(self.topic));
        }
        Ok(())
    }

    /// Counts the rows whose record was not read.
    pub(super) async fn finish(self, scanned: &ScannedTopic) -> Result<Check, sqlx::Error> {
        let Self { topic, mut rows, next, mut check, without_record } = self;
        let mut absent = |position: Position| {
            let Position { partition, offset, .. } = position;
            let example = || format!("{topic}:{partition}:{offset}: no record");
            scanned.look_absent(&mut check, position, example);
        };
        without_record.into_iter().for_each(&mut absent);
        next.iter().map(EventRow::position).for_each(&mut absent);
        while let Some(row) = rows.try_next().await? {
            absent(row.position());
        }
        Ok(check)
    }
}

impl EventRow {
    fn position(&self) -> Position {
        Position {
            timestamp_ms: milliseconds(self.record_timestamp),
            partition: self.partition,
            offset: self.offset,
        }
    }

    fn is_of(&self, position: Position, event: &StatusEvent) -> bool {
        self.position() == position && self.order_uid == event.order_id.as_str()
    }

    /// Returns the first column that differs from the event.
    fn difference(&self, event: &StatusEvent) -> Option<&'static str> {
        let rank = match event.word {
            StatusWord::Status(status) => Some(status.rank()),
            StatusWord::Updated | StatusWord::Unknown => None,
        };
        // The verdict on a status depends on the events that were processed before.
        let is_possible = match (event.word, self.ignored.as_deref()) {
            (StatusWord::Updated, ignored) => ignored == Some(Ignored::NoRank.as_str()),
            (StatusWord::Unknown, ignored) => ignored == Some(Ignored::UnknownStatus.as_str()),
            (StatusWord::Status(_), None) => true,
            (StatusWord::Status(_), Some(ignored)) => {
                [Ignored::Repeated, Ignored::Lower].iter().any(|it| it.as_str() == ignored)
            }
        };
        // PostgreSQL stores microseconds.
        let microseconds = |at: OffsetDateTime| at.unix_timestamp_nanos().div_euclid(1_000);
        if self.word != event.status.as_str() {
            Some("word")
        } else if self.rank != rank {
            Some("rank")
        } else if self.told_at.map(microseconds) != event.created_at.map(microseconds) {
            Some("told_at")
        } else if self.version != event.version {
            Some("version")
        } else if !is_possible {
            Some("ignored")
        } else {
            None
        }
    }
}

/// Checks that each row of `order_status` is the earliest of the highest events of its order.
pub(super) async fn check_statuses(connection: &mut PgConnection) -> anyhow::Result<Check> {
    let count = sqlx::query!(
        "-- audit_statuses\n\
         WITH highest AS ( \
             SELECT DISTINCT ON (order_uid) order_uid, rank, record_timestamp, \"partition\", \
                 \"offset\", topic \
             FROM orders.order_events WHERE rank IS NOT NULL \
             ORDER BY order_uid, rank DESC, record_timestamp, \"partition\", \"offset\" \
         ), compared AS ( \
             SELECT order_uid, CASE \
                     WHEN status.rank IS DISTINCT FROM highest.rank THEN 'rank' \
                     WHEN status.since <> highest.record_timestamp THEN 'since' \
                     WHEN (status.\"partition\", status.\"offset\", status.topic) \
                         <> (highest.\"partition\", highest.\"offset\", highest.topic) \
                         THEN 'position' \
                 END AS field \
             FROM orders.order_status AS status FULL JOIN highest USING (order_uid) \
         ) \
         SELECT count(*) AS \"checked!\", count(field) AS \"broken!\", \
             (array_agg(order_uid || ': ' || field) FILTER (WHERE field IS NOT NULL))[1:5] \
                 AS examples \
         FROM compared"
    )
    .fetch_one(connection)
    .await?;
    let check = Check::new(1, "an order's status is the highest of its recorded events");
    let (checked, broken) = (count.checked.unsigned_abs(), count.broken.unsigned_abs());
    Ok(check.counted(checked, broken, count.examples.unwrap_or_else(Vec::new)))
}
