//! The pages: gathers what each needs, and sends what [`web`](crate::web) makes of it.

use std::{convert::Infallible, time::Duration};

use axum::{
    extract::{FromRequestParts, Path, Query, State as Extract},
    response::{IntoResponse, Redirect, Response},
};
use events::{InvalidOrderUid, OrderUid};
use http::{HeaderMap, HeaderValue, StatusCode, header, request::Parts};
use serde::Deserialize;
use time::OffsetDateTime;

use super::{State, problems};
use crate::{
    lookup::{Found, Source},
    order::Order,
    rejected::{self, RejectedRow},
    rejection::Code,
    store::{self, Listed, Listing},
    web::{self, Frame, Lang, NewestOrder},
};

/// How many of the newest orders a page shows.
const NEWEST: i64 = 12;
/// A page goes without its side list rather than wait longer for it.
const PATIENCE: Duration = Duration::from_millis(500);

/// Whoever asks for a page rather than for JSON: whose `Accept` names `text/html`, unless
/// `?format=json`.
pub(super) struct Reader {
    wants_page: bool,
    lang: Lang,
    chosen: bool,
    here: String,
}

#[derive(Deserialize)]
struct Choice {
    lang: Option<String>,
    format: Option<String>,
}

impl<S: Sync> FromRequestParts<S> for Reader {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let choice = Query::<Choice>::try_from_uri(&parts.uri)
            .map_or(Choice { lang: None, format: None }, |Query(choice)| choice);
        let text =
            |name| parts.headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
        let wants_page = choice.format.as_deref() != Some("json")
            && text(header::ACCEPT).is_some_and(|accept| accept.contains("text/html"));
        let lang = Lang::choose(
            choice.lang.as_deref(),
            text(header::COOKIE),
            text(header::ACCEPT_LANGUAGE),
        );
        let query: Vec<&str> = parts
            .uri
            .query()
            .into_iter()
            .flat_map(|query| query.split('&'))
            .filter(|pair| !pair.starts_with("lang="))
            .collect();
        let mut here = parts.uri.path().to_owned();
        if !query.is_empty() {
            here = format!("{here}?{}", query.join("&"));
        }
        Ok(Self { wants_page, lang, chosen: choice.lang.is_some(), here })
    }
}

/// What stands around every page, owned.
struct Surroundings {
    newest: Vec<NewestOrder>,
    rejected: Option<u64>,
}

impl Reader {
    pub(super) fn wants_page(&self) -> bool {
        self.wants_page
    }

    async fn surroundings(&self, state: &State) -> Surroundings {
        let listing = Listing { limit: NEWEST, ..Listing::default() };
        let both = async {
            tokio::join!(store::list(&state.pool, &listing), rejected::count(&state.pool))
        };
        match tokio::time::timeout(PATIENCE, both).await {
            Ok((newest, rejected)) => Surroundings {
                newest: newest.map(newest_orders).unwrap_or_else(|_| Vec::new()),
                rejected: rejected.ok(),
            },
            Err(_) => Surroundings { newest: Vec::new(), rejected: None },
        }
    }

    fn frame<'a>(&'a self, around: &'a Surroundings) -> Frame<'a> {
        Frame {
            lang: self.lang,
            here: &self.here,
            now: OffsetDateTime::now_utc(),
            newest: &around.newest,
            rejected: around.rejected,
        }
    }

    fn send(&self, status: StatusCode, html: String) -> Response {
        let mut response = (
            status,
            [
                (header::CONTENT_TYPE, "text/html; charset=utf-8"),
                (header::CONTENT_SECURITY_POLICY, web::CONTENT_SECURITY_POLICY),
                (header::CACHE_CONTROL, "private, no-cache"),
                (header::VARY, "Accept, Accept-Language, Cookie"),
                (header::REFERRER_POLICY, "same-origin"),
            ],
            html,
        )
            .into_response();
        if self.chosen
            && let Ok(cookie) = HeaderValue::try_from(self.lang.cookie())
        {
            response.headers_mut().insert(header::SET_COOKIE, cookie);
        }
        response
    }
}

fn newest_orders(orders: Vec<Listed>) -> Vec<NewestOrder> {
    orders
        .into_iter()
        .map(|order| NewestOrder { uid: order.view.order_uid, ingested_at: order.ingested_at })
        .collect()
}

#[derive(Deserialize)]
pub(super) struct Search {
    uid: Option<String>,
}

/// `GET /`: the search, and where its form leads.
pub(super) async fn home(
    Extract(state): Extract<State>,
    Query(search): Query<Search>,
    reader: Reader,
) -> Response {
    if let Some(uid) = search.uid.as_deref().map(str::trim).filter(|uid| !uid.is_empty()) {
        return Redirect::to(&web::order_href(uid)).into_response();
    }
    let around = reader.surroundings(&state).await;
    reader.send(StatusCode::OK, web::home(reader.frame(&around)))
}

/// The page of an order that was found.
pub(super) async fn order(
    state: &State,
    reader: &Reader,
    found: &Found,
    took: Duration,
) -> Response {
    let view = &found.0.view;
    let Ok(order) = serde_json::from_slice::<Order>(&view.json) else {
        tracing::error!(order.uid = %view.order_uid, "a cached order is not the canonical order");
        return problems::internal().into_response();
    };
    let around = reader.surroundings(state).await;
    let provenance =
        tokio::time::timeout(PATIENCE, store::provenance(&state.pool, &view.order_uid)).await;
    let received = provenance.ok().and_then(Result::ok).flatten().map(|from| {
        let position = web::Position {
            topic: &state.topics.orders,
            partition: from.source_partition,
            offset: from.source_offset,
        };
        (from.ingested_at, position)
    });
    let page = web::OrderPage {
        frame: reader.frame(&around),
        order: &order,
        version: i64::from(view.version),
        source: match found.1 {
            Source::Memory => web::Source::Memory,
            Source::Redis => web::Source::Redis,
            Source::Database => web::Source::Database,
        },
        took,
        received,
    };
    reader.send(StatusCode::OK, web::order(&page))
}

/// The page of an order that is not here. What was asked for may be a track number.
pub(super) async fn missing(
    state: &State,
    reader: &Reader,
    uid: &OrderUid,
    waited: Option<Duration>,
) -> Response {
    let around = reader.surroundings(state).await;
    let listing = Listing {
        track_number: Some(uid.as_str().to_owned()),
        limit: NEWEST,
        ..Listing::default()
    };
    let by_track = tokio::time::timeout(PATIENCE, store::list(&state.pool, &listing)).await;
    let by_track = by_track.ok().and_then(Result::ok).map_or_else(Vec::new, newest_orders);
    let page = web::Missing {
        frame: reader.frame(&around),
        uid: uid.as_str(),
        by_track: &by_track,
        waited,
    };
    reader.send(StatusCode::NOT_FOUND, web::missing(&page))
}

pub(super) async fn malformed(
    state: &State,
    reader: &Reader,
    asked: &str,
    why: InvalidOrderUid,
) -> Response {
    let around = reader.surroundings(state).await;
    reader.send(StatusCode::BAD_REQUEST, web::malformed(reader.frame(&around), asked, why))
}

pub(super) async fn order_trouble(state: &State, reader: &Reader, uid: &OrderUid) -> Response {
    let around = reader.surroundings(state).await;
    reader.send(
        StatusCode::SERVICE_UNAVAILABLE,
        web::order_trouble(reader.frame(&around), uid.as_str()),
    )
}

/// A list that the silent database cannot give.
pub(super) fn trouble(reader: &Reader) -> Response {
    let around = Surroundings { newest: Vec::new(), rejected: None };
    reader.send(StatusCode::SERVICE_UNAVAILABLE, web::trouble(reader.frame(&around)))
}

/// The page of rejected records.
pub(super) async fn rejected_list(
    state: &State,
    reader: &Reader,
    rows: &[RejectedRow],
    reason: Option<&str>,
    next: Option<&str>,
) -> Response {
    let around = reader.surroundings(state).await;
    let ids: Vec<String> = rows.iter().map(|row| row.id().to_string()).collect();
    let shown: Vec<_> = rows
        .iter()
        .zip(&ids)
        .map(|(row, id)| web::RejectedRow {
            id,
            at: row.rejected_at,
            position: position(row),
            reason: &row.reason,
            violations: &row.violations.0,
        })
        .collect();
    let reasons: Vec<&str> = Code::ALL.iter().map(|code| code.as_str()).collect();
    let page = web::RejectedPage {
        frame: reader.frame(&around),
        reason,
        reasons: &reasons,
        rows: &shown,
        next,
    };
    reader.send(StatusCode::OK, web::rejected(&page))
}

/// The page of one rejected record.
pub(super) async fn rejection(state: &State, reader: &Reader, row: &RejectedRow) -> Response {
    let around = reader.surroundings(state).await;
    let replays: Vec<_> = row
        .replays_in_order()
        .into_iter()
        .map(|replay| web::Replay {
            at: replay.at,
            corrected: replay.edited,
            position: Some(web::Position {
                topic: &state.topics.orders,
                partition: replay.partition,
                offset: replay.offset,
            }),
        })
        .collect();
    let page = web::RejectionPage {
        frame: reader.frame(&around),
        id: &row.id().to_string(),
        at: row.rejected_at,
        position: position(row),
        reason: &row.reason,
        violations: &row.violations.0,
        key: row.key.as_deref(),
        value: row.value.as_deref(),
        replays: &replays,
    };
    reader.send(StatusCode::OK, web::rejection(&page))
}

fn position(row: &RejectedRow) -> web::Position<'_> {
    web::Position { topic: &row.topic, partition: row.partition, offset: row.offset }
}

/// `GET /docs`
pub(super) async fn docs(Extract(state): Extract<State>, reader: Reader) -> Response {
    let around = reader.surroundings(&state).await;
    reader.send(StatusCode::OK, web::docs(reader.frame(&around)))
}

/// `GET /openapi.json`
pub(super) async fn openapi() -> impl IntoResponse {
    (
        [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-cache")],
        web::OPENAPI,
    )
}

/// `GET /assets/…`
pub(super) async fn asset(Path(name): Path<String>, headers: HeaderMap) -> Response {
    let Some(asset) = web::asset(&format!("/assets/{name}")) else {
        return problems::no_such_page().await.into_response();
    };
    if headers.get(header::IF_NONE_MATCH).is_some_and(|tag| tag == asset.etag) {
        return StatusCode::NOT_MODIFIED.into_response();
    }
    let headers = [
        (header::CONTENT_TYPE, asset.content_type),
        (header::CACHE_CONTROL, asset.cache_control),
        (header::ETAG, asset.etag),
    ];
    (headers, asset.bytes).into_response()
}

/// What is at no address.
pub(super) async fn nowhere(Extract(state): Extract<State>, reader: Reader) -> Response {
    if !reader.wants_page() {
        return problems::no_such_page().await.into_response();
    }
    let around = reader.surroundings(&state).await;
    reader.send(StatusCode::NOT_FOUND, web::no_page(reader.frame(&around)))
}
