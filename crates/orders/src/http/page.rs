//! The pages: gathers what each needs, and sends what [`web`](crate::pages) makes of it.

use std::time::Duration;

use axum::{
    extract::State as Extract,
    response::{IntoResponse, Redirect, Response},
};
use chassis::{
    http::{Id, Parameters, problem::Problem, problems},
    rejected::{self, RejectedRow, calls::Page},
    web::Reader,
};
use events::{InvalidOrderUid, OrderUid};
use http::{HeaderMap, StatusCode};
use serde::Deserialize;

use super::{State, couriers::Couriers, problems::all as all_problems};
use crate::{
    lookup::{
        AnsweredBy, Found,
        queries::{self, Listed, Listing},
    },
    order::{Order, violation::Code},
    pages::{self, ASSETS, Frame, NewestOrder, Silent},
    status::history::{self, EventRow},
};

/// How many of the newest orders a page shows.
const NEWEST: i64 = 12;
/// How many events of an order a page shows.
const EVENTS: i64 = 50;
/// A page goes without its side list rather than wait longer for it.
const PATIENCE: Duration = Duration::from_secs(2);

/// What stands around every page, owned.
struct Surroundings {
    couriers: Option<Couriers>,
    newest: Vec<NewestOrder>,
    rejected: Option<u64>,
    live: String,
}

impl Surroundings {
    /// Without a side list, when there is no database to ask.
    fn bare(state: &State) -> Self {
        let couriers = state.couriers.clone();
        Self { couriers, newest: Vec::new(), rejected: None, live: String::new() }
    }

    async fn find(state: &State) -> Self {
        let listing = Listing { limit: NEWEST, ..Listing::default() };
        // Before the list is read: what is stored while it is comes by the feed once more.
        let live = state.feed.last();
        let both = async {
            tokio::join!(queries::list(&state.pool, &listing), rejected::count(&state.pool))
        };
        match tokio::time::timeout(PATIENCE, both).await {
            Ok((newest, rejected)) => Self {
                couriers: state.couriers.clone(),
                newest: newest.map(newest_orders).unwrap_or_else(|_| Vec::new()),
                rejected: rejected.ok(),
                live,
            },
            Err(_) => Self::bare(state),
        }
    }

    fn frame<'a>(&'a self, reader: &'a Reader) -> Frame<'a> {
        Frame {
            shared: reader.frame(&ASSETS),
            board: self.couriers.as_ref().map(Couriers::board),
            newest: &self.newest,
            rejected: self.rejected,
            live: &self.live,
        }
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
    Parameters(search): Parameters<Search>,
    reader: Reader,
) -> Response {
    if let Some(uid) = search.uid.as_deref().map(str::trim).filter(|uid| !uid.is_empty()) {
        return Redirect::to(&pages::order_href(uid)).into_response();
    }
    let around = Surroundings::find(&state).await;
    reader.send(StatusCode::OK, pages::home(around.frame(&reader)))
}

/// The page of an order that was found.
pub(super) async fn order(
    state: &State,
    reader: &Reader,
    uid: &OrderUid,
    found: &Found,
    took: Duration,
) -> Response {
    let (cached, source) = found;
    let Ok(order) = serde_json::from_slice::<Order>(cached.as_ref()) else {
        tracing::error!(order.uid = %uid, "a cached order is not the canonical order");
        return problems::internal().into_response();
    };
    let found_out = history::find_history(&state.pool, uid, None, EVENTS + 1);
    let (around, known) =
        tokio::join!(Surroundings::find(state), tokio::time::timeout(PATIENCE, found_out));
    let known = known.ok().and_then(Result::ok);
    let events = known.as_ref().map_or(&[][..], |(_, events)| events);
    let shown = &events[..events.len().min(EVENTS as usize)];
    let told: Vec<_> = shown.iter().map(told).collect();
    let standing = known.as_ref().and_then(|(standing, _)| standing.as_ref());
    let life = standing.and_then(|standing| {
        let stored = standing.stored.as_ref()?;
        Some(pages::Life {
            status: standing.status()?,
            stored: pages::Stored {
                at: stored.ingested_at,
                version: i64::from(stored.version),
                record_timestamp: stored.record_timestamp,
                position: pages::Position {
                    topic: &state.topics.orders,
                    partition: stored.partition,
                    offset: stored.offset,
                },
            },
            events: &told,
            more: shown.len() < events.len(),
        })
    });
    let delivery_url = state.couriers.as_ref().map(|couriers| couriers.delivery(uid));
    let page = pages::OrderPage {
        frame: around.frame(reader),
        order: &order,
        version: i64::from(cached.version()),
        source: match source {
            AnsweredBy::Memory => pages::Source::Memory,
            AnsweredBy::Redis => pages::Source::Redis,
            AnsweredBy::Database => pages::Source::Database,
        },
        took,
        life,
        delivery_url: delivery_url.as_deref(),
    };
    reader.send(StatusCode::OK, pages::order(&page))
}

fn told(event: &EventRow) -> pages::Told<'_> {
    pages::Told {
        at: event.at,
        position: pages::Position {
            topic: &event.topic,
            partition: event.partition,
            offset: event.offset,
        },
        word: &event.word,
        status: event.status,
        version: event.version,
        ignored: event.ignored,
    }
}

/// The page of an order that is not here. What was asked for may be a track number.
pub(super) async fn missing(
    state: &State,
    reader: &Reader,
    uid: &OrderUid,
    waited: Option<Duration>,
) -> Response {
    let listing = Listing {
        track_number: Some(uid.as_str().to_owned()),
        limit: NEWEST,
        ..Listing::default()
    };
    let by_track = tokio::time::timeout(PATIENCE, queries::list(&state.pool, &listing));
    let (around, by_track) = tokio::join!(Surroundings::find(state), by_track);
    let by_track = by_track.ok().and_then(Result::ok).map_or_else(Vec::new, newest_orders);
    let page = pages::Missing {
        frame: around.frame(reader),
        uid: uid.as_str(),
        by_track: &by_track,
        waited,
    };
    reader.send(StatusCode::NOT_FOUND, pages::missing(&page))
}

pub(super) async fn malformed(
    state: &State,
    reader: &Reader,
    asked: &str,
    why: InvalidOrderUid,
) -> Response {
    let around = Surroundings::find(state).await;
    reader.send(StatusCode::BAD_REQUEST, pages::malformed(around.frame(reader), asked, why))
}

pub(super) async fn order_trouble(state: &State, reader: &Reader, uid: &OrderUid) -> Response {
    let around = Surroundings::find(state).await;
    reader.send(
        StatusCode::SERVICE_UNAVAILABLE,
        pages::order_trouble(around.frame(reader), uid.as_str()),
    )
}

/// Rejected records that cannot be shown or sent again; `again` is where to try.
pub(super) fn trouble(state: &State, reader: &Reader, silent: Silent, again: &str) -> Response {
    let around = Surroundings::bare(state);
    let html = pages::trouble(around.frame(reader), silent, again.to_owned());
    reader.send(StatusCode::SERVICE_UNAVAILABLE, html)
}

/// Why a rejected record was not found.
pub(super) async fn no_rejection(
    state: &State,
    reader: &Reader,
    id: &str,
    problem: &Problem,
) -> Response {
    if problem.is_passing() {
        return trouble(state, reader, Silent::Database, &pages::rejection_href(id));
    }
    let around = Surroundings::find(state).await;
    let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::NOT_FOUND);
    reader.send(status, pages::no_rejection(around.frame(reader), id))
}

/// The page of rejected records.
pub(super) async fn rejected_list(state: &State, reader: &Reader, found: &Page) -> Response {
    let around = Surroundings::find(state).await;
    let ids: Vec<String> = found.rows.iter().map(|row| row.id().to_string()).collect();
    let shown: Vec<_> = found
        .rows
        .iter()
        .zip(&ids)
        .map(|(row, id)| pages::RejectedRow {
            id,
            at: row.rejected_at,
            position: position(row),
            reason: &row.reason,
            violations: &row.violations.0,
        })
        .collect();
    let reasons: Vec<&str> = Code::ALL.iter().map(|code| code.as_str()).collect();
    let page = pages::RejectedPage {
        frame: around.frame(reader),
        reason: found.reason.as_deref(),
        key: found.key.as_deref(),
        reasons: &reasons,
        rows: &shown,
        next: found.next.as_deref(),
    };
    reader.send(StatusCode::OK, pages::rejected(&page))
}

/// The page of one rejected record.
pub(super) async fn rejection(state: &State, reader: &Reader, row: &RejectedRow) -> Response {
    let around = Surroundings::find(state).await;
    let replays: Vec<_> = row
        .replays_in_order()
        .into_iter()
        .map(|replay| pages::Replay {
            at: replay.at,
            corrected: replay.edited,
            position: Some(pages::Position {
                topic: &state.topics.orders,
                partition: replay.partition,
                offset: replay.offset,
            }),
        })
        .collect();
    let page = pages::RejectionPage {
        frame: around.frame(reader),
        id: &row.id().to_string(),
        at: row.rejected_at,
        position: position(row),
        reason: &row.reason,
        violations: &row.violations.0,
        key: row.key.as_deref(),
        value: row.value.as_deref(),
        replays: &replays,
    };
    reader.send(StatusCode::OK, pages::rejection(&page))
}

fn position(row: &RejectedRow) -> pages::Position<'_> {
    pages::Position { topic: &row.topic, partition: row.partition, offset: row.offset }
}

/// `GET /docs`
pub(super) async fn docs(Extract(state): Extract<State>, reader: Reader) -> Response {
    let around = Surroundings::find(&state).await;
    reader.send(StatusCode::OK, pages::docs(around.frame(&reader), &all_problems()))
}

/// `GET /openapi.json`
pub(super) async fn openapi() -> Response {
    chassis::web::docs::openapi(pages::OPENAPI)
}

/// `GET /assets/…`
pub(super) async fn asset(Id(name): Id, headers: HeaderMap) -> Response {
    ASSETS.answer(&name, &headers)
}

/// What is at no address.
pub(super) async fn nowhere(Extract(state): Extract<State>, reader: Reader) -> Response {
    if !reader.wants_page() {
        return problems::no_such_page().into_response();
    }
    let around = Surroundings::find(&state).await;
    reader.send(StatusCode::NOT_FOUND, pages::no_page(around.frame(&reader)))
}
