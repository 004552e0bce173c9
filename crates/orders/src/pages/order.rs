//! The page of an order.

use std::time::{Duration, Instant};

use askama::Template;
use axum::{extract::State, response::Response};
use chassis::{
    http::{Id, Parameters, problem::Problem, problems::INTERNAL},
    web::{
        Lang, Reader, time_markup,
        words::{counted, fill},
    },
};
use events::{DeliveryEvent, OrderUid};
use http::StatusCode;
use time::OffsetDateTime;

use super::{
    Frame, PageState,
    barcode::Bars,
    delivery::DeliveryView,
    frame::{LISTS_TIMEOUT, NEWEST_ORDERS},
    history::{HistoryView, OrderHistory},
    messages::{self, MissingOrder},
    render,
    sums::{Sum, sums},
    words::Words,
};
use crate::{
    http::{WaitQuery, order, order_path},
    lookup::{AnsweredBy, Found, queries},
    order::Order,
    status::history::{self, OrderState},
};

/// The most events of an order on its page.
const MAX_EVENTS: i64 = 50;
/// The longest wait for the history. After that, the page is sent without it.
const HISTORY_TIMEOUT: Duration = Duration::from_secs(2);
/// The widest bar code that is drawn at two pixels a module, in pixels.
const MAX_BARS_WIDTH: u32 = 440;

/// `GET /order/{order_uid}`
pub(crate) async fn get(
    State(state): State<PageState>,
    Id(asked): Id,
    reader: Reader,
    Parameters(query): Parameters<WaitQuery>,
) -> Result<Response, Problem> {
    let started = Instant::now();
    let uid: OrderUid = match asked.parse() {
        Ok(uid) => uid,
        Err(rule) => {
            let page = messages::malformed(&Frame::load(&state, &reader).await, &asked, rule);
            return Ok(reader.send(StatusCode::BAD_REQUEST, page));
        }
    };
    let wait = query.wait()?;
    let found = order::find(&state.api, &uid, wait).await;
    let took = started.elapsed();
    match found {
        Ok(Some(found)) => show(&state, &reader, &uid, &found, took).await,
        Ok(None) => Ok(missing(&state, &reader, &uid, wait).await),
        Err(_) => {
            let frame = Frame::load(&state, &reader).await;
            let page = messages::order_unavailable(&frame, uid.as_str());
            Ok(reader.send(StatusCode::SERVICE_UNAVAILABLE, page))
        }
    }
}

async fn show(
    state: &PageState,
    reader: &Reader,
    uid: &OrderUid,
    found: &Found,
    took: Duration,
) -> Result<Response, Problem> {
    let (cached, source) = found;
    let order: Order<'_> = serde_json::from_slice(cached.as_ref()).map_err(|_| {
        tracing::error!(order.uid = %uid, "a cached order is not the canonical order");
        INTERNAL.problem()
    })?;
    let history = history::find_history(&state.api.pool, uid, None, MAX_EVENTS);
    let history = tokio::time::timeout(HISTORY_TIMEOUT, history);
    let (frame, history) = tokio::join!(Frame::load(state, reader), history);
    let (current, events) = history.ok().and_then(Result::ok).unzip();
    let current = current.as_ref().and_then(Option::as_ref);
    let history = current.zip(events.as_ref()).and_then(|(current, events)| {
        Some(OrderHistory {
            status: current.status()?,
            stored: current.stored.as_ref()?,
            orders_topic: &state.api.topics.orders,
            events: &events.rows,
            more: events.has_next,
        })
    });
    let page = OrderPage {
        frame,
        order: &order,
        version: i64::from(cached.version()),
        source: *source,
        took,
        history,
        delivery: current.and_then(|current| current.delivery.as_ref()),
        delivery_url: state.courier_service.as_ref().map(|service| service.delivery_url(uid)),
    };
    let mut response = reader.send(StatusCode::OK, page.html());
    order::add_source(response.headers_mut(), found, took);
    Ok(response)
}

/// The page about an order that is not stored. The text asked for may be a track number.
async fn missing(
    state: &PageState,
    reader: &Reader,
    uid: &OrderUid,
    waited: Option<Duration>,
) -> Response {
    let by_track = queries::newest(&state.api.pool, Some(uid.as_str()), NEWEST_ORDERS);
    let by_track = tokio::time::timeout(LISTS_TIMEOUT, by_track);
    let known = history::find_state(&state.api.pool, uid);
    let known = tokio::time::timeout(HISTORY_TIMEOUT, known);
    let (frame, by_track, known) = tokio::join!(Frame::load(state, reader), by_track, known);
    let by_track = by_track.ok().and_then(Result::ok).unwrap_or_default();
    // An order that is stored by now was not when it was looked up: the page offers to wait for it.
    let known = known.ok().and_then(Result::ok).flatten().filter(|known| known.stored.is_none());
    let page = MissingOrder {
        frame: &frame,
        uid: uid.as_str(),
        by_track: &by_track,
        waited,
        events: known.as_ref().map(OrderState::status),
        delivery: known.as_ref().and_then(|known| known.delivery.as_ref()),
    };
    reader.send(StatusCode::NOT_FOUND, messages::missing(&page))
}

/// An order, and how it was found.
pub(super) struct OrderPage<'a> {
    pub(super) frame: Frame<'a>,
    pub(super) order: &'a Order<'a>,
    pub(super) version: i64,
    pub(super) source: AnsweredBy,
    pub(super) took: Duration,
    /// `None` if the database does not answer.
    pub(super) history: Option<OrderHistory<'a>>,
    pub(super) delivery: Option<&'a DeliveryEvent>,
    /// The address at which the courier service has the delivery.
    pub(super) delivery_url: Option<String>,
}

impl OrderPage<'_> {
    pub(super) fn html(&self) -> String {
        let (lang, words, order) = (self.frame.lang, self.frame.words(), self.order);
        let (uid, delivery) = (order.order_uid.as_str(), &order.delivery);
        let bars = Bars::of(&order.track_number);
        render(&OrderTemplate {
            frame: &self.frame,
            words,
            tab: "orders",
            lang,
            order,
            placed: fill(words.placed, lang.date_time(order.date_created)),
            delivered_by: fill(words.delivered_by, &*order.delivery_service),
            bars_width: bars.as_ref().map_or(0, drawn_width),
            bars_label: fill(words.bar_code_of, &*order.track_number),
            bars,
            place: joined(
                &[&joined(&[&delivery.city, &delivery.region], ", "), &delivery.zip],
                " ",
            ),
            paid_at: paid_at(lang, order.payment.payment_dt),
            paid_details: paid_details(words, order),
            customer_details: customer_details(words, order),
            items_title: counted(lang, &words.items, order.items.len()),
            sums: sums(lang, order),
            source: match self.source {
                AnsweredBy::Memory => words.from_memory,
                AnsweredBy::Redis => words.from_redis,
                AnsweredBy::Database => words.from_database,
            },
            source_good: self.source == AnsweredBy::Memory,
            took: lang.span(self.took),
            version: self.version,
            version_words: fill(words.version, lang.number(self.version)),
            json_href: format!("{}?format=json", order_path(uid)),
            json: serde_json::to_string_pretty(order).expect("an order becomes JSON"),
            history: self.history.as_ref().map(|history| HistoryView::of(lang, uid, history)),
            delivery: self.delivery.map(|event| DeliveryView::of(lang, event)),
            delivery_url: self.delivery_url.as_deref(),
        })
    }
}

#[derive(Template)]
#[template(path = "order.html")]
struct OrderTemplate<'a> {
    frame: &'a Frame<'a>,
    words: &'static Words,
    tab: &'static str,
    lang: Lang,
    order: &'a Order<'a>,
    placed: String,
    delivered_by: String,
    bars: Option<Bars>,
    bars_width: u32,
    bars_label: String,
    place: String,
    paid_at: Option<String>,
    paid_details: Vec<Detail>,
    customer_details: Vec<Detail>,
    items_title: String,
    sums: Vec<Sum>,
    source: &'static str,
    source_good: bool,
    took: String,
    version: i64,
    version_words: String,
    json_href: String,
    json: String,
    history: Option<HistoryView>,
    delivery: Option<DeliveryView>,
    delivery_url: Option<&'a str>,
}

/// A label and its value.
type Detail = (&'static str, String);

fn paid_details(words: &Words, order: &Order<'_>) -> Vec<Detail> {
    let payment = &order.payment;
    present(&[(words.transaction, &payment.transaction), (words.request, &payment.request_id)])
}

fn customer_details(words: &Words, order: &Order<'_>) -> Vec<Detail> {
    let sm_id = if order.sm_id == 0 { String::new() } else { order.sm_id.to_string() };
    present(&[
        (words.entry, &order.entry),
        (words.locale, &order.locale),
        (words.shard, &order.shardkey),
        ("oof", &order.oof_shard),
        ("sm", &sm_id),
        (words.signature, &order.internal_signature),
    ])
}

/// Returns the details that are not empty.
fn present(details: &[(&'static str, &str)]) -> Vec<Detail> {
    let present = details.iter().filter(|(_, value)| !value.is_empty());
    present.map(|(label, value)| (*label, (*value).to_owned())).collect()
}

/// Returns the markup of the time of payment. In the canonical order, 0 means that it is absent.
fn paid_at(lang: Lang, seconds: i64) -> Option<String> {
    let at = OffsetDateTime::from_unix_timestamp(seconds);
    let markup = at.map_or_else(|_| seconds.to_string(), |at| time_markup(lang, at));
    (seconds != 0).then_some(markup)
}

/// Returns the width in pixels: a whole number for each module, so that equal bars are drawn equally
/// wide.
fn drawn_width(bars: &Bars) -> u32 {
    let doubled = bars.modules * 2;
    if doubled <= MAX_BARS_WIDTH { doubled } else { bars.modules }
}

fn joined(parts: &[&str], by: &str) -> String {
    let parts: Vec<_> = parts.iter().filter(|part| !part.is_empty()).copied().collect();
    parts.join(by)
}
