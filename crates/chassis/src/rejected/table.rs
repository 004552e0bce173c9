//! Rejected records in PostgreSQL: the table `rejected_records` of each service. Rows are written
//! only in the transaction of a batch; the HTTP layer only reads them.

use serde::{Deserialize, Serialize};
use sqlx::{Connection as _, PgConnection, PgPool, types::Json};
use time::OffsetDateTime;

use super::{Original, RejectedId, Rejection, RejectionMetrics, ReplayOf, Violation};
use crate::{
    kafka::record::{Position, instant},
    postgres::{
        errors::{ErrorClass, classify},
        read::{BY_KEY, LIST, read},
    },
};

/// The greatest number that [`count`] counts exactly, so that a page does not read the whole table.
pub const MAX_COUNTED: i64 = 10_000;

#[derive(Debug, Clone)]
pub struct RejectedRow {
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
    pub record_timestamp: OffsetDateTime,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    /// The code of its first violation.
    pub reason: String,
    pub violations: Json<Vec<Violation>>,
    /// The replays, in the order in which they were recorded.
    pub replays: Json<Vec<Replay>>,
    pub rejected_at: OffsetDateTime,
}

/// A replay of a rejected record.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Replay {
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
    /// The position of the replay on its topic.
    pub partition: i32,
    pub offset: i64,
    /// True if the body was edited.
    pub edited: bool,
}

impl RejectedRow {
    #[must_use]
    pub fn id(&self) -> RejectedId {
        RejectedId { topic: self.topic.clone(), partition: self.partition, offset: self.offset }
    }

    /// Returns the replays, oldest first. The column has them in the order in which the partitions
    /// were read.
    #[must_use]
    pub fn replays_in_order(&self) -> Vec<Replay> {
        let mut replays = self.replays.0.clone();
        replays.sort_by_key(|replay| replay.at);
        replays
    }
}

/// Selects whole rows. The checked macros accept only literals, so only a macro can share the
/// common part of these statements.
macro_rules! select_rejected {
    ($name:literal, $first:literal $(+ $rest:literal)* $(, $argument:expr)*) => {
        sqlx::query_as!(
            RejectedRow,
            "-- " + $name
                + "\nSELECT topic, \"partition\", \"offset\", record_timestamp, key, value, reason, \
                   violations AS \"violations: Json<Vec<Violation>>\", \
                   replays AS \"replays: Json<Vec<Replay>>\", rejected_at \
                   FROM rejected_records "
                + $first $(+ $rest)*
            $(, $argument)*
        )
    };
}

/// Inserts the rejected records of a topic. A record that is already stored is not changed.
pub async fn insert(
    connection: &mut PgConnection,
    topic: &str,
    mut rejected: Vec<(&Original, &Rejection)>,
) -> Result<(), sqlx::Error> {
    if rejected.is_empty() {
        return Ok(());
    }
    // All transactions insert in the same order. Otherwise two replicas that insert the same
    // redelivered records could wait for each other.
    rejected.sort_by_key(|(original, _)| (original.position.partition, original.position.offset));
    let mut partitions = Vec::with_capacity(rejected.len());
    let mut offsets = Vec::with_capacity(rejected.len());
    let mut timestamps = Vec::with_capacity(rejected.len());
    let mut keys = Vec::with_capacity(rejected.len());
    let mut values = Vec::with_capacity(rejected.len());
    let mut reasons = Vec::with_capacity(rejected.len());
    let mut violations = Vec::with_capacity(rejected.len());
    for (original, rejection) in rejected {
        partitions.push(original.position.partition);
        offsets.push(original.position.offset);
        timestamps.push(instant(original.position.timestamp_ms));
        keys.push(original.key());
        values.push(original.value());
        reasons.push(rejection.reason);
        violations.push(Json(rejection.violations.as_slice()));
    }
    sqlx::query!(
        "-- insert_rejected\n\
         INSERT INTO rejected_records \
             (topic, \"partition\", \"offset\", record_timestamp, key, value, reason, violations) \
         SELECT $1, t.* FROM UNNEST($2::integer[], $3::bigint[], $4::timestamptz[], $5::bytea[], \
             $6::bytea[], $7::text[], $8::jsonb[]) AS t \
         ON CONFLICT DO NOTHING",
        topic,
        &partitions,
        &offsets,
        &timestamps,
        &keys as &[Option<&[u8]>],
        &values as &[Option<&[u8]>],
        &reasons as &[&str],
        &violations as &[Json<&[Violation]>],
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Records replays with the rejected records that they replay. Recording the same replay twice
/// changes nothing. An entry that the database refuses is dropped and counted: anyone can send the
/// headers of a replay, and the record itself does not depend on them.
pub async fn note_replays(
    connection: &mut PgConnection,
    originals: impl Iterator<Item = &Original>,
    metrics: &RejectionMetrics,
) -> Result<(), sqlx::Error> {
    // Replays are rare, so each is one statement, and the rows are not sorted. If two transactions
    // update two rows in opposite order, PostgreSQL ends one of them as a deadlock, and its batch
    // is retried.
    for original in originals {
        let Some(replay) = &original.replay else { continue };
        // A savepoint: after a refusal, the transaction of the batch continues without the entry.
        let mut savepoint = connection.begin().await?;
        match note_replay(&mut savepoint, original.position, replay).await {
            Ok(()) => savepoint.commit().await?,
            Err(error) if classify(&error) == ErrorClass::Permanent => {
                savepoint.rollback().await?;
                metrics.dropped_notes.inc();
            }
            // The whole batch is retried.
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

async fn note_replay(
    connection: &mut PgConnection,
    position: Position,
    replay: &ReplayOf,
) -> Result<(), sqlx::Error> {
    // The position identifies the replay. So if its batch is redelivered, the row already contains
    // this entry and is not updated.
    let entry = Json([Replay {
        at: instant(position.timestamp_ms),
        partition: position.partition,
        offset: position.offset,
        edited: replay.edited,
    }]);
    sqlx::query!(
        "-- note_replay\nUPDATE rejected_records SET replays = replays || $4 \
             WHERE topic = $1 AND \"partition\" = $2 AND \"offset\" = $3 \
                 AND record_timestamp = coalesce($5, ( \
                     SELECT max(newest.record_timestamp) FROM rejected_records AS newest \
                     WHERE newest.topic = $1 AND newest.\"partition\" = $2 \
                         AND newest.\"offset\" = $3)) \
                 AND NOT replays @> $4",
        replay.id.topic,
        replay.id.partition,
        replay.id.offset,
        entry as Json<[Replay; 1]>,
        replay.timestamp_ms.map(instant),
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Returns a page of rejected records, newest first.
pub async fn list(
    pool: &PgPool,
    reason: Option<&str>,
    key: Option<&[u8]>,
    after: Option<(OffsetDateTime, RejectedId)>,
    limit: i64,
) -> Result<Vec<RejectedRow>, sqlx::Error> {
    let (at, id) = after.unzip();
    let topic = id.as_ref().map(|id| id.topic.as_str());
    let partition = id.as_ref().map(|id| id.partition);
    let offset = id.as_ref().map(|id| id.offset);
    // Each case is a statement of its own, so that it uses its own index. The first page begins
    // after the time `infinity`.
    macro_rules! page {
        ($filter:literal $(, $argument:expr)*) => {
            select_rejected!(
                "list_rejected",
                "WHERE " + $filter
                    + "(rejected_at, topic, \"partition\", \"offset\") \
                       < (coalesce($1, 'infinity'::timestamptz), coalesce($2, ''), \
                          coalesce($3, 0), coalesce($4, 0::bigint)) \
                       ORDER BY rejected_at DESC, topic DESC, \"partition\" DESC, \"offset\" DESC \
                       LIMIT $5",
                at,
                topic,
                partition,
                offset,
                limit
                $(, $argument)*
            )
        };
    }
    read(pool, LIST, async |connection| match (reason, key) {
        (None, None) => page!("").fetch_all(connection).await,
        (Some(reason), None) => page!("reason = $6 AND ", reason).fetch_all(connection).await,
        (reason, Some(key)) => {
            page!("key = $6 AND ($7::text IS NULL OR reason = $7) AND ", key, reason)
                .fetch_all(connection)
                .await
        }
    })
    .await
}

/// Returns the number of rejected records, but at most [`MAX_COUNTED`] + 1.
pub async fn count(pool: &PgPool) -> Result<u64, sqlx::Error> {
    let count = read(pool, LIST, async |connection| {
        sqlx::query_scalar!(
            "-- count_rejected\nSELECT count(*) AS \"count!\" \
             FROM (SELECT FROM rejected_records LIMIT $1) AS counted",
            MAX_COUNTED + 1
        )
        .fetch_one(connection)
        .await
    })
    .await?;
    Ok(u64::try_from(count).unwrap_or(0))
}

/// Returns the newest rejected record with this id.
pub async fn find(pool: &PgPool, id: &RejectedId) -> Result<Option<RejectedRow>, sqlx::Error> {
    read(pool, BY_KEY, async |connection| {
        select_rejected!(
            "find_rejected",
            "WHERE topic = $1 AND \"partition\" = $2 AND \"offset\" = $3 \
             ORDER BY record_timestamp DESC LIMIT 1",
            id.topic,
            id.partition,
            id.offset
        )
        .fetch_optional(connection)
        .await
    })
    .await
}
