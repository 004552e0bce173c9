//! One order: reading it, and sending orders.

use std::time::{Duration, Instant};

use axum::{
    body::{Body, Bytes},
    extract::{State as Extract, rejection::BytesRejection},
    response::{IntoResponse, Response},
};
use chassis::{
    http::{Id, Parameters, problem::Problem, problems as shared},
    kafka::producer::{Deliveries, OutgoingRecord},
    process::trace::{self, Trace},
    web::Reader,
};
use events::OrderUid;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use serde::Deserialize;
use serde_json::json;

use super::{State, page, problems};
use crate::{
    lookup::Found,
    order::{
        content_hash::ContentHash,
        parse::{ValidOrder, parse_many},
    },
    pages::order_href,
};

/// The longest `?wait`.
const MAX_WAIT: Duration = Duration::from_secs(30);
/// How long Kafka may take to confirm.
const KAFKA_PATIENCE: Duration = Duration::from_secs(10);

#[derive(Deserialize)]
pub(super) struct How {
    wait: Option<String>,
}

impl How {
    /// How long the client would wait, if it said so.
    pub(super) fn wait(&self) -> Result<Option<Duration>, Problem> {
        self.wait.as_deref().map(parse_wait).transpose()
    }
}

/// `GET /order/{order_uid}`
pub(super) async fn get(
    Extract(state): Extract<State>,
    Id(asked): Id,
    reader: Reader,
    Parameters(how): Parameters<How>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let started = Instant::now();
    let uid: OrderUid = match asked.parse() {
        Ok(uid) => uid,
        Err(why) if reader.wants_page() => {
            return Ok(page::malformed(&state, &reader, &asked, why).await);
        }
        Err(why) => return Err(shared::malformed_id(format!("the order id {why}"))),
    };
    let wait = how.wait()?;
    let found = match wait {
        None => state.lookup.find(&uid).await,
        Some(wait) => state.lookup.wait(&uid, wait).await,
    };
    let took = started.elapsed();
    match found {
        Ok(Some(found)) if reader.wants_page() => {
            let mut response = page::order(&state, &reader, &uid, &found, took).await;
            tell(response.headers_mut(), &found, took);
            Ok(response)
        }
        Ok(Some(found)) => Ok(answer(&found, took, &headers)),
        Ok(None) if reader.wants_page() => Ok(page::missing(&state, &reader, &uid, wait).await),
        Ok(None) => Err(problems::no_such_order()),
        Err(_) if reader.wants_page() => Ok(page::order_trouble(&state, &reader, &uid).await),
        Err(_) => Err(shared::database_silent()),
    }
}

/// The order as JSON, or that it is what the client has.
pub(super) fn answer(found: &Found, took: Duration, request: &HeaderMap) -> Response {
    let (cached, _) = found;
    let etag = etag(cached.hash());
    let unchanged = request
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|tag| tag.trim().trim_start_matches("W/"))
        .any(|tag| tag == "*" || tag == etag);
    let mut response = Response::default();
    let headers = response.headers_mut();
    // Room for all of them at once.
    headers.reserve(12);
    headers.insert(header::ETAG, etag);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    headers.insert(header::VARY, HeaderValue::from_static("Accept"));
    tell(headers, found, took);
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

/// Where an answer came from and how long it took.
fn tell(headers: &mut HeaderMap, (cached, source): &Found, took: Duration) {
    let (source, micros) = (source.as_str(), took.as_micros());
    let timing = format!("cache;desc=\"{source}\";dur={}.{:03}", micros / 1_000, micros % 1_000);
    headers.insert(X_ORDER_VERSION, HeaderValue::from(cached.version()));
    headers.insert(X_CACHE, HeaderValue::from_static(source));
    headers.insert(SERVER_TIMING, ascii(&timing));
}

fn etag(hash: ContentHash) -> HeaderValue {
    let mut tag = [b'"'; 34];
    for (place, byte) in hash.as_bytes().iter().enumerate() {
        tag[1 + 2 * place] = b"0123456789abcdef"[usize::from(byte >> 4)];
        tag[2 + 2 * place] = b"0123456789abcdef"[usize::from(byte & 15)];
    }
    HeaderValue::from_bytes(&tag).expect("digits, letters and quotes are valid in a header")
}

fn ascii(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).expect("what is written here is valid in a header")
}

/// `5s`, `500ms` or whole seconds, at most 30 s.
fn parse_wait(text: &str) -> Result<Duration, Problem> {
    let wait = if let Some(milliseconds) = text.strip_suffix("ms") {
        milliseconds.parse().map(Duration::from_millis)
    } else {
        text.trim_end_matches('s').parse().map(Duration::from_secs)
    };
    match wait {
        Ok(wait) if wait <= MAX_WAIT => Ok(wait),
        _ => Err(shared::bad_parameter("wait", "must be a time such as 5s or 500ms, at most 30s")),
    }
}

/// `POST /order`
pub(super) async fn post(
    Extract(state): Extract<State>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Problem> {
    let body = body.map_err(|rejection| shared::body_unreadable(&rejection))?;
    let orders = parse_many(&body).map_err(problems::invalid_orders)?;
    let sent = send(&state, &orders, Trace::of(&headers));
    match tokio::time::timeout(KAFKA_PATIENCE, sent).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            tracing::warn!("sending orders to Kafka: {error}");
            return Err(shared::kafka_silent());
        }
        Err(_) => return Err(shared::kafka_silent()),
    }
    let uids: Vec<&OrderUid> = orders.iter().map(|valid| &valid.order.order_uid).collect();
    let mut response =
        (StatusCode::ACCEPTED, axum::Json(json!({ "accepted": uids }))).into_response();
    if let [uid] = uids.as_slice() {
        let path = order_href(uid.as_str());
        response.headers_mut().insert(header::LOCATION, ascii(&path));
    }
    Ok(response)
}

async fn send(
    state: &State,
    orders: &[ValidOrder<'_>],
    trace: Trace,
) -> Result<(), chassis::kafka::producer::ProduceError> {
    let deliveries = Deliveries::new();
    for valid in orders {
        let step = trace.child().header();
        let record = OutgoingRecord {
            topic: &state.topics.orders,
            key: Some(valid.order.order_uid.as_str().as_bytes()),
            value: Some(&valid.json),
            headers: &[(trace::HEADER, &step)],
        };
        state.producer.enqueue(record, &deliveries).await?;
    }
    deliveries.settled().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_the_hash_in_quotes() {
        let hash = ContentHash::of(b"an order");
        assert_eq!(etag(hash), format!("\"{hash}\""));
    }

    #[test]
    fn wait_takes_times_up_to_half_a_minute() {
        assert_eq!(parse_wait("5s").unwrap(), Duration::from_secs(5));
        assert_eq!(parse_wait("5").unwrap(), Duration::from_secs(5));
        assert_eq!(parse_wait("250ms").unwrap(), Duration::from_millis(250));
        for wrong in ["31s", "30001ms", "", "-1s", "soon"] {
            assert_eq!(parse_wait(wrong).unwrap_err().status, 400, "{wrong}");
        }
    }
}
