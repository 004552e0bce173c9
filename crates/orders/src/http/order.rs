//! One order: reading it, and sending orders.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    body::{Body, Bytes},
    extract::{Path, Query, State as Extract, rejection::BytesRejection},
    response::{IntoResponse, Response},
};
use chassis::{
    problem::Problem,
    producer::{Deliveries, OutgoingRecord},
};
use events::OrderUid;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::Deserialize;
use serde_json::json;

use super::{State, problems};
use crate::{
    cache::Cached,
    lookup::Source,
    record::{ValidOrder, parse_many},
};

/// The longest `?wait`.
const MAX_WAIT: Duration = Duration::from_secs(30);
/// How long Kafka may take to confirm.
const KAFKA_PATIENCE: Duration = Duration::from_secs(10);

#[derive(Deserialize)]
pub(super) struct How {
    wait: Option<String>,
}

/// `GET /order/{order_uid}`
pub(super) async fn get(
    Extract(state): Extract<State>,
    Path(uid): Path<String>,
    Query(how): Query<How>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let started = Instant::now();
    let uid: OrderUid = uid.parse().map_err(problems::malformed_uid)?;
    let found = match how.wait.as_deref() {
        None => state.lookup.find(&uid).await,
        Some(wait) => state.lookup.wait(&uid, parse_wait(wait)?).await,
    };
    let (cached, source) =
        found.map_err(|_| problems::database_silent())?.ok_or_else(problems::no_such_order)?;
    Ok(answer(&cached, source, started, &headers))
}

fn answer(cached: &Arc<Cached>, source: Source, started: Instant, request: &HeaderMap) -> Response {
    let view = &cached.view;
    let etag = format!("\"{}\"", view.hash);
    let unchanged = request
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|tag| {
            matches!(tag.trim().trim_start_matches("W/"), "*")
                || tag.trim().trim_start_matches("W/") == etag
        });
    let body = if unchanged { Body::empty() } else { Body::from(view.json.clone()) };
    let mut response = Response::new(body);
    if unchanged {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    }
    let timing = format!(
        "cache;desc=\"{}\";dur={:.3}",
        source.as_str(),
        started.elapsed().as_secs_f64() * 1_000.0
    );
    let headers = response.headers_mut();
    if !unchanged {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    headers.insert(header::ETAG, ascii(etag));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    headers.insert(header::VARY, HeaderValue::from_static("Accept"));
    headers.insert("x-order-version", HeaderValue::from(view.version));
    headers.insert("x-cache", HeaderValue::from_static(source.as_str()));
    headers.insert("server-timing", ascii(timing));
    response
}

fn ascii(text: String) -> HeaderValue {
    HeaderValue::try_from(text).expect("digits, letters and quotes are valid in a header")
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
        _ => {
            Err(problems::bad_parameter("wait", "must be a time such as 5s or 500ms, at most 30s"))
        }
    }
}

/// `POST /order`
pub(super) async fn post(
    Extract(state): Extract<State>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Problem> {
    let body = body.map_err(|_| problems::body_unreadable())?;
    let orders = parse_many(&body).map_err(problems::invalid_orders)?;
    match tokio::time::timeout(KAFKA_PATIENCE, send(&state, &orders)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            tracing::warn!("sending orders to Kafka: {error}");
            return Err(problems::kafka_silent());
        }
        Err(_) => return Err(problems::kafka_silent()),
    }
    let uids: Vec<&OrderUid> = orders.iter().map(|order| &order.order.order_uid).collect();
    let mut response =
        (StatusCode::ACCEPTED, axum::Json(json!({ "accepted": uids }))).into_response();
    if let [uid] = uids.as_slice() {
        let path: String = super::orders::encode(uid.as_str());
        response.headers_mut().insert(header::LOCATION, ascii(format!("/order/{path}")));
    }
    Ok(response)
}

async fn send(state: &State, orders: &[ValidOrder]) -> Result<(), chassis::producer::ProduceError> {
    let deliveries = Deliveries::new();
    for order in orders {
        let record = OutgoingRecord {
            topic: &state.topics.orders,
            key: Some(order.order.order_uid.as_str().as_bytes()),
            value: Some(&order.json),
            headers: &[],
        };
        state.producer.enqueue(record, &deliveries).await?;
    }
    deliveries.settled().await
}

#[cfg(test)]
mod tests {
    use super::*;

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
