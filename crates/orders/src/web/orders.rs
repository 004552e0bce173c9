//! The pages about orders: the search, an order, and why there is none to show.

use std::time::Duration;

use askama::Template;
use events::InvalidOrderUid;
use time::OffsetDateTime;

use super::{
    Frame, Lang, NewestOrder, Position,
    barcode::Bars,
    lang::machine_time,
    order_href, render, time_markup,
    words::{Words, counted, fill, uid_problem},
};
use crate::order::Order;

/// Where the answer came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// The cache in this process.
    Memory,
    /// The cache shared by replicas.
    Redis,
    /// PostgreSQL.
    Database,
}

/// An order, and how it was found.
#[derive(Debug)]
pub(crate) struct OrderPage<'a> {
    pub(crate) frame: Frame<'a>,
    pub(crate) order: &'a Order,
    pub(crate) version: i64,
    pub(crate) source: Source,
    pub(crate) took: Duration,
    /// When it was stored and from which record, if known.
    pub(crate) received: Option<(OffsetDateTime, Position<'a>)>,
}

/// That an order is not here.
#[derive(Debug)]
pub(crate) struct Missing<'a> {
    pub(crate) frame: Frame<'a>,
    /// What was asked for.
    pub(crate) uid: &'a str,
    /// The orders that have it as their track number.
    pub(crate) by_track: &'a [NewestOrder],
    /// How long `?wait=` has waited in vain.
    pub(crate) waited: Option<Duration>,
}

/// `/`: the search and the newest orders.
pub(crate) fn home(frame: Frame<'_>) -> String {
    render(&HomeTemplate { w: frame.words(), f: &frame, tab: "orders" })
}

/// An order. 200.
pub(crate) fn order(page: &OrderPage<'_>) -> String {
    let (lang, w, order) = (page.frame.lang, page.frame.words(), page.order);
    let bars = Bars::of(&order.track_number);
    let details = |all: &[(&'static str, &str)]| {
        all.iter()
            .filter(|(_, value)| !value.is_empty())
            .map(|(label, value)| (*label, (*value).to_owned()))
            .collect::<Vec<_>>()
    };
    let (delivery, payment) = (&order.delivery, &order.payment);
    // Absent is 0 in the canonical order, and nobody pays on the first second of 1970.
    let paid_at = match payment.payment_dt {
        0 => None,
        seconds => Some(match OffsetDateTime::from_unix_timestamp(seconds) {
            Ok(at) => time_markup(lang, at),
            Err(_) => seconds.to_string(),
        }),
    };
    let sm_id = if order.sm_id == 0 { String::new() } else { order.sm_id.to_string() };
    render(&OrderTemplate {
        f: &page.frame,
        w,
        tab: "orders",
        lang,
        order,
        placed: fill(w.placed, lang.date_time(order.date_created)),
        delivered_by: fill(w.delivered_by, &order.delivery_service),
        bars_width: bars.as_ref().map_or(0, drawn_width),
        bars_label: fill(w.bar_code_of, &order.track_number),
        bars,
        place: joined(&[&joined(&[&delivery.city, &delivery.region], ", "), &delivery.zip], " "),
        paid_at,
        paid_details: details(&[
            (w.transaction, &payment.transaction),
            (w.request, &payment.request_id),
        ]),
        customer_details: details(&[
            (w.entry, &order.entry),
            (w.locale, &order.locale),
            (w.shard, &order.shardkey),
            ("oof", &order.oof_shard),
            ("sm", &sm_id),
            (w.signature, &order.internal_signature),
        ]),
        items_title: counted(lang, &w.items, order.items.len()),
        sums: sums(lang, order),
        source: match page.source {
            Source::Memory => w.from_memory,
            Source::Redis => w.from_redis,
            Source::Database => w.from_database,
        },
        source_good: page.source == Source::Memory,
        took: lang.span(page.took),
        version: page.version,
        version_words: fill(w.version, lang.number(page.version)),
        json_href: format!("{}?format=json", order_href(order.order_uid.as_str())),
        json: serde_json::to_string_pretty(order).expect("an order becomes JSON"),
        received: page.received.map(|(at, position)| Received {
            machine: machine_time(at),
            exact: lang.exact_time(at),
            position: position.to_string(),
        }),
    })
}

/// The order is not here. 404.
pub(crate) fn missing(page: &Missing<'_>) -> String {
    let (lang, w) = (page.frame.lang, page.frame.words());
    let wait = format!("{}?wait=30s", order_href(page.uid));
    render(&MessageTemplate {
        query: page.uid,
        waited: page.waited.map(|waited| fill(w.waited, lang.span(waited))),
        by_track: page.by_track,
        by_track_title: counted(lang, &w.is_track, page.by_track.len()),
        actions: vec![
            Action { href: wait, label: w.wait_for_it, waits: true },
            Action { href: "/rejected".to_owned(), label: w.see_rejected, waits: false },
        ],
        ..MessageTemplate::new(&page.frame, w.missing_title, w.missing_text.to_owned())
    })
}

/// What was asked for cannot be an order's id. 400.
pub(crate) fn malformed(frame: Frame<'_>, asked: &str, why: InvalidOrderUid) -> String {
    // What is far too long to be an id is not worth repeating in full.
    let query = asked.char_indices().nth(200).map_or(asked, |(end, _)| &asked[..end]);
    let text = uid_problem(frame.lang, why);
    render(&MessageTemplate {
        query,
        ..MessageTemplate::new(&frame, frame.words().malformed_title, text)
    })
}

/// The order is not cached and the database is silent. 503.
pub(crate) fn order_trouble(frame: Frame<'_>, uid: &str) -> String {
    let w = frame.words();
    let again = Action { href: order_href(uid), label: w.try_again, waits: false };
    render(&MessageTemplate {
        query: uid,
        actions: vec![again],
        ..MessageTemplate::new(&frame, w.trouble_title, w.trouble_text.to_owned())
    })
}

/// A list cannot be shown, because the database is silent. 503.
pub(crate) fn trouble(frame: Frame<'_>) -> String {
    let w = frame.words();
    let again = Action { href: frame.here.to_owned(), label: w.try_again, waits: false };
    render(&MessageTemplate {
        searchable: false,
        tab: "rejected",
        actions: vec![again],
        ..MessageTemplate::new(&frame, w.rejected_title, w.trouble_list_text.to_owned())
    })
}

/// An address that nothing is at. 404.
pub(crate) fn no_page(frame: Frame<'_>) -> String {
    let w = frame.words();
    render(&MessageTemplate {
        tab: "",
        ..MessageTemplate::new(&frame, w.no_page_title, w.no_page_text.to_owned())
    })
}

#[derive(Template)]
#[template(path = "home.html")]
struct HomeTemplate<'a> {
    f: &'a Frame<'a>,
    w: &'static Words,
    tab: &'static str,
}

#[derive(Template)]
#[template(path = "order.html")]
struct OrderTemplate<'a> {
    f: &'a Frame<'a>,
    w: &'static Words,
    tab: &'static str,
    lang: Lang,
    order: &'a Order,
    placed: String,
    delivered_by: String,
    bars: Option<Bars>,
    bars_width: u32,
    bars_label: String,
    place: String,
    paid_at: Option<String>,
    paid_details: Vec<(&'static str, String)>,
    customer_details: Vec<(&'static str, String)>,
    items_title: String,
    sums: Vec<Sum>,
    source: &'static str,
    source_good: bool,
    took: String,
    version: i64,
    version_words: String,
    json_href: String,
    json: String,
    received: Option<Received>,
}

#[derive(Template)]
#[template(path = "message.html")]
struct MessageTemplate<'a> {
    f: &'a Frame<'a>,
    w: &'static Words,
    tab: &'static str,
    title: &'a str,
    text: String,
    searchable: bool,
    query: &'a str,
    waited: Option<String>,
    by_track: &'a [NewestOrder],
    by_track_title: String,
    actions: Vec<Action>,
}

impl<'a> MessageTemplate<'a> {
    fn new(f: &'a Frame<'a>, title: &'a str, text: String) -> Self {
        Self {
            f,
            w: f.words(),
            tab: "orders",
            title,
            text,
            searchable: true,
            query: "",
            waited: None,
            by_track: &[],
            by_track_title: String::new(),
            actions: Vec::new(),
        }
    }
}

struct Action {
    href: String,
    label: &'static str,
    waits: bool,
}

struct Received {
    machine: String,
    exact: String,
    position: String,
}

/// One line of how the order adds up.
struct Sum {
    label: &'static str,
    amount: String,
    /// That it does not, and by how much.
    note: Option<String>,
    last: bool,
}

/// Goods, delivery, fee and total; real producers send sums that do not add up, so each that can
/// be recounted is.
fn sums(lang: Lang, order: &Order) -> Vec<Sum> {
    let (w, payment) = (Words::of(lang), &order.payment);
    let line =
        |label, amount: i64| Sum { label, amount: lang.number(amount), note: None, last: false };
    // Two i64 differ by more than an i64 can tell, and 1,000 of them add up to more.
    let note = |stated: i64, counted: i128, above, below| {
        let difference = i128::from(stated) - counted;
        let words = if difference > 0 { above } else { below };
        let amount = lang.number(i128::try_from(difference.unsigned_abs()).unwrap_or(i128::MAX));
        (difference != 0).then(|| fill(words, amount))
    };
    let items = order.items.iter().map(|item| i128::from(item.total_price)).sum();
    let parts = [payment.goods_total, payment.delivery_cost, payment.custom_fee];
    let parts = parts.into_iter().map(i128::from).sum();
    vec![
        Sum {
            note: note(payment.goods_total, items, w.above_items, w.below_items),
            ..line(w.goods, payment.goods_total)
        },
        line(w.delivery, payment.delivery_cost),
        line(w.fee, payment.custom_fee),
        Sum {
            label: w.in_all,
            amount: format!("{} {}", lang.number(payment.amount), payment.currency),
            note: note(payment.amount, parts, w.above_parts, w.below_parts),
            last: true,
        },
    ]
}

/// Whole pixels a module, so that no bar is drawn wider than another of its kind.
fn drawn_width(bars: &Bars) -> u32 {
    const WIDEST: u32 = 440;
    if bars.modules * 2 <= WIDEST { bars.modules * 2 } else { bars.modules }
}

fn joined(parts: &[&str], by: &str) -> String {
    let parts: Vec<_> = parts.iter().filter(|part| !part.is_empty()).copied().collect();
    parts.join(by)
}
