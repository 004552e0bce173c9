//! Rejected records in PostgreSQL: kept as they came, explained, and counted when sent again.

use std::{fmt, str::FromStr};

use serde::Serialize;
use sqlx::{PgConnection, PgPool, types::Json};
use time::OffsetDateTime;

use crate::{
    ingest::{Content, Incoming},
    rejection::Violation,
    store::instant,
};

/// The id of a rejected record: `topic:partition:offset`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RejectedId {
    pub(crate) topic: String,
    pub(crate) partition: i32,
    pub(crate) offset: i64,
}

impl FromStr for RejectedId {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = "an id of a rejected record looks like orders:3:18204";
        let mut parts = text.rsplitn(3, ':');
        let offset = parts.next().and_then(|part| part.parse().ok()).ok_or(wrong)?;
        let partition = parts.next().and_then(|part| part.parse().ok()).ok_or(wrong)?;
        let topic = parts.next().filter(|topic| !topic.is_empty()).ok_or(wrong)?.to_owned();
        Ok(Self { topic, partition, offset })
    }
}

impl fmt::Display for RejectedId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.topic, self.partition, self.offset)
    }
}

/// Keeps the rejections of a batch. A record that is kept already stays as it is.
pub(crate) async fn insert(
    connection: &mut PgConnection,
    topic: &str,
    part: &[Incoming],
) -> Result<(), sqlx::Error> {
    let mut rejections: Vec<_> = part
        .iter()
        .filter_map(|incoming| match &incoming.content {
            Content::Rejection(rejection) => Some((incoming, rejection)),
            Content::Order(_) => None,
        })
        .collect();
    if rejections.is_empty() {
        return Ok(());
    }
    rejections.sort_by_key(|(incoming, _)| (incoming.position.partition, incoming.position.offset));
    let partitions: Vec<i32> =
        rejections.iter().map(|(incoming, _)| incoming.position.partition).collect();
    let offsets: Vec<i64> =
        rejections.iter().map(|(incoming, _)| incoming.position.offset).collect();
    let timestamps: Vec<OffsetDateTime> =
        rejections.iter().map(|(incoming, _)| instant(incoming.position.timestamp_ms)).collect();
    let keys: Vec<Option<&[u8]>> =
        rejections.iter().map(|(incoming, _)| incoming.key.as_deref()).collect();
    let values: Vec<Option<&[u8]>> =
        rejections.iter().map(|(incoming, _)| incoming.value.as_deref()).collect();
    let reasons: Vec<&str> = rejections.iter().map(|(_, rejection)| rejection.reason).collect();
    let violations: Vec<Json<&[Violation]>> =
        rejections.iter().map(|(_, rejection)| Json(rejection.violations.as_slice())).collect();
    sqlx::query(
        "-- insert_rejected\n\
         INSERT INTO orders.rejected_records \
             (topic, \"partition\", \"offset\", record_timestamp, key, value, reason, violations) \
         SELECT $1, t.* FROM UNNEST($2::integer[], $3::bigint[], $4::timestamptz[], $5::bytea[], $6::bytea[], \
             $7::text[], $8::jsonb[]) AS t \
         ON CONFLICT DO NOTHING",
    )
    .bind(topic)
    .bind(partitions)
    .bind(offsets)
    .bind(timestamps)
    .bind(keys)
    .bind(values)
    .bind(reasons)
    .bind(violations)
    .execute(connection)
    .await?;
    Ok(())
}

/// A rejected record as it is kept.
#[derive(Debug, Clone, sqlx::FromRow)]
pub(crate) struct RejectedRow {
    pub(crate) topic: String,
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    pub(crate) record_timestamp: OffsetDateTime,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Option<Vec<u8>>,
    pub(crate) reason: String,
    pub(crate) violations: Json<Vec<Violation>>,
    pub(crate) replays: Json<Vec<Replay>>,
    pub(crate) rejected_at: OffsetDateTime,
}

/// One sending of a rejected record.
#[derive(Debug, Clone, Serialize, serde::Deserialize)]
pub(crate) struct Replay {
    /// When it was sent.
    #[serde(with = "time::serde::rfc3339")]
    pub(crate) at: OffsetDateTime,
    /// Where the replay stands in the topic.
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    /// With another body than it came with?
    pub(crate) edited: bool,
}

impl RejectedRow {
    pub(crate) fn id(&self) -> RejectedId {
        RejectedId { topic: self.topic.clone(), partition: self.partition, offset: self.offset }
    }

    /// The replays, oldest first: they are noted in whatever order their partitions were read.
    pub(crate) fn replays_in_order(&self) -> Vec<Replay> {
        let mut replays = self.replays.0.clone();
        replays.sort_by_key(|replay| replay.at);
        replays
    }
}

/// One page of rejected records, newest first.
pub(crate) async fn list(
    pool: &PgPool,
    reason: Option<&str>,
    after: Option<(OffsetDateTime, RejectedId)>,
    limit: i64,
) -> Result<Vec<RejectedRow>, sqlx::Error> {
    let by_reason = if reason.is_some() { "reason = $1" } else { "$1::text IS NULL" };
    let older = if after.is_some() {
        "(rejected_at, topic, \"partition\", \"offset\") < ($2, $3, $4, $5)"
    } else {
        "$2::timestamptz IS NULL AND $3::text IS NULL AND $4::integer IS NULL AND $5::bigint IS NULL"
    };
    let statement = format!(
        "-- list_rejected\nSELECT * FROM orders.rejected_records WHERE {by_reason} AND {older} \
         ORDER BY rejected_at DESC, topic DESC, \"partition\" DESC, \"offset\" DESC LIMIT $6"
    );
    let (at, id) = after.unzip();
    sqlx::query_as(sqlx::AssertSqlSafe(statement))
        .bind(reason)
        .bind(at)
        .bind(id.as_ref().map(|id| id.topic.clone()))
        .bind(id.as_ref().map(|id| id.partition))
        .bind(id.as_ref().map(|id| id.offset))
        .bind(limit)
        .fetch_all(pool)
        .await
}

/// How many records are kept.
pub(crate) async fn count(pool: &PgPool) -> Result<u64, sqlx::Error> {
    let count: i64 =
        sqlx::query_scalar("-- count_rejected\nSELECT count(*) FROM orders.rejected_records")
            .fetch_one(pool)
            .await?;
    Ok(u64::try_from(count).unwrap_or(0))
}

/// The newest record that was rejected at this place.
pub(crate) async fn find(
    pool: &PgPool,
    id: &RejectedId,
) -> Result<Option<RejectedRow>, sqlx::Error> {
    sqlx::query_as(
        "-- find_rejected\nSELECT * FROM orders.rejected_records \
         WHERE topic = $1 AND \"partition\" = $2 AND \"offset\" = $3 ORDER BY record_timestamp DESC LIMIT 1",
    )
    .bind(&id.topic)
    .bind(id.partition)
    .bind(id.offset)
    .fetch_optional(pool)
    .await
}

/// Notes with rejected records that they were sent again: when, where the replay stands, and
/// whether with another body. Noting the same replay again changes nothing.
pub(crate) async fn note_replays(
    connection: &mut PgConnection,
    part: &[Incoming],
) -> Result<(), sqlx::Error> {
    for incoming in part {
        let Some(replay) = &incoming.replay else { continue };
        let position = incoming.position;
        let note = Json([Replay {
            at: instant(position.timestamp_ms),
            partition: position.partition,
            offset: position.offset,
            edited: replay.edited,
        }]);
        sqlx::query(
            "-- note_replay\nUPDATE orders.rejected_records SET replays = replays || $4 \
             WHERE topic = $1 AND \"partition\" = $2 AND \"offset\" = $3 AND NOT replays @> $4",
        )
        .bind(&replay.of.topic)
        .bind(replay.of.partition)
        .bind(replay.of.offset)
        .bind(note)
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_read_from_its_end_because_topics_may_hold_colons() {
        let id: RejectedId = "a:b:3:18204".parse().unwrap();
        assert_eq!((id.topic.as_str(), id.partition, id.offset), ("a:b", 3, 18_204));
        assert_eq!(id.to_string(), "a:b:3:18204");
        for wrong in ["", "orders", "orders:1", ":1:2", "orders:x:1", "orders:1:"] {
            assert!(wrong.parse::<RejectedId>().is_err(), "{wrong}");
        }
    }
}
