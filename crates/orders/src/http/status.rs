//! The status of an order and its history, and the calls that cancel or complete an order.
//!
//! These calls answer 409 if the order already has the status or one of a higher rank. Otherwise
//! they publish an event and answer 202. Nothing is written to the database here: the status
//! changes when the status consumer reads the event.

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use chassis::{
    http::{Id, Parameters, paging, problem::Problem, problems::of_database},
    kafka::producer::{ACK_TIMEOUT, Attempt, OutgoingRecord},
    process::trace::Trace,
    rejected::{RejectedId, calls::send_failed},
};
use events::{EventType, OrderEvent, OrderStatus, OrderUid};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::Deserialize;
use serde_json::{Value, json};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::{
    ApiState,
    order::parse_uid,
    order_path,
    problems::{already_in_that_state, nothing_known},
};
use crate::{
    ingest::publish::{event_record, now},
    order::FIRST_VERSION,
    status::history::{self, Creation, EventRow, HistoryCursor, OrderState},
};

/// The explanation of a status that is null.
const NO_STATUS: &str = "the order is not stored, and the events about it give it no status: they are \
     about its delivery, or their words are unknown or `updated`";

/// `GET /order/{order_uid}/status`
pub(crate) async fn get(State(state): State<ApiState>, Id(asked): Id) -> Result<Response, Problem> {
    let uid = parse_uid(&asked)?;
    let current = find(&state, &uid).await?;
    Ok(no_cache(status_json(&state, &uid, &current)))
}

#[derive(Deserialize)]
pub(crate) struct HistoryQuery {
    limit: Option<i64>,
    after: Option<String>,
}

/// `GET /order/{order_uid}/history`
pub(crate) async fn history(
    State(state): State<ApiState>,
    Id(asked): Id,
    Parameters(query): Parameters<HistoryQuery>,
) -> Result<Response, Problem> {
    let uid = parse_uid(&asked)?;
    let limit = paging::parse_limit(query.limit)?;
    let after = query.after.as_deref().map(parse_cursor).transpose()?;
    let (current, page) = history::find_history(&state.pool, &uid, after.as_ref(), limit)
        .await
        .map_err(|error| failed(&error))?;
    let current = current.ok_or_else(nothing_known)?;
    let next =
        page.next(|row| paging::cursor(row.at, &record_id(&row.topic, row.partition, row.offset)));
    let mut body = status_json(&state, &uid, &current);
    // The creation is before all events, so it is on the first page.
    let creation = current.creation_entry().filter(|_| after.is_none());
    let creation = creation.map(|creation| creation_json(&state, creation));
    body["events"] = creation.into_iter().chain(page.rows.iter().map(event_json)).collect();
    body["next"] = json!(next);
    let mut response = no_cache(body);
    if let Some(next) = next {
        let path = format!("{}/history", order_path(uid.as_str()));
        paging::link_next(&mut response, &path, (limit, &next), &[]);
    }
    Ok(response)
}

/// A status that a client can give to an order, and the event that publishes it.
#[derive(Clone, Copy)]
pub(crate) struct Change {
    event: EventType,
    pub(crate) status: OrderStatus,
}

pub(crate) const CANCEL: Change =
    Change { event: EventType::Cancelled, status: OrderStatus::Cancelled };
pub(crate) const COMPLETE: Change =
    Change { event: EventType::Completed, status: OrderStatus::Completed };

/// `POST /order/{order_uid}/cancel`
pub(crate) async fn cancel(
    State(state): State<ApiState>,
    Id(asked): Id,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    change(&state, &asked, CANCEL, &headers).await
}

/// `POST /order/{order_uid}/complete`
pub(crate) async fn complete(
    State(state): State<ApiState>,
    Id(asked): Id,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    change(&state, &asked, COMPLETE, &headers).await
}

async fn change(
    state: &ApiState,
    asked: &str,
    change: Change,
    headers: &HeaderMap,
) -> Result<Response, Problem> {
    let uid = parse_uid(asked)?;
    let current = find(state, &uid).await?;
    // This check is for the client, and saves events that would change nothing. It is not needed
    // for correctness, so no lock is held between it and the event.
    if let Some(status) = current.status().filter(|status| *status >= change.status) {
        return Err(already_in_that_state(status));
    }
    let event = publish(state, uid, &current, change, headers).await?;
    let mut response = (StatusCode::ACCEPTED, axum::Json(&event)).into_response();
    let path = format!("{}/status", order_path(event.order_id.as_str()));
    response.headers_mut().insert(
        header::LOCATION,
        HeaderValue::try_from(path).expect("an escaped path is valid in a header"),
    );
    Ok(response)
}

/// Publishes the event of a change.
///
/// Another client may change the order after the caller has read it and before this event. That is
/// safe: in whatever sequence the events arrive, the status with the highest rank wins.
pub(crate) async fn publish(
    state: &ApiState,
    uid: OrderUid,
    current: &OrderState,
    change: Change,
    headers: &HeaderMap,
) -> Result<OrderEvent, Problem> {
    let version = current.stored.as_ref().map(|stored| stored.version);
    let event = OrderEvent { order_id: uid, status: change.event, created_at: now(), version };
    let step = Trace::of(headers).child();
    let records = |_: Attempt, send: &mut dyn FnMut(OutgoingRecord<'_>)| {
        event_record(&event, &state.topics.source, step, send);
    };
    let sent = state.producer.send_within(ACK_TIMEOUT, &state.topics.status, 1, records).await;
    sent.map_err(|error| send_failed("sending an event to Kafka", &error))?;
    Ok(event)
}

pub(crate) async fn find(state: &ApiState, uid: &OrderUid) -> Result<OrderState, Problem> {
    history::find_state(&state.pool, uid)
        .await
        .map_err(|error| failed(&error))?
        .ok_or_else(nothing_known)
}

fn failed(error: &sqlx::Error) -> Problem {
    of_database("reading the status of an order", error)
}

fn no_cache(body: Value) -> Response {
    ([(header::CACHE_CONTROL, "private, no-cache")], axum::Json(body)).into_response()
}

fn status_json(state: &ApiState, uid: &OrderUid, current: &OrderState) -> Value {
    let stored = current.stored.as_ref();
    let (since, record) = match (current.status_from_creation(), &current.recorded) {
        (Some(creation), _) => (Some(creation.at), created_record(state, creation)),
        (None, Some(it)) => (Some(it.at), Some(record_id(&it.topic, it.partition, it.offset))),
        (None, None) => (None, None),
    };
    json!({
        "order_uid": uid,
        "status": current.status(),
        "explanation": current.status().is_none().then_some(NO_STATUS),
        "since": since.map(instant),
        "record": record,
        "version": stored.map(|stored| stored.version),
        "stored": stored.map(|stored| json!({
            "at": instant(stored.ingested_at),
            "record": record_id(&state.topics.orders, stored.partition, stored.offset),
            "record_timestamp": instant(stored.record_timestamp),
        })),
        "delivery": current.delivery,
    })
}

/// The creation of an order, in the form of an event.
fn creation_json(state: &ApiState, creation: Creation) -> Value {
    json!({
        "record": created_record(state, creation),
        "at": instant(creation.at),
        "word": EventType::Created.as_str(),
        "status": OrderStatus::Created,
        "created_at": null,
        "version": FIRST_VERSION,
        "ignored": null,
    })
}

fn created_record(state: &ApiState, creation: Creation) -> Option<String> {
    let (partition, offset) = creation.record?;
    Some(record_id(&state.topics.orders, partition, offset))
}

fn event_json(row: &EventRow) -> Value {
    json!({
        "record": record_id(&row.topic, row.partition, row.offset),
        "at": instant(row.at),
        "word": row.word,
        "status": row.status,
        "created_at": row.created_at.map(instant),
        "version": row.version,
        "ignored": row.ignored.map(|why| json!({
            "reason": why.as_str(),
            "detail": why.meaning(),
        })),
    })
}

/// Returns the id of a record, in the form that rejected records have too.
fn record_id(topic: &str, partition: i32, offset: i64) -> String {
    format!("{topic}:{partition}:{offset}")
}

fn instant(at: OffsetDateTime) -> Option<String> {
    at.format(&Rfc3339).ok()
}

/// Parses the position of the last event of a page.
fn parse_cursor(cursor: &str) -> Result<HistoryCursor, Problem> {
    let (at, record) = paging::parse_cursor(cursor)?;
    // The id of any record has this form.
    let id: RejectedId = record.parse().map_err(|_| paging::bad_cursor())?;
    Ok(HistoryCursor { at, partition: id.partition, offset: id.offset, topic: id.topic })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_parsed_into_the_position_it_was_made_of() {
        let at = OffsetDateTime::from_unix_timestamp(1_637_907_727).unwrap();
        let place = HistoryCursor { at, partition: 3, offset: 771, topic: "a.b".to_owned() };
        let cursor = paging::cursor(at, &record_id(&place.topic, place.partition, place.offset));
        assert_eq!(parse_cursor(&cursor).unwrap(), place);
        for wrong in ["", "1.a", "1.a:b", "1.t:1:x", "x.t:1:2"] {
            assert_eq!(parse_cursor(wrong).unwrap_err().status, 400, "{wrong}");
        }
    }
}
