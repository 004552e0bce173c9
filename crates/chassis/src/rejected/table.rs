//! Rejected records in PostgreSQL: the table `rejected_records` of each service. Rows are written
//! only in the transaction of a batch. The HTTP layer reads them, and changes only
//! [whether they are settled](super::settlement).

use std::ops::Deref;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde::{Deserialize, Serialize};
use sqlx::{Connection as _, PgConnection, PgPool, types::Json};
use time::OffsetDateTime;

use super::{
    Original, RejectedId, Rejection, RejectionMetrics, ReplayOf, Violation, Whole, cut::OwnHeaders,
};
use crate::{
    kafka::record::{Position, instant},
    postgres::{
        errors::{ErrorClass, bad_column, classify},
        read::read,
        time_limit::{BY_KEY, LIST},
    },
    process::failpoint,
};

/// The greatest number that [`count`] counts exactly, so that a page does not read the whole table.
pub const MAX_COUNTED: i64 = 10_000;

/// The greatest number of replays that are recorded with a record.
pub(super) const MAX_REPLAYS: i32 = 100;

/// A rejected record as lists show it, without its key, value and headers.
#[derive(Debug, Clone)]
pub struct RejectedRow {
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
    pub record_timestamp: OffsetDateTime,
    /// The code of its first violation.
    pub reason: String,
    pub violations: Json<Vec<Violation>>,
    /// The first [`MAX_REPLAYS`] replays, in the order in which they were recorded.
    pub replays: Json<Vec<Replay>>,
    pub rejected_at: OffsetDateTime,
    /// The time since which it needs no more work; `None` while it is left.
    pub settled_at: Option<OffsetDateTime>,
    /// The client that settled it, as it named itself.
    pub settled_by: Option<String>,
    /// The operator's note, or an empty text without one; `None` if a replay has settled it.
    pub settled_why: Option<String>,
}

/// A rejected record with everything that is stored of it.
#[derive(Debug, Clone)]
pub struct RejectedRecord {
    pub row: RejectedRow,
    pub key: Option<Stored>,
    pub value: Option<Stored>,
    /// The record's own headers; `None` if they are left out, or if a version that did not store
    /// headers rejected the record.
    pub headers: Option<Vec<Header>>,
    /// The length of all names and values of its headers, if they are left out because of it.
    pub headers_left_out: Option<u64>,
}

impl Deref for RejectedRecord {
    type Target = RejectedRow;

    fn deref(&self) -> &RejectedRow {
        &self.row
    }
}

impl RejectedRecord {
    /// Returns true if a part of the record is not stored, so that it cannot be sent as it was
    /// received.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        let is_cut = |stored: &Option<Stored>| stored.as_ref().is_some_and(Stored::is_cut);
        is_cut(&self.key) || is_cut(&self.value) || self.headers_left_out.is_some()
    }
}

/// A key or a value as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// All bytes, or the first ones if it is cut.
    pub bytes: Vec<u8>,
    /// The length and the hash of all bytes, if it is cut.
    pub whole: Option<Whole>,
}

impl Stored {
    fn of(bytes: Option<Vec<u8>>, length: Option<i64>, sha256: Option<Vec<u8>>) -> Option<Self> {
        let length = length.and_then(|length| u64::try_from(length).ok());
        let whole = length.zip(sha256).map(|(length, sha256)| Whole { length, sha256 });
        Some(Self { bytes: bytes?, whole })
    }

    #[must_use]
    pub fn is_cut(&self) -> bool {
        self.whole.is_some()
    }

    /// Returns the bytes as text if they are UTF-8. If the cut has split the last character, the
    /// text ends before it.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        match std::str::from_utf8(&self.bytes) {
            Ok(text) => Some(text),
            Err(error) if self.is_cut() && error.error_len().is_none() => {
                std::str::from_utf8(&self.bytes[..error.valid_up_to()]).ok()
            }
            Err(_) => None,
        }
    }
}

/// A header of a rejected record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    pub name: String,
    /// `None` is a null value.
    pub value: Option<Vec<u8>>,
}

/// A header as the column `headers` contains it: its name, and its value in Base64.
type HeaderColumn = (String, Option<String>);

/// Returns the column `headers`: the headers as JSON.
pub(super) fn headers_column(headers: &OwnHeaders) -> Option<String> {
    if headers.left_out.is_some() {
        return None;
    }
    let base64 = |value: &[u8]| BASE64_STANDARD.encode(value);
    let headers = headers.kept.iter().map(|(name, value)| (name, value.as_deref().map(base64)));
    let headers: Vec<_> = headers.collect();
    Some(serde_json::to_string(&headers).expect("pairs of texts become JSON"))
}

fn parse_headers(Json(headers): Json<Vec<HeaderColumn>>) -> Result<Vec<Header>, sqlx::Error> {
    let decode = |value: String| {
        let bytes = BASE64_STANDARD.decode(value);
        bytes.map_err(|error| bad_column("rejected_records.headers", error))
    };
    let header =
        |(name, value): HeaderColumn| Ok(Header { name, value: value.map(decode).transpose()? });
    headers.into_iter().map(header).collect()
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
    /// The client of the call, as it named itself.
    #[serde(default)]
    pub by: Option<String>,
    /// `None` if an earlier version recorded the replay.
    #[serde(default)]
    pub outcome: Option<Outcome>,
}

/// The part of an entry that only one replay has.
#[derive(Serialize)]
struct ReplayIdentity {
    #[serde(with = "time::serde::rfc3339")]
    at: OffsetDateTime,
    partition: i32,
    offset: i64,
}

/// The result of reading a replay from its topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    Accepted,
    /// The replay is a rejected record of its own, with an id of its own.
    Rejected,
}

impl Outcome {
    /// Returns the outcome of a record that was read, given its rejection.
    #[must_use]
    pub fn of(rejection: Option<&Rejection>) -> Self {
        if rejection.is_some() { Self::Rejected } else { Self::Accepted }
    }
}

impl RejectedRow {
    /// Returns about the number of bytes that the row takes in an answer.
    pub(super) fn bytes(&self) -> usize {
        let violations: usize = self.violations.iter().map(Violation::bytes).sum();
        let note = self.settled_why.as_ref().map_or(0, String::len);
        violations + note + self.replays.len() * size_of::<Replay>() + size_of::<Self>()
    }

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

/// Selects rows. The checked macros accept only literals, so only a macro can share the
/// common part of these statements.
macro_rules! select_rejected {
    ($name:literal, $first:literal $(+ $rest:literal)* $(, $argument:expr)*) => {
        sqlx::query_as!(
            RejectedRow,
            "-- " + $name
                + "\nSELECT topic, \"partition\", \"offset\", record_timestamp, reason, \
                   violations AS \"violations: Json<Vec<Violation>>\", \
                   replays AS \"replays: Json<Vec<Replay>>\", rejected_at, settled_at, settled_by, \
                   settled_why FROM rejected_records "
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
    if rejected.is_empty() || failpoint::is_skipped("guard.rejected-stored") {
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
    let (mut key_lengths, mut key_hashes) = (Vec::new(), Vec::new());
    let (mut value_lengths, mut value_hashes) = (Vec::new(), Vec::new());
    let (mut headers, mut headers_left_out) = (Vec::new(), Vec::new());
    for (original, rejection) in rejected {
        partitions.push(original.position.partition);
        offsets.push(original.position.offset);
        timestamps.push(instant(original.position.timestamp_ms));
        keys.push(original.key());
        values.push(original.value());
        reasons.push(rejection.reason);
        violations.push(Json(rejection.violations.as_slice()));
        let (key, value) = (original.whole_key(), original.whole_value());
        key_lengths.push(key.map(|key| key.length.cast_signed()));
        key_hashes.push(key.map(|key| key.sha256.as_slice()));
        value_lengths.push(value.map(|value| value.length.cast_signed()));
        value_hashes.push(value.map(|value| value.sha256.as_slice()));
        headers.push(headers_column(&original.headers));
        headers_left_out.push(original.headers.left_out.map(u64::cast_signed));
    }
    sqlx::query!(
        "-- insert_rejected\n\
         INSERT INTO rejected_records \
             (topic, \"partition\", \"offset\", record_timestamp, key, value, reason, violations, \
              key_length, key_sha256, value_length, value_sha256, headers_length, headers) \
         SELECT $1, t.\"partition\", t.\"offset\", t.at, t.key, t.value, t.reason, t.violations, \
             t.key_length, t.key_sha256, t.value_length, t.value_sha256, t.headers_length, \
             t.headers::json \
         FROM UNNEST($2::integer[], $3::bigint[], $4::timestamptz[], $5::bytea[], $6::bytea[], \
             $7::text[], $8::jsonb[], $9::bigint[], $10::bytea[], $11::bigint[], $12::bytea[], \
             $13::bigint[], $14::text[]) \
             AS t (\"partition\", \"offset\", at, key, value, reason, violations, key_length, \
                 key_sha256, value_length, value_sha256, headers_length, headers) \
         ON CONFLICT DO NOTHING",
        topic,
        &partitions,
        &offsets,
        &timestamps,
        &keys as &[Option<&[u8]>],
        &values as &[Option<&[u8]>],
        &reasons as &[&str],
        &violations as &[Json<&[Violation]>],
        &key_lengths as &[Option<i64>],
        &key_hashes as &[Option<&[u8]>],
        &value_lengths as &[Option<i64>],
        &value_hashes as &[Option<&[u8]>],
        &headers_left_out as &[Option<i64>],
        &headers as &[Option<String>],
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Records replays with the rejected records that they replay, and settles these: a replay that is
/// rejected is left in their place. Recording the same replay twice changes nothing. After [`MAX_REPLAYS`] entries of a record, further ones are not kept,
/// because each makes the row longer. An entry that the database refuses is dropped and counted.
/// Anyone can send the headers of a replay, and the record itself does not depend on them.
pub async fn note_replays(
    connection: &mut PgConnection,
    read: impl Iterator<Item = (&Original, Outcome)>,
    metrics: &RejectionMetrics,
) -> Result<(), sqlx::Error> {
    // Replays are rare, so each is one statement, and the rows are not sorted. If two transactions
    // update two rows in opposite order, PostgreSQL ends one of them as a deadlock, and its batch
    // is retried.
    for (original, outcome) in read {
        let Some(replay) = &original.replay else { continue };
        // A savepoint: after a refusal, the transaction of the batch continues without the entry.
        let mut savepoint = connection.begin().await?;
        match note_replay(&mut savepoint, original.position, replay, outcome).await {
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
    outcome: Outcome,
) -> Result<(), sqlx::Error> {
    let by = replay.by.as_ref().map(AsRef::as_ref);
    let entry = Replay {
        at: instant(position.timestamp_ms),
        partition: position.partition,
        offset: position.offset,
        edited: replay.edited,
        by: by.map(str::to_owned),
        outcome: Some(outcome),
    };
    // The position identifies the replay. So if its batch is redelivered, the row already contains
    // this entry and is not updated, even if it was reopened since, or if a version without outcomes
    // has written the entry.
    let identity =
        ReplayIdentity { at: entry.at, partition: entry.partition, offset: entry.offset };
    sqlx::query!(
        "-- note_replay\nUPDATE rejected_records SET replays = replays || $4, \
             settled_by = CASE WHEN settled_at IS NULL THEN $7 ELSE settled_by END, \
             settled_at = coalesce(settled_at, now()) \
             WHERE topic = $1 AND \"partition\" = $2 AND \"offset\" = $3 \
                 AND record_timestamp = coalesce($5, ( \
                     SELECT max(newest.record_timestamp) FROM rejected_records AS newest \
                     WHERE newest.topic = $1 AND newest.\"partition\" = $2 \
                         AND newest.\"offset\" = $3)) \
                 AND NOT replays @> $8 AND jsonb_array_length(replays) < $6",
        replay.id.topic,
        replay.id.partition,
        replay.id.offset,
        Json([entry]) as Json<[Replay; 1]>,
        replay.timestamp_ms.map(instant),
        MAX_REPLAYS,
        by,
        Json([identity]) as Json<[ReplayIdentity; 1]>,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Returns the number of rejected records that are left, but at most [`MAX_COUNTED`] + 1.
pub async fn count(pool: &PgPool) -> Result<u64, sqlx::Error> {
    let count = read(pool, LIST, async |connection| {
        sqlx::query_scalar!(
            "-- count_rejected\nSELECT count(*) AS \"count!\" \
             FROM (SELECT FROM rejected_records WHERE settled_at IS NULL LIMIT $1) AS counted",
            MAX_COUNTED + 1
        )
        .fetch_one(connection)
        .await
    })
    .await?;
    Ok(u64::try_from(count).unwrap_or(0))
}

/// Returns true if more replays of a record are recorded than `row` has.
pub(super) async fn has_new_replay(pool: &PgPool, row: &RejectedRow) -> Result<bool, sqlx::Error> {
    read(pool, BY_KEY, async |connection| {
        let count = sqlx::query_scalar!(
            "-- count_replays\n\
             SELECT jsonb_array_length(replays) AS \"count!\" FROM rejected_records \
             WHERE topic = $1 AND \"partition\" = $2 AND \"offset\" = $3 \
                 AND record_timestamp = $4",
            row.topic,
            row.partition,
            row.offset,
            row.record_timestamp,
        )
        .fetch_optional(connection)
        .await?;
        Ok(count.is_some_and(|count| count.unsigned_abs() as usize > row.replays.len()))
    })
    .await
}

/// Returns the replays of each of these records, in their order; none for a record that is not stored.
pub(super) async fn replays_of(
    pool: &PgPool,
    rows: &[&RejectedRow],
) -> Result<Vec<Vec<Replay>>, sqlx::Error> {
    let topics: Vec<&str> = rows.iter().map(|row| row.topic.as_str()).collect();
    let partitions: Vec<i32> = rows.iter().map(|row| row.partition).collect();
    let offsets: Vec<i64> = rows.iter().map(|row| row.offset).collect();
    let timestamps: Vec<OffsetDateTime> = rows.iter().map(|row| row.record_timestamp).collect();
    read(pool, BY_KEY, async |connection| {
        let found = sqlx::query!(
            "-- replays_of\n\
             SELECT one.number AS \"number!\", replays AS \"replays: Json<Vec<Replay>>\" \
             FROM UNNEST($1::text[], $2::integer[], $3::bigint[], $4::timestamptz[]) \
                 WITH ORDINALITY AS one (topic, \"partition\", \"offset\", at, number) \
                 JOIN rejected_records AS r ON r.topic = one.topic \
                     AND r.\"partition\" = one.\"partition\" AND r.\"offset\" = one.\"offset\" \
                     AND r.record_timestamp = one.at",
            &topics as &[&str],
            &partitions,
            &offsets,
            &timestamps,
        )
        .fetch_all(connection)
        .await?;
        let mut replays = vec![Vec::new(); rows.len()];
        for one in found {
            let index = usize::try_from(one.number - 1).expect("ordinality begins at 1");
            replays[index] = one.replays.0;
        }
        Ok(replays)
    })
    .await
}

pub(super) async fn find_row_on(
    connection: &mut PgConnection,
    id: &RejectedId,
) -> Result<Option<RejectedRow>, sqlx::Error> {
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
}

/// Returns the newest rejected record with this id.
pub(super) async fn find(
    pool: &PgPool,
    id: &RejectedId,
) -> Result<Option<RejectedRecord>, sqlx::Error> {
    read(pool, BY_KEY, async |connection| find_on(connection, id).await).await
}

async fn find_on(
    connection: &mut PgConnection,
    id: &RejectedId,
) -> Result<Option<RejectedRecord>, sqlx::Error> {
    let Some(row) = find_row_on(connection, id).await? else { return Ok(None) };
    // No transaction is needed for the two statements: the content of a row never changes.
    with_content(connection, row).await
}

/// Returns a record with its content; `None` if the row was deleted since it was read.
pub(super) async fn find_content(
    pool: &PgPool,
    row: &RejectedRow,
) -> Result<Option<RejectedRecord>, sqlx::Error> {
    read(pool, BY_KEY, async |connection| with_content(connection, row.clone()).await).await
}

async fn with_content(
    connection: &mut PgConnection,
    row: RejectedRow,
) -> Result<Option<RejectedRecord>, sqlx::Error> {
    let content = sqlx::query!(
        "-- find_rejected_content\n\
         SELECT key, value, key_length, key_sha256, value_length, value_sha256, headers_length, \
             headers AS \"headers: Json<Vec<HeaderColumn>>\" \
         FROM rejected_records \
         WHERE topic = $1 AND \"partition\" = $2 AND \"offset\" = $3 AND record_timestamp = $4",
        row.topic,
        row.partition,
        row.offset,
        row.record_timestamp,
    )
    .fetch_optional(connection)
    .await?;
    let Some(content) = content else { return Ok(None) };
    Ok(Some(RejectedRecord {
        row,
        key: Stored::of(content.key, content.key_length, content.key_sha256),
        value: Stored::of(content.value, content.value_length, content.value_sha256),
        headers: content.headers.map(parse_headers).transpose()?,
        headers_left_out: content.headers_length.map(i64::cast_unsigned),
    }))
}
