//! What becomes of an order: how it stands, its history, and telling that it is cancelled or
//! completed. Telling is all that is done here: the event goes to Kafka, and comes back from there.

use std::time::Duration;

use axum::{
    extract::State as Extract,
    response::{IntoResponse, Redirect, Response},
};
use chassis::{
    http::{
        Id, Parameters, paging,
        problem::Problem,
        problems::{kafka_silent, malformed_id, of_database},
    },
    kafka::producer::Deliveries,
    process::trace::Trace,
    web::Reader,
};
use events::{EventType, OrderEvent, OrderStatus, OrderUid};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::Deserialize;
use serde_json::{Value, json};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use tokio::time::Instant;

use super::{State, problems};
use crate::{
    ingest::publish::{now, send_event},
    pages::order_href,
    status::history::{self, EventRow, HistoryCursor, OrderState},
};

/// How long Kafka may take to confirm.
const KAFKA_PATIENCE: Duration = Duration::from_secs(10);
/// How long a reader without JavaScript waits for what was told to come back from Kafka.
const RETURN_PATIENCE: Duration = Duration::from_secs(2);

/// `GET /order/{order_uid}/status`
pub(super) async fn status(
    Extract(state): Extract<State>,
    Id(asked): Id,
) -> Result<Response, Problem> {
    let uid = parse_uid(&asked)?;
    let standing = find(&state, &uid).await?;
    Ok(no_cache(standing_of(&state, &uid, &standing)))
}

#[derive(Deserialize)]
pub(super) struct Wanted {
    limit: Option<i64>,
    after: Option<String>,
}

/// `GET /order/{order_uid}/history`
pub(super) async fn history(
    Extract(state): Extract<State>,
    Id(asked): Id,
    Parameters(wanted): Parameters<Wanted>,
) -> Result<Response, Problem> {
    let uid = parse_uid(&asked)?;
    let limit = paging::parse_limit(wanted.limit)?;
    let after = wanted.after.as_deref().map(parse_place).transpose()?;
    let (standing, mut rows) = history::find_history(&state.pool, &uid, after.as_ref(), limit + 1)
        .await
        .map_err(|error| silent(&error))?;
    let standing = standing.ok_or_else(problems::nothing_known)?;
    let next = paging::cut(&mut rows, limit, |row| {
        paging::cursor(row.at, &record_id(&row.topic, row.partition, row.offset))
    });
    let mut body = standing_of(&state, &uid, &standing);
    body["events"] = rows.iter().map(event_of).collect();
    body["next"] = json!(next);
    let mut response = no_cache(body);
    if let Some(next) = next {
        let path = format!("{}/history", order_href(uid.as_str()));
        paging::link_next(&mut response, &path, (limit, &next), &[]);
    }
    Ok(response)
}

/// `POST /order/{order_uid}/cancel`
pub(super) async fn cancel(
    Extract(state): Extract<State>,
    Id(asked): Id,
    reader: Reader,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let event = (EventType::Cancelled, OrderStatus::Cancelled);
    tell(&state, &asked, &reader, event, Trace::of(&headers)).await
}

/// `POST /order/{order_uid}/complete`
pub(super) async fn complete(
    Extract(state): Extract<State>,
    Id(asked): Id,
    reader: Reader,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let event = (EventType::Completed, OrderStatus::Completed);
    tell(&state, &asked, &reader, event, Trace::of(&headers)).await
}

/// Publishes the event if it can move the order on. Meanwhile another may come: the rank decides in
/// the end.
async fn tell(
    state: &State,
    asked: &str,
    reader: &Reader,
    (event, status): (EventType, OrderStatus),
    trace: Trace,
) -> Result<Response, Problem> {
    let uid = parse_uid(asked)?;
    let standing = find(state, &uid).await?;
    match standing.status() {
        // The page shows why there is nothing to do.
        Some(before) if before >= status && reader.wants_page() => return Ok(back_to(&uid)),
        Some(before) if before >= status => return Err(problems::pointless(before)),
        _ => {}
    }
    let version = standing.stored.map(|stored| stored.version);
    let event = OrderEvent { order_id: uid, status: event, created_at: now(), version };
    send(state, &event, trace.child()).await?;
    let uid = &event.order_id;
    if reader.wants_page() {
        let _ = tokio::time::timeout(RETURN_PATIENCE, has_come(state, uid, status)).await;
        return Ok(back_to(uid));
    }
    let mut response = (StatusCode::ACCEPTED, axum::Json(&event)).into_response();
    let place = format!("{}/status", order_href(uid.as_str()));
    response.headers_mut().insert(
        header::LOCATION,
        HeaderValue::try_from(place).expect("an escaped path is valid in a header"),
    );
    Ok(response)
}

async fn send(state: &State, event: &OrderEvent, step: Trace) -> Result<(), Problem> {
    let deliveries = Deliveries::new();
    let sent = async {
        send_event(&state.producer, &state.topics, event, step, &deliveries).await?;
        deliveries.settled().await
    };
    match tokio::time::timeout(KAFKA_PATIENCE, sent).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => {
            tracing::warn!("sending an event to Kafka: {error}");
            Err(kafka_silent())
        }
        Err(_) => Err(kafka_silent()),
    }
}

/// Waits until the order has come so far, here or in another replica.
async fn has_come(state: &State, uid: &OrderUid, status: OrderStatus) {
    let mut look = tokio::time::interval_at(Instant::now(), Duration::from_millis(25));
    loop {
        look.tick().await;
        match history::find_state(&state.pool, uid).await {
            Ok(Some(standing)) if standing.status() < Some(status) => {}
            _ => return,
        }
    }
}

fn back_to(uid: &OrderUid) -> Response {
    Redirect::to(&order_href(uid.as_str())).into_response()
}

async fn find(state: &State, uid: &OrderUid) -> Result<OrderState, Problem> {
    history::find_state(&state.pool, uid)
        .await
        .map_err(|error| silent(&error))?
        .ok_or_else(problems::nothing_known)
}

fn silent(error: &sqlx::Error) -> Problem {
    of_database("reading what became of an order", error)
}

fn parse_uid(asked: &str) -> Result<OrderUid, Problem> {
    asked.parse().map_err(|why| malformed_id(format!("the order id {why}")))
}

fn no_cache(body: Value) -> Response {
    ([(header::CACHE_CONTROL, "private, no-cache")], axum::Json(body)).into_response()
}

fn standing_of(state: &State, uid: &OrderUid, standing: &OrderState) -> Value {
    let told = standing.recorded.as_ref();
    let stored = standing.stored.as_ref();
    let since = told.map(|told| told.at).or(stored.map(|stored| stored.ingested_at));
    json!({
        "order_uid": uid,
        "status": standing.status(),
        "since": since.map(instant),
        "record": told.map(|told| record_id(&told.topic, told.partition, told.offset)),
        "version": stored.map(|stored| stored.version),
        "stored": stored.map(|stored| json!({
            "at": instant(stored.ingested_at),
            "record": record_id(&state.topics.orders, stored.partition, stored.offset),
            "record_timestamp": instant(stored.record_timestamp),
        })),
    })
}

fn event_of(row: &EventRow) -> Value {
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

/// As rejected records are named, too.
fn record_id(topic: &str, partition: i32, offset: i64) -> String {
    format!("{topic}:{partition}:{offset}")
}

fn instant(at: OffsetDateTime) -> Option<String> {
    at.format(&Rfc3339).ok()
}

fn parse_place(cursor: &str) -> Result<HistoryCursor, Problem> {
    let (at, record) = paging::parse_cursor(cursor)?;
    let mut parts = record.rsplitn(3, ':');
    let offset = parts.next().and_then(|part| part.parse().ok());
    let partition = parts.next().and_then(|part| part.parse().ok());
    match (offset, partition, parts.next()) {
        (Some(offset), Some(partition), Some(topic)) => {
            Ok(HistoryCursor { at, partition, offset, topic: topic.to_owned() })
        }
        _ => Err(paging::bad_cursor()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_where_a_page_ended_is_found_again() {
        let at = OffsetDateTime::from_unix_timestamp(1_637_907_727).unwrap();
        let place = HistoryCursor { at, partition: 3, offset: 771, topic: "a:b".to_owned() };
        let cursor = paging::cursor(at, &record_id(&place.topic, place.partition, place.offset));
        assert_eq!(parse_place(&cursor).unwrap(), place);
        for wrong in ["", "1.a", "1.a:b", "1.t:1:x", "x.t:1:2"] {
            assert_eq!(parse_place(wrong).unwrap_err().status, 400, "{wrong}");
        }
    }
}
