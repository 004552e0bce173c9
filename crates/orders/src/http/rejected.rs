//! Rejected records: what came, why it was rejected, and sending it again.

use axum::{
    body::Bytes,
    extract::{Path, Query, State as Extract, rejection::BytesRejection},
    response::{IntoResponse, Redirect, Response},
};
use base64::{Engine, prelude::BASE64_STANDARD};
use chassis::{
    problem::Problem,
    producer::{Deliveries, OutgoingRecord},
};
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use time::format_description::well_known::Rfc3339;

use super::{
    State, orders,
    page::{self, Reader},
    problems,
};
use crate::{
    ingest::{REPLAY_EDITED, REPLAY_OF},
    record::parse,
    rejected::{self, RejectedId, RejectedRow},
    web::{path_segment, rejection_href},
};

#[derive(Deserialize)]
pub(super) struct Wanted {
    reason: Option<String>,
    limit: Option<i64>,
    after: Option<String>,
}

/// `GET /rejected`
pub(super) async fn list(
    Extract(state): Extract<State>,
    Query(wanted): Query<Wanted>,
    reader: Reader,
) -> Result<Response, Problem> {
    let limit = orders::parse_limit(wanted.limit)?;
    let after = match wanted.after.as_deref().map(orders::parse_cursor).transpose()? {
        None => None,
        Some((at, id)) => {
            let id = id.parse().map_err(|_| {
                problems::bad_parameter("after", "must be the \"next\" of an earlier page")
            })?;
            Some((at, id))
        }
    };
    let rows = rejected::list(
        &state.pool,
        wanted.reason.as_deref().filter(|reason| !reason.is_empty()),
        after,
        limit + 1,
    )
    .await;
    let mut rows = match rows {
        Err(_) if reader.wants_page() => return Ok(page::trouble(&reader)),
        rows => rows.map_err(silent)?,
    };
    let more = rows.len() as i64 > limit;
    rows.truncate(usize::try_from(limit).unwrap_or(0));
    let next = rows
        .last()
        .filter(|_| more)
        .map(|last| orders::cursor(last.rejected_at, &last.id().to_string()));
    if reader.wants_page() {
        let reason = wanted.reason.as_deref().filter(|reason| !reason.is_empty());
        return Ok(page::rejected_list(&state, &reader, &rows, reason, next.as_deref()).await);
    }
    let items: Vec<Value> = rows.iter().map(summary).collect();
    let mut response = axum::Json(json!({ "items": items, "next": next })).into_response();
    if let Some(next) = next {
        let mut query = format!("limit={limit}&after={}", path_segment(&next));
        if let Some(reason) = &wanted.reason {
            query.push_str(&format!("&reason={}", path_segment(reason)));
        }
        orders::link_next(&mut response, &format!("/rejected?{query}"));
    }
    Ok(response)
}

/// `GET /rejected/{id}`
pub(super) async fn get(
    Extract(state): Extract<State>,
    Path(id): Path<String>,
    reader: Reader,
) -> Result<Response, Problem> {
    let row = find(&state, &id).await?;
    if reader.wants_page() {
        return Ok(page::rejection(&state, &reader, &row).await);
    }
    let mut whole = summary(&row);
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
    Ok(axum::Json(whole).into_response())
}

/// `POST /rejected/{id}/replay`: as it came, or with the request's body instead.
pub(super) async fn replay(
    Extract(state): Extract<State>,
    Path(id): Path<String>,
    reader: Reader,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Problem> {
    let body = body.map_err(|_| problems::body_unreadable())?;
    let row = find(&state, &id).await?;
    let of = row.id().to_string();
    let mut headers = vec![(REPLAY_OF, of.as_bytes())];
    let edited_key;
    let (key, value) = if body.is_empty() {
        (row.key.as_deref(), row.value.as_deref())
    } else {
        headers.push((REPLAY_EDITED, b"true"));
        // A corrected order belongs with the others of its id.
        edited_key = parse(Some(&body)).ok().map(|order| order.order.order_uid);
        let key = edited_key.as_ref().map(|uid| uid.as_str().as_bytes()).or(row.key.as_deref());
        (key, Some(body.as_ref()))
    };
    let deliveries = Deliveries::new();
    let sent = async {
        let record = OutgoingRecord { topic: &state.topics.orders, key, value, headers: &headers };
        state.producer.enqueue(record, &deliveries).await?;
        deliveries.settled().await
    };
    match tokio::time::timeout(std::time::Duration::from_secs(10), sent).await {
        Ok(Ok(())) if reader.wants_page() => Ok(Redirect::to(&rejection_href(&of)).into_response()),
        Ok(Ok(())) => {
            Ok((StatusCode::ACCEPTED, axum::Json(json!({ "replay_of": of }))).into_response())
        }
        Ok(Err(error)) => {
            tracing::warn!("replaying a record: {error}");
            Err(problems::kafka_silent())
        }
        Err(_) => Err(problems::kafka_silent()),
    }
}

async fn find(state: &State, id: &str) -> Result<RejectedRow, Problem> {
    let id: RejectedId = id.parse().map_err(|rule: &str| {
        Problem::new(StatusCode::BAD_REQUEST, "/docs#malformed-id", "malformed id", rule)
    })?;
    rejected::find(&state.pool, &id)
        .await
        .map_err(silent)?
        .ok_or_else(problems::no_such_rejected_record)
}

fn summary(row: &RejectedRow) -> Value {
    let instant = |at: time::OffsetDateTime| at.format(&Rfc3339).ok();
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
    tracing::warn!("reading rejected records: {error}");
    problems::database_silent()
}
