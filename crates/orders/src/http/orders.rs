//! Lists of orders.

use axum::{
    extract::{Query, State as Extract},
    response::{IntoResponse, Response},
};
use chassis::problem::Problem;
use http::{HeaderValue, header};
use serde::Deserialize;
use time::OffsetDateTime;

use super::{State, problems};
use crate::{
    store::{self, Listing},
    web::path_segment,
};

const DEFAULT_LIMIT: i64 = 50;
const MAX_LIMIT: i64 = 500;

#[derive(Deserialize)]
pub(super) struct Wanted {
    customer_id: Option<String>,
    track_number: Option<String>,
    limit: Option<i64>,
    after: Option<String>,
}

/// `GET /orders`
pub(super) async fn list(
    Extract(state): Extract<State>,
    Query(wanted): Query<Wanted>,
) -> Result<Response, Problem> {
    let limit = parse_limit(wanted.limit)?;
    let after = wanted.after.as_deref().map(parse_cursor).transpose()?;
    let listing = Listing {
        customer_id: wanted.customer_id,
        track_number: wanted.track_number,
        after,
        limit: limit + 1,
    };
    let mut orders = store::list(&state.pool, &listing).await.map_err(|error| {
        tracing::warn!("listing orders: {error}");
        problems::database_silent()
    })?;
    // One more than wanted was asked for: whether it came tells whether there is a next page.
    let more = orders.len() as i64 > limit;
    orders.truncate(usize::try_from(limit).unwrap_or(0));
    let next = orders
        .last()
        .filter(|_| more)
        .map(|last| cursor(last.ingested_at, last.view.order_uid.as_str()));

    let mut body = b"{\"items\":[".to_vec();
    for (index, order) in orders.iter().enumerate() {
        if index > 0 {
            body.push(b',');
        }
        body.extend_from_slice(&order.view.json);
    }
    body.extend_from_slice(b"],\"next\":");
    body.extend_from_slice(serde_json::to_string(&next).expect("a text is JSON").as_bytes());
    body.push(b'}');
    let mut response = ([(header::CONTENT_TYPE, "application/json")], body).into_response();
    if let Some(next) = next {
        let mut query = format!("limit={limit}&after={}", path_segment(&next));
        for (name, value) in
            [("customer_id", &listing.customer_id), ("track_number", &listing.track_number)]
        {
            if let Some(value) = value {
                query.push_str(&format!("&{name}={}", path_segment(value)));
            }
        }
        link_next(&mut response, &format!("/orders?{query}"));
    }
    Ok(response)
}

pub(super) fn link_next(response: &mut Response, path: &str) {
    if let Ok(value) = HeaderValue::try_from(format!("<{path}>; rel=\"next\"")) {
        response.headers_mut().insert(header::LINK, value);
    }
}

pub(super) fn parse_limit(limit: Option<i64>) -> Result<i64, Problem> {
    match limit.unwrap_or(DEFAULT_LIMIT) {
        limit @ 1..=MAX_LIMIT => Ok(limit),
        _ => Err(problems::bad_parameter("limit", "must be a whole number from 1 to 500")),
    }
}

/// Where a page ended: the last row's instant in microseconds, and its id.
pub(super) fn cursor(at: OffsetDateTime, id: &str) -> String {
    format!("{}.{id}", at.unix_timestamp_nanos() / 1_000)
}

pub(super) fn parse_cursor(text: &str) -> Result<(OffsetDateTime, String), Problem> {
    let wrong = || problems::bad_parameter("after", "must be the \"next\" of an earlier page");
    let (micros, id) = text.split_once('.').ok_or_else(wrong)?;
    let nanos =
        micros.parse::<i64>().ok().map(|micros| i128::from(micros) * 1_000).ok_or_else(wrong)?;
    Ok((OffsetDateTime::from_unix_timestamp_nanos(nanos).map_err(|_| wrong())?, id.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_comes_back_as_it_went() {
        let at = OffsetDateTime::from_unix_timestamp_nanos(1_637_907_727_123_456_000).unwrap();
        let (again, id) = parse_cursor(&cursor(at, "a.b ю")).unwrap();
        assert_eq!((again, id.as_str()), (at, "a.b ю"));
        for wrong in ["", "x", "x.y", "99999999999999999999.a"] {
            assert_eq!(parse_cursor(wrong).unwrap_err().status, 400, "{wrong}");
        }
    }
}
