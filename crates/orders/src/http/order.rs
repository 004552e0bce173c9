//! `GET /order/{order_uid}` reads one order from the cache or the database; `POST /order` validates
//! orders and sends them to Kafka. Nothing is stored here: ingest does that when it reads the
//! records.

use std::time::{Duration, Instant};

use axum::{
    body::Body,
    extract::State,
    response::{IntoResponse, Response},
};
use chassis::{
    http::{
        BodyWithin, Id, Parameters, is_unchanged,
        problem::Problem,
        problems::{DATABASE_UNAVAILABLE, MALFORMED_ID, TOO_MANY_REQUESTS},
    },
    kafka::producer::{ACK_TIMEOUT, Attempt, OutgoingRecord},
    process::trace::{self, Trace},
    rejected::calls::send_failed,
};
use events::OrderUid;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use serde_json::json;

use super::{
    ApiState, WaitQuery, order_path,
    problems::{INVALID_ORDER, NO_SUCH_ORDER},
};
use crate::{
    lookup::{Found, Unavailable},
    order::{
        content_hash::ContentHash,
        parse::{ValidOrder, parse_many},
    },
};

/// The largest body of `POST /order`, in KiB: an array has up to 1,000 orders.
const MAX_ORDERS_KIB: usize = 16 << 10;
/// The size up to which a topic accepts a record with any usual `max.message.bytes`.
const ALWAYS_ACCEPTED_BYTES: usize = 10_000;

/// `GET /order/{order_uid}`
pub(crate) async fn get(
    State(state): State<ApiState>,
    Id(asked): Id,
    Parameters(query): Parameters<WaitQuery>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let started = Instant::now();
    let uid = parse_uid(&asked)?;
    match find(&state, &uid, query.wait()?).await {
        Ok(Some(found)) => Ok(answer(&found, started.elapsed(), &headers)),
        Ok(None) => Err(NO_SUCH_ORDER.problem()),
        Err(Unavailable::NoAnswer) => Err(DATABASE_UNAVAILABLE.problem()),
        Err(Unavailable::TooMany) => Err(TOO_MANY_REQUESTS.problem()),
    }
}

pub(crate) fn parse_uid(asked: &str) -> Result<OrderUid, Problem> {
    asked.parse().map_err(|rule| MALFORMED_ID.with(format!("the order id {rule}")))
}

/// Finds an order, and waits for at most `wait` if it is not stored yet.
pub(crate) async fn find(
    state: &ApiState,
    uid: &OrderUid,
    wait: Option<Duration>,
) -> Result<Option<Found>, Unavailable> {
    match wait {
        None => state.lookup.find(uid).await,
        Some(wait) => state.lookup.wait(uid, wait).await,
    }
}

/// Returns the order as JSON, or 304 if the client already has this content.
pub(super) fn answer(found: &Found, took: Duration, request: &HeaderMap) -> Response {
    let (cached, _) = found;
    let etag = etag(cached.hash());
    let unchanged = is_unchanged(request, etag.as_bytes());
    let mut response = Response::default();
    let headers = response.headers_mut();
    // Reserved at once, so that the map allocates only once.
    headers.reserve(12);
    headers.insert(header::ETAG, etag);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    headers.insert(header::VARY, HeaderValue::from_static("Accept"));
    add_source(headers, found, took);
    if unchanged {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    } else {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        *response.body_mut() = Body::from(cached.json());
    }
    response
}

const X_ORDER_VERSION: HeaderName = HeaderName::from_static("x-order-version");
const X_CACHE: HeaderName = HeaderName::from_static("x-cache");
const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");

/// Adds the headers that say where an order came from and how long that took.
pub(crate) fn add_source(headers: &mut HeaderMap, (cached, source): &Found, took: Duration) {
    let (source, micros) = (source.as_str(), took.as_micros());
    let timing = format!("cache;desc=\"{source}\";dur={}.{:03}", micros / 1_000, micros % 1_000);
    headers.insert(X_ORDER_VERSION, HeaderValue::from(cached.version()));
    headers.insert(X_CACHE, HeaderValue::from_static(source));
    headers.insert(SERVER_TIMING, ascii(&timing));
}

fn etag(hash: ContentHash) -> HeaderValue {
    let mut tag = [b'"'; 34];
    for (index, byte) in hash.as_bytes().iter().enumerate() {
        tag[1 + 2 * index] = b"0123456789abcdef"[usize::from(byte >> 4)];
        tag[2 + 2 * index] = b"0123456789abcdef"[usize::from(byte & 15)];
    }
    HeaderValue::from_bytes(&tag).expect("digits, letters and quotes are valid in a header")
}

fn ascii(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).expect("paths, numbers and names are ASCII")
}

/// `POST /order`
pub(crate) async fn post(
    State(state): State<ApiState>,
    headers: HeaderMap,
    BodyWithin(body): BodyWithin<MAX_ORDERS_KIB>,
) -> Result<Response, Problem> {
    // All orders are parsed before the first one is sent: if one is invalid, none is sent.
    let orders =
        parse_many(&body).map_err(|violations| INVALID_ORDER.with_violations(violations))?;
    let trace = Trace::of(&headers);
    // The answer follows only after Kafka has acknowledged all orders. After an error some may have
    // arrived; the client sends all of them again, and the same content changes nothing.
    publish(&state, &orders, trace).await?;
    let uids: Vec<&OrderUid> = orders.iter().map(|valid| &valid.order.order_uid).collect();
    let mut response =
        (StatusCode::ACCEPTED, axum::Json(json!({ "accepted": uids }))).into_response();
    if let [uid] = uids.as_slice() {
        response.headers_mut().insert(header::LOCATION, ascii(&order_path(uid.as_str())));
    }
    Ok(response)
}

/// Publishes all orders or, as far as possible, none: a topic that accepts the largest record also
/// accepts the others. So the largest record is sent first, alone, if it is large.
async fn publish(state: &ApiState, orders: &[ValidOrder<'_>], trace: Trace) -> Result<(), Problem> {
    let topic = &state.topics.orders;
    let largest = orders.iter().max_by_key(|valid| valid.json.len());
    let first = largest.filter(|valid| valid.json.len() > ALWAYS_ACCEPTED_BYTES);
    // The last record of an order wins. So if the array has another record of the same order, the
    // largest record is sent a second time, at its own position.
    let is_sent = first.filter(|first| {
        let uid = &first.order.order_uid;
        orders.iter().filter(|valid| valid.order.order_uid == *uid).count() == 1
    });
    let others =
        orders.iter().filter(|valid| !is_sent.is_some_and(|sent| std::ptr::eq(sent, *valid)));
    for group in [Vec::from_iter(first), others.collect()] {
        let records = |attempt: Attempt, send: &mut dyn FnMut(OutgoingRecord<'_>)| {
            let valid = group[attempt.number];
            send(OutgoingRecord {
                key: Some(valid.order.order_uid.as_str().as_bytes()),
                value: Some(&valid.json),
                headers: &[(trace::HEADER, Some(&trace.child().header()))],
            });
        };
        let sent = state.producer.send_within(ACK_TIMEOUT, topic, group.len(), records).await;
        sent.map_err(|error| send_failed("sending orders to Kafka", &error))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_the_hash_in_quotes() {
        let hash = ContentHash::of(b"an order");
        assert_eq!(etag(hash), format!("\"{hash}\""));
    }
}
