//! The calls about rejected records, as far as all services answer them alike.

use std::time::Duration;

use axum::response::{IntoResponse, Response};
use base64::{Engine, prelude::BASE64_STANDARD};
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use sqlx::PgPool;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::{REPLAY_EDITED, REPLAY_OF, REPLAY_OF_TIMESTAMP, RejectedId, RejectedRow, list, table};
use crate::{
    http::{paging, problem::Problem, problems},
    kafka::producer::{ACK_TIMEOUT, OutgoingRecord, Producer, send_within},
};

/// How often a replay is looked for that somebody waits for.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// Which rejected records to list: the query of `GET /rejected`.
#[derive(Debug, Deserialize)]
pub struct Wanted {
    reason: Option<String>,
    key: Option<String>,
    limit: Option<i64>,
    after: Option<String>,
}

/// A page of rejected records, newest first; answered as JSON.
#[derive(Debug)]
pub struct Page {
    /// The records.
    pub rows: Vec<RejectedRow>,
    /// The reason asked for.
    pub reason: Option<String>,
    /// The key asked for.
    pub key: Option<String>,
    /// The `after` of the next page, if there is one.
    pub next: Option<String>,
    limit: i64,
}

impl Wanted {
    /// Finds them.
    pub async fn find(self, pool: &PgPool) -> Result<Page, Problem> {
        let limit = paging::parse_limit(self.limit)?;
        let reason = self.reason.filter(|reason| !reason.is_empty());
        let after = match self.after.as_deref().map(paging::parse_cursor).transpose()? {
            None => None,
            Some((at, id)) => Some((at, id.parse().map_err(|_| paging::bad_cursor())?)),
        };
        let key = self.key.filter(|key| !key.is_empty());
        let sought = key.as_deref().map(str::as_bytes);
        let rows = list(pool, reason.as_deref(), sought, after, limit + 1).await;
        let mut rows = rows.map_err(silent)?;
        let next = paging::cut(&mut rows, limit, |last| {
            paging::cursor(last.rejected_at, &last.id().to_string())
        });
        Ok(Page { rows, reason, key, next, limit })
    }
}

impl IntoResponse for Page {
    fn into_response(self) -> Response {
        let items: Vec<Value> = self.rows.iter().map(summary).collect();
        let mut response = axum::Json(json!({ "items": items, "next": self.next })).into_response();
        if let Some(next) = &self.next {
            let filters = [("reason", self.reason.as_deref()), ("key", self.key.as_deref())];
            paging::link_next(&mut response, "/rejected", (self.limit, next), &filters);
        }
        response
    }
}

/// The record with this id.
pub async fn find(pool: &PgPool, id: &str) -> Result<RejectedRow, Problem> {
    let id: RejectedId = id.parse().map_err(|rule: &str| problems::malformed_id(rule))?;
    let row = table::find(pool, &id).await.map_err(silent)?;
    row.ok_or_else(problems::no_such_rejected_record)
}

/// The whole record, its bytes as text if they are UTF-8, else in Base64.
#[must_use]
pub fn whole(row: &RejectedRow) -> Value {
    let mut whole = summary(row);
    for (name, bytes) in [("key", &row.key), ("value", &row.value)] {
        let (text, encoding) = match bytes {
            None => (Value::Null, Value::Null),
            Some(bytes) => match std::str::from_utf8(bytes) {
                Ok(text) => (json!(text), json!("utf-8")),
                Err(_) => (json!(BASE64_STANDARD.encode(bytes)), json!("base64")),
            },
        };
        whole[name] = text;
        whole[format!("{name}_encoding")] = encoding;
    }
    whole
}

/// Sends a record to `topic` again: as it came, or with `body` instead, if that is not empty.
/// `key_of` tells the key of a mended body, if it has one.
pub async fn replay(
    producer: &Producer,
    topic: &str,
    row: &RejectedRow,
    body: &[u8],
    key_of: impl FnOnce(&[u8]) -> Option<String>,
) -> Result<Response, Problem> {
    let of = row.id().to_string();
    let timestamp_ms = row.record_timestamp.unix_timestamp_nanos() / 1_000_000;
    let timestamp_ms = timestamp_ms.to_string();
    let mut headers =
        vec![(REPLAY_OF, of.as_bytes()), (REPLAY_OF_TIMESTAMP, timestamp_ms.as_bytes())];
    let mut key = row.key.clone();
    let mut value = row.value.as_deref();
    if !body.is_empty() {
        headers.push((REPLAY_EDITED, b"true"));
        key = key_of(body).map(String::into_bytes).or(key);
        value = Some(body);
    }
    let record = OutgoingRecord { topic, key: key.as_deref(), value, headers: &headers };
    let enqueue = async |deliveries| producer.enqueue(record, &deliveries).await;
    send_within(ACK_TIMEOUT, enqueue).await.map_err(|error| {
        tracing::warn!("replaying a record: {error}");
        problems::kafka_silent()
    })?;
    Ok((StatusCode::ACCEPTED, axum::Json(json!({ "replay_of": of }))).into_response())
}

/// Waits, `wait` at most, until one more replay is noted than `before` tells of. In vain is no
/// failure: Kafka has it.
pub async fn noted(pool: &PgPool, before: &RejectedRow, wait: Duration) {
    let noted = async {
        loop {
            match table::find(pool, &before.id()).await {
                Ok(Some(now)) if now.replays.len() > before.replays.len() => return,
                _ => tokio::time::sleep(LOOK_AGAIN).await,
            }
        }
    };
    let _ = tokio::time::timeout(wait, noted).await;
}

fn summary(row: &RejectedRow) -> Value {
    let instant = |at: OffsetDateTime| at.format(&Rfc3339).ok();
    json!({
        "id": row.id().to_string(),
        "topic": row.topic,
        "partition": row.partition,
        "offset": row.offset,
        "record_timestamp": instant(row.record_timestamp),
        "rejected_at": instant(row.rejected_at),
        "reason": row.reason,
        "violations": row.violations.0,
        "replays": row.replays_in_order(),
    })
}

fn silent(error: sqlx::Error) -> Problem {
    problems::of_database("reading rejected records", &error)
}
