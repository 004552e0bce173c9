//! The HTTP calls about rejected records that all services share. The routes are in the services.

use std::{ops::Range, time::Duration};

use axum::response::{IntoResponse, Response};
use base64::{Engine, prelude::BASE64_STANDARD};
use http::StatusCode;
use serde_json::{Value, json};
use sqlx::PgPool;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::{
    Counted, Filter, Header, Matching, REPLAY_BY, REPLAY_EDITED, REPLAY_OF, REPLAY_OF_TIMESTAMP,
    RejectedId, RejectedQuery, RejectedRecord, RejectedRow, Rejection, Stored, Violation,
    filter::Parsed, matching, place, table,
};
use crate::{
    http::{actor::Actor, paging, problem::Problem, problems},
    kafka::producer::{ACK_TIMEOUT, Attempt, OutgoingRecord, ProduceError, Producer},
    process::failpoint,
};

/// The largest body of a replay, in KiB. A record of more than 1 MiB would be rejected again.
pub const MAX_REPLAY_KIB: usize = 2 << 10;

/// The first interval of the reads while a client waits for its replay to be recorded; it doubles
/// with each read.
pub(super) const MIN_POLL_INTERVAL: Duration = Duration::from_millis(50);
const MAX_POLL_INTERVAL: Duration = Duration::from_secs(1);

/// A page of rejected records, newest first.
#[derive(Debug)]
pub struct RejectedList {
    pub rows: Vec<RejectedRow>,
    pub filter: Filter,
    /// The `after` of the next page, if there is one.
    pub next: Option<String>,
    pub limit: i64,
    /// True if the request has a cursor: the page is not the first one.
    pub continues: bool,
}

impl RejectedQuery {
    pub async fn find(self, pool: &PgPool) -> Result<RejectedList, Problem> {
        let Parsed { filter, limit, after } = self.parse(paging::MAX_LIMIT)?;
        let continues = after.is_some();
        let page = matching::page(pool, &filter, after, limit).await;
        let Matching { rows, next } = page.map_err(|error| failed(&error))?;
        Ok(RejectedList { rows, filter, next, limit, continues })
    }

    /// Counts the records that have the filters of the query.
    pub async fn count(&self, pool: &PgPool) -> Result<Counted, Problem> {
        count(pool, &self.filter()?).await
    }
}

impl RejectedList {
    /// Counts the records of its filter; `None` if the database does not answer, because a list is
    /// useful without that number.
    pub async fn count(&self, pool: &PgPool) -> Option<Counted> {
        if self.next.is_none() && !self.continues {
            return Some(Counted { count: self.rows.len() as u64, is_exact: true });
        }
        count(pool, &self.filter).await.ok()
    }
}

/// Counts the records of a filter.
async fn count(pool: &PgPool, filter: &Filter) -> Result<Counted, Problem> {
    let counted = if *filter == Filter::default() {
        table::count(pool).await.map(Counted::of_left)
    } else {
        matching::count(pool, filter).await
    };
    counted.map_err(|error| failed(&error))
}

impl IntoResponse for Counted {
    fn into_response(self) -> Response {
        axum::Json(json!({ "count": self.count, "exact": self.is_exact })).into_response()
    }
}

impl IntoResponse for RejectedList {
    fn into_response(self) -> Response {
        let items: Vec<Value> = self.rows.iter().map(summary).collect();
        let mut response = axum::Json(json!({ "items": items, "next": self.next })).into_response();
        if let Some(next) = &self.next {
            let filters = self.filter.parameters();
            let filters: Vec<_> =
                filters.iter().map(|(name, value)| (*name, Some(value.as_str()))).collect();
            paging::link_next(&mut response, "/rejected", (self.limit, next), &filters);
        }
        response
    }
}

/// Returns the newest rejected record with this id.
pub async fn find(pool: &PgPool, id: &str) -> Result<RejectedRecord, Problem> {
    let id: RejectedId = id.parse().map_err(|rule: &str| problems::MALFORMED_ID.with(rule))?;
    let record = table::find(pool, &id).await.map_err(|error| failed(&error))?;
    record.ok_or_else(|| problems::NO_SUCH_REJECTED_RECORD.problem())
}

/// Returns all stored fields of a record as JSON. Bytes are text if they are UTF-8, otherwise
/// Base64.
#[must_use]
pub fn record_json(record: &RejectedRecord) -> Value {
    let mut whole = summary(record);
    for (name, stored) in [("key", &record.key), ("value", &record.value)] {
        let text = stored.as_ref().and_then(Stored::text);
        let bytes = stored.as_ref().map(|stored| stored.bytes.as_slice());
        (whole[name], whole[format!("{name}_encoding")]) = text_or_base64(bytes, text);
        let cut = stored.as_ref().and_then(|stored| stored.whole.as_ref());
        whole[format!("{name}_cut")] =
            json!(cut.map(|cut| json!({ "length": cut.length, "sha256": cut.hex() })));
    }
    whole["headers"] = json!(record.headers.as_ref().map(|headers| {
        let header = |header: &Header| {
            let bytes = header.value.as_deref();
            let text = bytes.and_then(|bytes| std::str::from_utf8(bytes).ok());
            let (value, encoding) = text_or_base64(bytes, text);
            json!({ "name": header.name, "value": value, "encoding": encoding })
        };
        headers.iter().map(header).collect::<Vec<_>>()
    }));
    whole["headers_left_out"] =
        json!(record.headers_left_out.map(|length| json!({ "length": length })));
    whole
}

/// Returns the text, else the bytes in Base64, and the name of the encoding.
fn text_or_base64(bytes: Option<&[u8]>, text: Option<&str>) -> (Value, Value) {
    match (bytes, text) {
        (None, _) => (Value::Null, Value::Null),
        (_, Some(text)) => (json!(text), json!("utf-8")),
        (Some(bytes), None) => (json!(BASE64_STANDARD.encode(bytes)), json!("base64")),
    }
}

/// The topic to which replays are sent, and the client that sends them.
#[derive(Clone, Copy)]
pub struct ReplaySender<'a> {
    pub producer: &'a Producer,
    pub topic: &'a str,
    pub by: Option<&'a Actor>,
}

/// Sends a record to its topic again, with its own headers: as it was received, or with `body` as
/// its value if `body` is not empty. `key_of` returns the key of an edited body, if it has one.
///
/// A record that is stored only in part needs a new body: the stored part alone would be a
/// different record.
///
/// Then waits at most `wait` until the replay is stored with the record. A wait that ends without it
/// is not an error, because Kafka has the replay.
pub async fn replay(
    pool: &PgPool,
    sender: ReplaySender<'_>,
    rejected: &RejectedRecord,
    body: &[u8],
    key_of: impl FnOnce(&[u8]) -> Option<String>,
    wait: Option<Duration>,
) -> Result<Response, Problem> {
    send(sender, rejected, body, key_of).await?;
    if let Some(wait) = wait {
        // `rejected` was read before the replay was sent: the wait ends when the stored row has one
        // more replay than this one.
        wait_for_replay(pool, rejected, wait).await;
    }
    let of = rejected.id().to_string();
    Ok((StatusCode::ACCEPTED, axum::Json(json!({ "replay_of": of }))).into_response())
}

pub(super) async fn send(
    sender: ReplaySender<'_>,
    rejected: &RejectedRecord,
    body: &[u8],
    key_of: impl FnOnce(&[u8]) -> Option<String>,
) -> Result<(), Problem> {
    if body.is_empty() && rejected.is_cut() {
        return Err(problems::RECORD_CUT.problem());
    }
    let ReplaySender { producer, topic, by } = sender;
    let of = rejected.id().to_string();
    let timestamp_ms = rejected.record_timestamp.unix_timestamp_nanos() / 1_000_000;
    let timestamp_ms = timestamp_ms.to_string();
    let own = rejected.headers.iter().flatten();
    let mut headers: Vec<_> = own.map(|own| (own.name.as_str(), own.value.as_deref())).collect();
    headers.push((REPLAY_OF, Some(of.as_bytes())));
    headers.push((REPLAY_OF_TIMESTAMP, Some(timestamp_ms.as_bytes())));
    if let Some(by) = by {
        headers.push((REPLAY_BY, Some(by.as_ref().as_bytes())));
    }
    let whole = |stored: &'_ Stored| (!stored.is_cut()).then(|| stored.bytes.clone());
    let mut key = rejected.key.as_ref().and_then(whole);
    let mut value = rejected.value.as_ref().map(|value| value.bytes.as_slice());
    if !body.is_empty() {
        headers.push((REPLAY_EDITED, Some(b"true")));
        key = key_of(body).map(String::into_bytes).or(key);
        value = Some(body);
    }
    // The table is not written here. The consumer records the replay when it reads it from the
    // topic, in the transaction of its batch: so a replay is recorded only if it is on Kafka. After
    // a timeout the outcome is unknown; replaying again sends a second record, which is recorded,
    // too.
    let record = OutgoingRecord { key: key.as_deref(), value, headers: &headers };
    let records = |_: Attempt, send: &mut dyn FnMut(OutgoingRecord<'_>)| send(record);
    failpoint::async_point("before-replay").await;
    let sent = producer.send_within(ACK_TIMEOUT, topic, 1, records).await;
    failpoint::async_point("after-replay").await;
    sent.map_err(|error| send_failed("replaying a record", &error))
}

/// A check of a text by the rules of the service.
#[derive(Debug)]
pub struct Checked {
    /// The violations, each with its line and its column in the text, if it has a place there.
    pub violations: Vec<(Violation, Option<(usize, usize)>)>,
}

/// Checks a record by the rules of the service, without sending it: as it was received, or with
/// `body` as its value if `body` is not empty. `rules` returns the rejection of an invalid value.
pub fn check(
    rejected: &RejectedRecord,
    body: &[u8],
    rules: impl FnOnce(Option<&[u8]>) -> Option<Rejection>,
) -> Result<Checked, Problem> {
    if body.is_empty() && rejected.is_cut() {
        return Err(problems::RECORD_CUT.problem());
    }
    let value = match body {
        b"" => rejected.value.as_ref().map(|value| value.bytes.as_slice()),
        body => Some(body),
    };
    let violations = rules(value).map_or_else(Vec::new, |rejection| rejection.violations);
    let text = value.and_then(|value| std::str::from_utf8(value).ok());
    let places = text.map_or_else(
        || vec![None; violations.len()],
        |text| {
            let at = |place: Option<Range<usize>>| {
                place.map(|place| place::line_and_column(text, place.start))
            };
            place::of_violations(text, &violations).into_iter().map(at).collect()
        },
    );
    Ok(Checked { violations: violations.into_iter().zip(places).collect() })
}

impl IntoResponse for Checked {
    fn into_response(self) -> Response {
        let violations: Vec<Value> = self
            .violations
            .iter()
            .map(|(violation, place)| {
                let (line, column) = place.unzip();
                let Violation { pointer, code, message } = violation;
                json!({
                    "pointer": pointer, "code": code, "message": message,
                    "line": line, "column": column,
                })
            })
            .collect();
        let is_valid = violations.is_empty();
        axum::Json(json!({ "valid": is_valid, "violations": violations })).into_response()
    }
}

/// Returns the answer after a failed send: 413 if the topic does not accept a record of this size,
/// otherwise 503, and then the cause is logged.
#[must_use]
pub fn send_failed(attempted: &str, error: &ProduceError) -> Problem {
    if let ProduceError::TooLarge = error {
        return problems::RECORD_TOO_LARGE.problem();
    }
    tracing::warn!("{attempted}: {error}");
    problems::KAFKA_UNAVAILABLE.problem()
}

/// Waits at most `wait` until a new replay of `rejected` is recorded. Does not wait if no further
/// replay of it is recorded.
async fn wait_for_replay(pool: &PgPool, rejected: &RejectedRow, wait: Duration) {
    if rejected.replays.len() >= table::MAX_REPLAYS as usize {
        return;
    }
    let mut interval = MIN_POLL_INTERVAL;
    let recorded = async {
        loop {
            // Compares the number of replays, because the position of the new one is not known
            // here. If two clients replay the same record, the first recorded replay ends the wait
            // of both.
            if let Ok(true) = table::has_new_replay(pool, rejected).await {
                return;
            }
            tokio::time::sleep(interval).await;
            interval = (2 * interval).min(MAX_POLL_INTERVAL);
        }
    };
    let _ = tokio::time::timeout(wait, recorded).await;
}

/// Returns the stored fields of a record except its bytes, as JSON.
#[must_use]
pub fn summary(row: &RejectedRow) -> Value {
    let instant = |at: OffsetDateTime| at.format(&Rfc3339).ok();
    let settled = row.settled_at.map(|at| {
        json!({
            "at": instant(at),
            "by": row.settled_by,
            "note": row.settled_why.as_ref().filter(|note| !note.is_empty()),
            "replayed": row.settled_why.is_none(),
        })
    });
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
        "settled": settled,
    })
}

pub(super) fn failed(error: &sqlx::Error) -> Problem {
    problems::of_database("reading rejected records", error)
}
